"""Default paths of the zoo file and of the checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

from sam_ad_perception.core.console.installation import share_folder
from sam_ad_perception.modeling.zoo.packed import SUFFIX, read_entries

CHECKPOINT_VARIABLE = 'SAM_AD_CHECKPOINTS'
"""Environment variable with the folder of checkpoints."""


def zoo_files(zoo: str | Path = '', checkpoint_dir: str | Path = '') -> tuple[Path, Path]:
    """Find the zoo and the checkpoints.

    Args:
        zoo: The zoo file; empty for the package's own.
        checkpoint_dir: Folder of checkpoints; empty for the one beside a zoo file that is named,
            else for that of `SAM_AD_CHECKPOINTS` where it is set, else for the package's own.

    Returns:
        Path of the zoo file, folder of the checkpoints.

    Raises:
        FileNotFoundError: The package's own are wanted but not installed.
    """
    file = Path(zoo) if str(zoo) else share_folder('models') / 'zoo.yaml'
    beside = Path(zoo).parent / 'checkpoints'
    if str(zoo) and not str(checkpoint_dir) and beside.is_dir():
        return file, beside
    named = str(checkpoint_dir) or os.environ.get(CHECKPOINT_VARIABLE, '')
    return file, Path(named) if named else share_folder('models') / 'checkpoints'


def find_network(name: str) -> tuple[Path, Path, list[str]] | None:
    """Find networks that are named by a file or a folder, not by an entry of the zoo.

    Args:
        name: A weight file that `sam_ad export` wrote, a zoo file, or the folder that holds
            `zoo.yaml` and `checkpoints/`.

    Returns:
        Zoo file, folder of its checkpoints, and keys; None where the name is that of an entry.

    Raises:
        ValueError: The file carries no entry.
        OSError: It is not there, or cannot be read.
    """
    path = Path(name).expanduser()
    if path.suffix == SUFFIX:
        return path, path.parent, list(read_entries(path))
    if path.is_dir() and (path / 'zoo.yaml').is_file():
        path = path / 'zoo.yaml'
    if path.suffix not in ('.yaml', '.yml'):
        return None
    return path, path.parent / 'checkpoints', list(read_entries(path))
