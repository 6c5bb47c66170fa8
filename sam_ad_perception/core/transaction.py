"""Output files and folders that appear whole or not at all: lock, scratch, sync, exchange.

A result is written beside its target, forced to the disk, and exchanged with what was there in one
step of the file system. A process that is killed at any moment leaves the whole old result or the
whole new one; what else it leaves is named so that the next run for the same target finds it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LOCK_NAME = '.{name}.lock'
SCRATCH_PREFIX = '.{name}.part_'
"""Names beside a target in the making begin like this."""
OLD_PREFIX = '.{name}.old_'
"""An old result that is being replaced where the file system cannot exchange two names."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NOT_POSSIBLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)

log = logging.getLogger(__name__)


class TargetError(ValueError):
    """A target that cannot be written now; the message says why and what to do."""


def resolve_target(target: Path) -> Path:
    """Follow symbolic links of an output path, so that the link stays and its target is written.

    Args:
        target: As the user gave it.

    Returns:
        The path that is written.

    Raises:
        TargetError: The link leads nowhere or in a circle.
    """
    if not target.is_symlink():
        return target
    try:
        return target.resolve(strict=True)
    except (OSError, RuntimeError) as err:
        raise TargetError(
            f'{target} is a symbolic link that leads nowhere ({os.readlink(target)}): '
            'make its target, or remove the link'
        ) from err


@contextmanager
def lock_target(target: Path) -> Iterator[None]:
    """Hold a target for this process.

    Args:
        target: File or folder that is to be written; it need not exist.

    Raises:
        TargetError: Another process is writing it; the message has its number.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / LOCK_NAME.format(name=target.name)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            holder = os.pread(descriptor, 32, 0).decode(errors='replace').strip()
            os.close(descriptor)
            if err.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise TargetError(
                f'{target} is being written by process {holder or "of unknown number"}: '
                'wait for it, or give another output'
            ) from err
        # Whoever held it before may have removed the name between our open and our lock.
        if _is_file(path, descriptor):
            break
        os.close(descriptor)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()}\n'.encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def recover(target: Path) -> list[Path]:
    """Clear what a killed process left of a target; the caller holds its lock.

    An old result that was moved aside while the new one was not yet there comes back.

    Args:
        target: File or folder.

    Returns:
        What was found; it is gone now.
    """
    found = []
    for old in _named(target, OLD_PREFIX):
        found.append(old)
        if target.exists():
            _remove(old)
        else:
            old.rename(target)
    for part in _named(target, SCRATCH_PREFIX):
        found.append(part)
        _remove(part)
    for path in found:
        log.warning('%s was left by a run that was killed; it is removed', path)
    return found


@contextmanager
def write_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the target's place once all of it is on the disk.

    Args:
        target: The file; its folder is made if absent, a symbolic link is followed.

    Yields:
        A stream; an exception in the block leaves the target as it was.

    Raises:
        OSError: It cannot be written; what was there before is still there.
        TargetError: The target is a folder, a link that leads nowhere, or being written by
            another process.
    """
    target = resolve_target(target)
    if target.is_dir():
        raise TargetError(f'{target} is a folder, expected a file or nothing')
    with lock_target(target):
        recover(target)
        prefix = SCRATCH_PREFIX.format(name=target.name)
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
        part = Path(name)
        try:
            with os.fdopen(descriptor, 'wb') as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), _mode_of(target))
                os.fsync(stream.fileno())
            os.replace(part, target)
            sync_folder(target.parent)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(target)
            raise


