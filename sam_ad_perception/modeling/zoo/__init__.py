"""Entries of the model zoo, weight files, downloads, pretrained starts, table of models.

`entries.load_zoo` and `entries.build_model` are the entry, `files.zoo_files` finds the package's
own; `checkpoints.load_checkpoint` reads weights.
"""
