"""Losses and the optimizer.

`losses.total_loss` and `optimizer.make_optimizer` are what `training.runs` uses.
"""
