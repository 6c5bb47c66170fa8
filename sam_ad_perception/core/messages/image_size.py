"""The size of an image message before anything is decoded: from its fields or its file header."""

from __future__ import annotations

from typing import Any

_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xDA)}


def image_size_of(message: Any) -> tuple[int, int] | None:
    """Read how large an image is.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.

    Returns:
        `(H, W)`, pixels; None for a file other than JPEG and PNG, or a damaged one.
    """
    if not hasattr(message, 'format'):
        return int(message.height), int(message.width)
    return encoded_size(message.data)


def encoded_size(content: Any) -> tuple[int, int] | None:
    """Read the size of an image from the header of its file.

    Args:
        content: The bytes of the file, or the first of them.

    Returns:
        `(H, W)`, pixels; None for a file other than JPEG and PNG, or a damaged one.
    """
    data = memoryview(content).cast('B')
    if bytes(data[:8]) == b'\x89PNG\r\n\x1a\n' and len(data) >= 24:
        width, height = (int.from_bytes(data[i : i + 4], 'big') for i in (16, 20))
        return height, width
    return _jpeg_size(data) if bytes(data[:2]) == b'\xff\xd8' else None


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Size in the frame header of a JPEG, behind segments of any length."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:  # padding, or a marker without a segment
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            return (
                int.from_bytes(data[at + 5 : at + 7], 'big'),
                int.from_bytes(data[at + 7 : at + 9], 'big'),
            )
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return None
