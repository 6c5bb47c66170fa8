"""`sensor_msgs/CompressedImage`: what its format says about the pixels, and how they are decoded.

`compressed_image_transport` writes `<encoding>; <codec> compressed <stored encoding>`: before the
semicolon stands what the camera sent. Where that is Bayer and the file holds one channel, the file
holds the mosaic. `compressed_depth_image_transport` writes a header of 12 bytes before the file.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.jpeg_decoding import decode_compressed
from sam_ad_perception.core.messages.image_encodings import ConversionError, EncodingError

VIDEO_FORMATS = ('h264', 'h265', 'hevc', 'av1', 'vp8', 'vp9')
"""Formats of a CompressedImage that are video: one frame cannot be read without those before."""

_DECODED = {
    (1, 'u1'): 'mono8',
    (1, 'u2'): 'mono16',
    (3, 'u1'): 'bgr8',
    (3, 'u2'): 'bgr16',
    (4, 'u1'): 'bgra8',
    (4, 'u2'): 'bgra16',
}
_DEPTH_HEADER = struct.Struct('<iff')
_LFS_POINTER = b'version https://git-lfs'


def compressed_to_array(message: Any) -> tuple[NDArray[Any], str]:
    """Decode a `sensor_msgs/CompressedImage` as `decode_compressed_image`, without warnings."""
    pixels, encoding, _ = decode_compressed_image(message)
    return pixels, encoding


def decode_compressed_image(message: Any) -> tuple[NDArray[Any], str, str]:
    """Decode a `sensor_msgs/CompressedImage` of any kind that OpenCV reads (jpeg, png, ...).

    Args:
        message: The image.

    Returns:
        (H, W) or (H, W, C); its encoding: as it was decoded (`mono8`, `bgr8`, `mono16`, ...),
        or a Bayer encoding where the format names one and the file holds one channel; and what
        the decoder warns of, empty where it is content.

    Raises:
        ConversionError: The data is empty or does not decode, or its format is not one of images.
    """
    form = str(message.format)
    if 'compressedDepth' in form:
        return (*_compressed_depth(message.data, form), '')
    if video_codec(form):
        raise EncodingError(
            f'CompressedImage.format {form!r} is video, of which no frame can be read alone'
        )
    pixels, doubt = _decode(message.data, form)
    encoding = _kind(pixels)
    named, _, rest = form.partition(';')
    named = named.strip()
    if encoding in ('mono8', 'mono16') and named.startswith('bayer_'):
        return pixels, named.rstrip('0123456789') + encoding.removeprefix('mono'), doubt
    if encoding.startswith('bgr') and named.startswith('rgb') and 'compressed rgb' in rest:
        # Stored as they were: what the file calls blue is red.
        return pixels, encoding.replace('bgr', 'rgb'), doubt
    return pixels, encoding, doubt


def video_codec(form: str) -> str:
    """The codec of a CompressedImage whose format is video, by FFmpeg's name; '' for an image."""
    name = form.partition(';')[0].strip().lower().replace('.', '')
    if name not in VIDEO_FORMATS:
        return ''
    return 'hevc' if name == 'h265' else name


def _decode(data: Any, form: str) -> tuple[NDArray[Any], str]:
    """Decode a file of an image; also what the decoder warns of."""
    size = len(data)
    pixels, doubt = decode_compressed(data) if size else (None, '')
    if pixels is None:
        if bytes(data[: len(_LFS_POINTER)]) == _LFS_POINTER:
            raise ConversionError('CompressedImage.data is a Git LFS pointer, not the image')
        raise ConversionError(
            f'CompressedImage.data ({size} bytes, format {form!r}) does not decode'
        )
    return (pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels), doubt


def _kind(pixels: NDArray[Any]) -> str:
    """The encoding of what OpenCV decoded."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    encoding = _DECODED.get((channels, pixels.dtype.str[1:]))
    if encoding is None:
        raise EncodingError(
            f'CompressedImage.data holds {channels} channels of {pixels.dtype}, not an image '
            'of 8 or 16 bits'
        )
    return encoding


def _compressed_depth(data: Any, form: str) -> tuple[NDArray[Any], str]:
    """Decode what `compressed_depth_image_transport` wrote."""
    if len(data) <= _DEPTH_HEADER.size:
        raise ConversionError(f'CompressedImage.data has {len(data)} bytes, format {form!r}')
    if 'rvl' in form.lower():
        raise EncodingError(
            f'CompressedImage.format {form!r}: RVL is not read here; republish it as png or raw'
        )
    head = bytes(data[: _DEPTH_HEADER.size])
    _, quant_a, quant_b = _DEPTH_HEADER.unpack(head)
    stored, _ = _decode(np.frombuffer(data, np.uint8)[_DEPTH_HEADER.size :], form)
    if not form.startswith('32FC1'):
        return stored, _kind(stored).replace('mono16', '16UC1')
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.float32(quant_a) / (stored.astype(np.float32) - np.float32(quant_b))
    depth[stored == 0] = np.nan
    return depth, '32FC1'
