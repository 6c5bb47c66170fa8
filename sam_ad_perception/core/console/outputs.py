"""Places of results, looked at before any work: can the folder or file be written there?

`new_folder` and `new_file` are types for `add_argument`; nothing is left behind by the look.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from sam_ad_perception.core.console.command_line import checked


def check_folder(path: Path) -> None:
    """Refuse a place where no folder can be made or filled.

    Args:
        path: The folder that is to be written; it need not exist.

    Raises:
        ValueError: It is a file, lies below one, or nothing can be written there.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f'{path} is a file, expected a folder or nothing')
    place = path
    while not place.exists():
        if place.is_symlink():
            raise ValueError(f'{place} is a symbolic link that leads nowhere')
        place = place.parent
    if not place.is_dir():
        raise ValueError(f'{path} cannot be made, for {place} is a file')
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as err:
        said = 'no file can be made there' if isinstance(err, FileNotFoundError) else err.strerror
        raise ValueError(f'nothing can be written in {place} ({said}): give another') from None


def check_file(path: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse a place where no file can be written.

    Args:
        path: The file that is to be written; it need not exist.
        suffixes: How its name may end; any way where empty.

    Raises:
        ValueError: It is a folder, ends otherwise, or nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f'{path} is a folder, expected a file or nothing')
    if suffixes and path.suffix not in suffixes:
        raise ValueError(f'{path} must end in {" or ".join(suffixes)}')
    check_folder(path.parent)


def new_folder() -> Callable[[str], Path]:
    """Take a path only where a folder can be written.

    Returns:
        A `type` for `add_argument`.
    """

    def read(text: str) -> Path:
        check_folder(Path(text))
        return Path(text)

    return checked(read)


def new_file(*suffixes: str) -> Callable[[str], Path]:
    """Take a path only where a file can be written.

    Args:
        suffixes: How its name may end; any way where none is given.

    Returns:
        A `type` for `add_argument`.
    """

    def read(text: str) -> Path:
        check_file(Path(text), suffixes)
        return Path(text)

    return checked(read)


def refuse_own_input(out: Path, source: Path, option: str = '--out') -> None:
    """Refuse to write results in the place of what they are made from.

    Args:
        out: Where the result goes.
        source: What it is made from.
        option: What the user called the place of the result.

    Raises:
        ValueError: Both are one, or `out` is the folder of the file `source`.
    """
    written, read = out.resolve(), source.resolve()
    if written == read or (written in read.parents and source.is_file()):
        raise ValueError(f'{option} is {source} itself: the results go to a folder of their own')
