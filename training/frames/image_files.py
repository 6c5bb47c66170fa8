"""Pictures from files, checked to be whole: what a decoder would fill with grey is refused."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_ad_perception.core.images.lazy_image import check_megapixels
from sam_ad_perception.core.messages.image_size import encoded_size
from sam_ad_perception.core.synchronization.config import BundlerConfig
from training.frames.frame import DatasetError
from training.frames.png_pixels import PNG

GREY_TOLERANCE = 6
"""Largest difference of the channels of a grey picture that went through a colour codec."""
_TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
"""By the channels that OpenCV decodes colours into."""
_JPEG = b'\xff\xd8'
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
"""A marker that ends coded data: in these, 0xff is followed by 0 or by a restart marker."""


def read_content(path: Path) -> bytes:
    """Read a picture's file and check that all of it is there.

    Args:
        path: PNG, JPEG or another format that OpenCV reads; of the first two it is known how a
            whole file looks.

    Returns:
        The bytes.

    Raises:
        DatasetError: It is absent or damaged, or its header tells of more than
            `BundlerConfig.max_megapixels`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        why = 'is missing' if isinstance(error, FileNotFoundError) else f'cannot be read: {error}'
        raise DatasetError(f'{path} {why}') from error
    fault = find_damage(content)
    if fault:
        raise DatasetError(f'{path} is damaged: {fault}')
    size = encoded_size(content)
    if size is not None:
        check_size(path, size)
    return content


def check_size(path: Path, size: tuple[int, int]) -> None:
    """Refuse a picture before memory is taken for its pixels.

    Args:
        path: For the message.
        size: `(H, W)` that its header tells, pixels.

    Raises:
        DatasetError: It has more pixels than `BundlerConfig.max_megapixels`.
    """
    try:
        check_megapixels('picture', size, BundlerConfig().max_megapixels)
    except ValueError as error:
        raise DatasetError(f'{path}: {error}') from error


def find_damage(content: bytes) -> str:
    """Say what is wrong with the bytes of a PNG or JPEG file.

    Args:
        content: The file.

    Returns:
        A few words; '' where nothing is wrong or the format is another one.
    """
    if not content:
        return 'the file is empty'
    if content.startswith(PNG):
        return _png_damage(content)
    if content.startswith(_JPEG):
        return _jpeg_damage(content)
    return ''


def _png_damage(content: bytes) -> str:
    place = len(PNG)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], 'big')
        kind = content[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(content):
            break
        stored = int.from_bytes(content[end - 4 : end], 'big')
        if zlib.crc32(memoryview(content)[place + 4 : end - 4]) != stored:
            return f'the checksum of its chunk {kind.decode("latin-1")!r} at byte {place} is wrong'
        if kind == b'IEND':
            return ''
        place = end
    return f'the file ends after {len(content)} bytes, before the end of the image'


def _jpeg_damage(content: bytes) -> str:
    """Walk through the segments: each scan must end with a marker, the last one with EOI."""
    place, scans = 2, 0
    while True:
        while content[place : place + 2] == b'\xff\xff':
            place += 1
        if place + 2 > len(content):
            return f'the file ends after {len(content)} bytes, before the end of the image'
        if content[place] != 0xFF:
            return f'byte {place} is not the marker that should be there'
        marker = content[place + 1]
        if marker == _END_OF_IMAGE:
            return '' if scans else 'it holds no image'
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        length = int.from_bytes(content[place + 2 : place + 4], 'big')
        place += 2 + length
        if marker == _START_OF_SCAN:
            scans += 1
            place = _scan_end(content, place)


def _scan_end(content: bytes, place: int) -> int:
    """Where the marker behind the coded data stands; the length of the file where none does."""
    found = _MARKER.search(content, place)
    return found.start() if found else len(content)


def read_image(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any]:
    """Read an image as it was written.

    Args:
        path: PNG or JPEG.
        flags: As of `cv2.imdecode`.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16, channels in the order of OpenCV: blue first.

    Raises:
        DatasetError: It is absent or damaged.
    """
    return _decode(path, read_content(path), flags)


def _decode(path: Path, content: bytes, flags: int) -> NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f'{path} is damaged: it is no picture that OpenCV reads')
    return np.asarray(image)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a colour picture; an alpha channel is dropped, one channel is repeated.

    Args:
        path: PNG or JPEG of 8 bits.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: It is absent, damaged, or has other than 8 bits.
    """
    content = read_content(path)
    image = _decode_rgb_jpeg(content)
    if image is not None:
        return image
    image = _decode(path, content, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint8:
        raise DatasetError(f'{path} has {image.dtype} pixels, expected uint8')
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else _TO_RGB[image.shape[2]]
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def _decode_rgb_jpeg(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a JPEG by Pillow: the pixels that OpenCV gives, in half the time; None for others."""
    if not content.startswith(_JPEG):
        return None
    try:
        image = Image.open(io.BytesIO(content), formats=['JPEG'])
        return np.asarray(image) if image.mode == 'RGB' else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # OpenCV reads more, or is the one to refuse it


def read_grey(path: Path) -> NDArray[Any]:
    """Read a picture of one measured value, also where it was stored as three equal channels.

    Args:
        path: PNG or JPEG.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        DatasetError: It is absent or damaged, or its channels differ: a picture that was coloured
            by a colour map holds no measurement.
    """
    image = read_image(path)
    if image.ndim == 2:
        return image
    colours = image[:, :, :3].astype(np.int32)
    apart = int((colours.max(axis=2) - colours.min(axis=2)).max())
    if apart > GREY_TOLERANCE * (257 if image.dtype == np.uint16 else 1):
        raise DatasetError(
            f'{path} has channels that differ by up to {apart}: a colour-mapped picture has no '
            'temperatures or distances; expected one channel, as the sensor delivers it'
        )
    return np.ascontiguousarray(image[:, :, 0])


def count_ids(ids: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Count the pixels of each id; some ten times as fast as `numpy.bincount`.

    Args:
        ids: (H, W) uint8.

    Returns:
        (256,), exact up to 2^24 pixels.
    """
    counts = cv2.calcHist([np.ascontiguousarray(ids)], [0], None, [256], [0, 256])
    return np.asarray(counts, np.float32).reshape(-1)
