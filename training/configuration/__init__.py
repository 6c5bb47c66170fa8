"""Every setting of a run, checked as it is read.

`run.load_config` reads a `run.TrainConfig`; the other files are its parts.
"""
