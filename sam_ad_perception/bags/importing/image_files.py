"""JPEG and PNG files as `CompressedImage`, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sam_ad_perception.bags.importing.plan import IMAGE_TYPE, ImportDataError, PlannedMessage
from sam_ad_perception.core.messages.image_size import image_size_of
from sam_ad_perception.core.messages.to_ros import MessageTypes, make, make_header

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
_PNG = b'\x89PNG\r\n\x1a\n'
_PNG_CHANNELS = {0: 'mono', 2: 'bgr', 3: 'bgr', 4: 'bgra', 6: 'bgra'}


def plan_image(
    topic: str,
    path: Path,
    stamp_ns: int,
    frame_id: str,
    size: tuple[int, int] | None = None,
    received_ns: int | None = None,
) -> PlannedMessage:
    """Plan the message of an image file.

    Args:
        topic: Its topic.
        path: The file; it is read when the message is made.
        stamp_ns: When it was taken, nanoseconds.
        frame_id: Optical frame.
        size: `(H, W)` that the calibration says, pixels; None for any.
        received_ns: Time under which it is recorded, nanoseconds; the stamp by default.
    """
    received = stamp_ns if received_ns is None else received_ns
    return PlannedMessage(
        topic,
        IMAGE_TYPE,
        received,
        lambda types: read_image_file(types, path, stamp_ns, frame_id, size),
    )


def read_image_file(
    types: MessageTypes,
    path: Path,
    stamp_ns: int,
    frame_id: str,
    size: tuple[int, int] | None = None,
) -> Any:
    """Make a `sensor_msgs/CompressedImage` that holds the bytes of a file.

    Args:
        types: Where message classes come from.
        path: A JPEG or PNG file.
        stamp_ns: When it was taken, nanoseconds.
        frame_id: Optical frame.
        size: `(H, W)` that is expected, pixels; None for any.

    Returns:
        The message.

    Raises:
        ImportDataError: The file is neither JPEG nor PNG, or of another size.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    message = make(
        types,
        IMAGE_TYPE,
        header=make_header(types, stamp_ns, frame_id),
        format=_format_of(data, path),
        data=np.frombuffer(data, np.uint8),
    )
    found = image_size_of(message)
    if found is None:
        raise ImportDataError(f'{path}: no width and height found, expected a whole JPEG or PNG')
    if size is not None and found != size:
        raise ImportDataError(
            f'{path} has {found[1]}x{found[0]} pixels, the calibration says {size[1]}x{size[0]}'
        )
    return message


def size_of_file(path: Path) -> tuple[int, int]:
    """Read the size of an image file.

    Args:
        path: A JPEG or PNG file.

    Returns:
        `(H, W)`, pixels.

    Raises:
        ImportDataError: The file is neither.
        OSError: The file cannot be read.
    """
    from sam_ad_perception.bags.formats.type_store import make_typestore

    message = read_image_file(make_typestore().types.__getitem__, path, 0, '')
    found = image_size_of(message)
    assert found is not None
    return found


def _format_of(data: bytes, path: Path) -> str:
    """Word the format as `compressed_image_transport` does, by the file's own header."""
    if data.startswith(_PNG) and len(data) > 26 and data[25] in _PNG_CHANNELS:
        channels = _PNG_CHANNELS[data[25]]
        pixels = f'{channels}{16 if data[24] == 16 else 8}'
        return f'{pixels}; png compressed {pixels}'
    if data.startswith(b'\xff\xd8'):
        pixels = 'mono8' if _jpeg_components(data) == 1 else 'bgr8'
        return f'{pixels}; jpeg compressed {pixels}'
    what = f'begins with {data[:8]!r}'
    if data.startswith(b'version https://git-lfs'):
        what = 'is a Git LFS pointer (`git lfs pull` fetches the image)'
    elif not data:
        what = 'is empty'
    raise ImportDataError(f'{path} {what}, expected a JPEG or PNG image')


def _jpeg_components(data: bytes) -> int:
    """Number of colour components that the frame header tells; 3 where there is none."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 9]
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return 3
