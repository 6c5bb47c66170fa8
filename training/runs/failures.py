"""Error messages of a training run."""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from training.frames.frame import DatasetError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TrainingError(RuntimeError):
    """A run cannot go on; the message is a sentence that says why."""


EXPECTED = (TrainingError, DatasetError, OSError, torch.OutOfMemoryError, KeyboardInterrupt)
"""What a run ends with a sentence for; anything else is our own mistake and shows its trace."""


def explain(error: BaseException, folder: Path) -> str:
    """Say why a run ended.

    Args:
        error: One of `EXPECTED`.
        folder: The run's folder.

    Returns:
        A sentence.
    """
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f'the disk of {error.filename or folder} is full'
    if isinstance(error, torch.OutOfMemoryError):
        return (
            'the device has too little memory: lower schedule.batch_size, raise '
            'schedule.accumulate, or set machine.precision or machine.checkpoint_blocks'
        )
    if isinstance(error, KeyboardInterrupt):
        return 'it was interrupted'
    return str(error)