@contextmanager
def write_folder(
    target: Path, replaced: Callable[[Path], Collection[str]] | None = None
) -> Iterator[Path]:
    """Write a folder that takes the target's place once all of it is on the disk.

    Args:
        target: The folder; a symbolic link is followed.
        replaced: Names in an existing target that belong to the old result. They go; everything
            else in it (a user's file, truth in `labels/`) is taken over into the new one. None
            refuses an existing target.

    Yields:
        An empty scratch folder; an exception in the block leaves the target as it was.

    Raises:
        TargetError: The target exists and may not be replaced, is no folder, is being written by
            another process, or holds a foreign file under a name of the new result.
        OSError: It cannot be written; what was there before is still there.
    """
    target = resolve_target(target)
    with lock_target(target):
        recover(target)
        _check_free(target, replaced)
        prefix = SCRATCH_PREFIX.format(name=target.name)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            scratch.chmod(0o777 & ~_umask())
            yield scratch
            _sync_tree(scratch)
            _check_free(target, replaced)
            if target.exists():
                assert replaced is not None
                _replace_folder(target, scratch, replaced)
            else:
                os.rename(scratch, target)
                sync_folder(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _check_free(target: Path, replaced: Callable[[Path], Collection[str]] | None) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise TargetError(f'{target} is a file, expected a folder or nothing')
    if replaced is None:
        raise TargetError(f'{target} exists already')


def _replace_folder(
    target: Path, scratch: Path, replaced: Callable[[Path], Collection[str]]
) -> None:
    """Exchange an old folder with a new one; what does not belong to the old result moves over."""
    belongs = set(replaced(target))
    foreign = [entry for entry in sorted(target.iterdir()) if entry.name not in belongs]
    clash = [entry.name for entry in foreign if (scratch / entry.name).exists()]
    if clash:
        raise TargetError(
            f'{target} holds {", ".join(clash)}, which the earlier result did not write: '
            'move it elsewhere, or give another output'
        )
    # Hard links first: the new folder is whole, foreign files included, before it is exchanged.
    for entry in foreign:
        _link_tree(entry, scratch / entry.name)
    _sync_tree(scratch, folders_only=True)
    old = exchange(target, scratch)
    sync_folder(target.parent)
    for entry in sorted(old.iterdir()):  # a file that came since the links were made is kept, too
        if entry.name not in belongs and not (target / entry.name).exists():
            os.rename(entry, target / entry.name)
    shutil.rmtree(old)
    sync_folder(target.parent)


def exchange(target: Path, scratch: Path) -> Path:
    """Give a new folder the name of an old one, in one step where the file system can.

    Args:
        target: The old folder's place; holds the new one afterwards.
        scratch: The new folder.

    Returns:
        Where the old folder is now.
    """
    library = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(library, 'renameat2', None)
    if renameat2 is not None:
        arguments = (_AT_FDCWD, os.fsencode(scratch), _AT_FDCWD, os.fsencode(target))
        if renameat2(*arguments, _RENAME_EXCHANGE) == 0:
            return scratch
        number = ctypes.get_errno()
        if number not in _NOT_POSSIBLE:
            raise OSError(number, os.strerror(number), str(target))
    prefix = OLD_PREFIX.format(name=target.name)
    old = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    os.rename(target, old)  # onto an empty folder; between the two steps `recover` brings it back
    os.rename(scratch, target)
    return old


def sync_folder(folder: Path) -> None:
    """Let the names in a folder outlast a power cut.

    Args:
        folder: The folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path, *, folders_only: bool = False) -> None:
    for path, _, files in os.walk(folder):
        for name in () if folders_only else files:
            file = Path(path, name)
            if not file.is_symlink():
                sync_folder(file)
        sync_folder(Path(path))


def _link_tree(source: Path, copy: Path) -> None:
    """Make a second name for each file of a tree; copy where the file system has no links."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, copy, symlinks=True, copy_function=_link)
    elif source.is_symlink():
        copy.symlink_to(os.readlink(source))
    else:
        _link(str(source), str(copy))


def _link(source: str, copy: str) -> None:
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)


def _is_file(path: Path, descriptor: int) -> bool:
    """Whether a name still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _named(target: Path, pattern: str) -> list[Path]:
    prefix = pattern.format(name=target.name)
    if not target.parent.is_dir():
        return []
    return sorted(entry for entry in target.parent.iterdir() if entry.name.startswith(prefix))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _mode_of(target: Path) -> int:
    """Permissions that the file has now, or that a new one gets."""
    return target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
