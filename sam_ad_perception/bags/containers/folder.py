"""Which files a recording consists of, and how they are opened."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import zstandard
from rosbags.typesys.store import Typestore

from sam_ad_perception.bags.containers.mcap_file import MAGIC as MCAP_MAGIC
from sam_ad_perception.bags.containers.mcap_file import McapFile
from sam_ad_perception.bags.containers.records import Container, ContainerError
from sam_ad_perception.bags.containers.rosbag1_file import Rosbag1File
from sam_ad_perception.bags.containers.sqlite_file import SqliteFile
from sam_ad_perception.core.console.suggestions import missing_path
from sam_ad_perception.core.settings.yaml_documents import parse_yaml

STORAGE_SUFFIXES = ('.mcap', '.db3', '.bag')
"""Of storage files: rosbag2 (MCAP and SQLite) and ROS 1."""
WHOLE_FILE_SUFFIXES = tuple(s + end for s in ('.mcap', '.db3') for end in ('.zstd', '.lz4'))
"""Of files that rosbag2 has compressed as a whole."""

_LFS_POINTER = b'version https://git-lfs.github.com/spec/'


@dataclass(frozen=True)
class RecordingFiles:
    """The files of a recording.

    Attributes:
        files: Storage files, in the order in which they were written.
        packed_messages: Whether each message was compressed by itself.
        told_messages: Number of messages that the metadata tells of; None where it does not.
        remarks: What is odd about the folder, one sentence each.
    """

    files: tuple[Path, ...]
    packed_messages: bool = False
    told_messages: int | None = None
    remarks: tuple[str, ...] = ()


def find_files(path: Path) -> RecordingFiles:
    """Find the storage files of a recording, and hold them against its metadata.

    Args:
        path: A folder or a storage file.

    Returns:
        Its files; one that the metadata names and that is not there is a remark.

    Raises:
        ContainerError: There is nothing to read; says why, the path included.
    """
    if not path.exists():
        raise ContainerError(missing_path(path))
    if path.is_file():
        if path.name.endswith(WHOLE_FILE_SUFFIXES):
            raise ContainerError(f'{path} is compressed as a whole: name its folder, or unpack it')
        if path.suffix not in STORAGE_SUFFIXES:
            raise ContainerError(
                f'{path} is not a bag: expected a folder, or one of {STORAGE_SUFFIXES}'
            )
        return RecordingFiles((path,))
    # The files that are there, whatever metadata.yaml says.
    info, damage = _read_metadata(path / 'metadata.yaml')
    plain = [file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES]
    if any(file.suffix != '.bag' for file in plain):  # what they were converted from lies beside
        plain = [file for file in plain if file.suffix != '.bag']
    packed = [file for file in path.iterdir() if file.name.endswith(WHOLE_FILE_SUFFIXES)]
    # A recorder that was killed leaves its last file as it was, beside those it has compressed.
    packed = [file for file in packed if file.with_suffix('') not in plain]
    mode = str(info.get('compression_mode') or '').lower()
    if packed and mode != 'file' and not plain:
        raise ContainerError(
            f'{path} has no metadata.yaml, without which {packed[0].name} cannot be read: '
            'unpack it'
        )
    files = plain + (packed if mode == 'file' else [])
    if not files:
        raise ContainerError(
            damage or f'{path} is not a bag: it holds no file of {STORAGE_SUFFIXES}'
        )
    # What it names and is missing, or is there and not named.
    named = [PurePath(str(name)).name for name in info.get('relative_file_paths') or ()]
    there = {file.name for file in files} | {file.stem for file in packed}
    remarks = [damage] if damage else []
    missing = [name for name in named if name not in there and f'{name}.zstd' not in there]
    remarks += [f'{name} is missing: metadata.yaml names it' for name in missing]
    remarks += [
        f'{file.name} is read too: metadata.yaml does not name it'
        for file in sorted(files)
        if named and file.name not in named and file.stem not in named
    ]
    told = info.get('message_count')
    files.sort(key=lambda file: ([int(n) for n in re.findall(r'\d+', file.stem)], file.name))
    return RecordingFiles(
        tuple(files), mode == 'message', told if isinstance(told, int) else None, tuple(remarks)
    )


def open_file(path: Path, stack: ExitStack, typestore: Typestore) -> Container:
    """Open a storage file by what it holds, not by its name.

    Args:
        path: The file; one that is compressed as a whole is unpacked into a temporary folder.
        stack: Closes the file, and removes what was unpacked.
        typestore: Takes the types that a ROS 1 bag defines.

    Returns:
        The open file.

    Raises:
        ContainerError: It cannot be read; says why, without its name.
    """
    try:
        if path.name.endswith(WHOLE_FILE_SUFFIXES):
            path = _unpack_file(path, stack)
        with path.open('rb') as file:
            begin = file.read(64)
        if begin.startswith(_LFS_POINTER):
            raise ContainerError(
                'it is a Git LFS pointer, not the recording itself: `git lfs pull` fetches that'
            )
        container: Container
        if begin.startswith(MCAP_MAGIC) or (begin and path.suffix == '.mcap'):
            container = McapFile(path)
        elif begin.startswith(b'#ROSBAG') or (begin and path.suffix == '.bag'):
            container = Rosbag1File(path, typestore)
        elif not begin and path.suffix in ('.mcap', '.bag'):
            raise ContainerError('it is empty')
        else:
            container = SqliteFile(path)
    except OSError as err:
        raise ContainerError(err.strerror or str(err)) from err
    stack.callback(container.close)
    return container


def _read_metadata(file: Path) -> tuple[dict[str, Any], str]:
    """Read metadata.yaml; what is wrong with it becomes a sentence."""
    if not file.is_file():
        return {}, ''
    try:
        text = file.read_text()
        if text.encode().startswith(_LFS_POINTER):
            return {}, f'{file} is a Git LFS pointer: `git lfs pull` fetches the file itself'
        return dict(parse_yaml(text, str(file))['rosbag2_bagfile_information']), ''
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        return {}, f'{file} is not the metadata of a rosbag2 recording'


def _unpack_file(path: Path, stack: ExitStack) -> Path:
    """Unpack a file that rosbag2 has compressed as a whole."""
    if path.suffix != '.zstd':
        raise ContainerError(
            f'it is compressed as {path.suffix[1:]}, only zstd is known: unpack it'
        )
    folder = Path(stack.enter_context(TemporaryDirectory(prefix='sam_ad_bag_')))
    out = folder / path.stem
    try:
        unpacker = zstandard.ZstdDecompressor()
        with (
            path.open('rb') as packed,
            out.open('wb') as plain,
            unpacker.stream_reader(packed, read_across_frames=True) as stream,
        ):
            shutil.copyfileobj(stream, plain, 1 << 20)
    except zstandard.ZstdError as err:
        raise ContainerError(f'it does not unpack: {err}') from err
    return out
