"""Random changes to frames and batches, and sensor faults put on them.

`crops` cuts a piece out of a frame as it is read, `frames` lets its sensors fail and varies its
camera (`colours`), `batches.augment_batch` changes a batch.
"""
