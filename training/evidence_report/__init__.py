"""What is claimed of the committed networks: measuring, targets, tables.

`bench.open_bench` measures, `targets` holds against the goals; `training.evidence` is the command.
"""
