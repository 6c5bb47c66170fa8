"""One training run: machine, batches, steps, validation, its folder, its failures.

`trainer.Trainer` is the entry; `batches.open_frames` reads, `validation.Validator` judges.
"""
