"""Pixels of `sensor_msgs/Image`: every encoding seen in place, and turned into what sensors mean.

Names of encodings are those of `sensor_msgs/image_encodings`. `8UC3` is blue first, as OpenCV and
`cv_bridge` have it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ENCODINGS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        'rgb8': ('u1', 3),
        'bgr8': ('u1', 3),
        'rgba8': ('u1', 4),
        'bgra8': ('u1', 4),
        'rgb16': ('u2', 3),
        'bgr16': ('u2', 3),
        'mono8': ('u1', 1),
        'mono16': ('u2', 1),
        '8UC1': ('u1', 1),
        '8UC3': ('u1', 3),
        '16UC1': ('u2', 1),
        '32FC1': ('f4', 1),
        'bayer_rggb8': ('u1', 1),
        'bayer_bggr8': ('u1', 1),
        'bayer_gbrg8': ('u1', 1),
        'bayer_grbg8': ('u1', 1),
        'yuv422': ('u1', 2),
        'uyvy': ('u1', 2),
        'yuv422_yuy2': ('u1', 2),
        'yuyv': ('u1', 2),
    }
)
"""Encoding to numpy type code (without byte order) and channels."""

_TO_RGB: Mapping[str, int] = MappingProxyType(
    {
        'bgr8': cv2.COLOR_BGR2RGB,
        '8UC3': cv2.COLOR_BGR2RGB,
        'rgba8': cv2.COLOR_RGBA2RGB,
        'bgra8': cv2.COLOR_BGRA2RGB,
        'bgr16': cv2.COLOR_BGR2RGB,
        'mono8': cv2.COLOR_GRAY2RGB,
        '8UC1': cv2.COLOR_GRAY2RGB,
        'mono16': cv2.COLOR_GRAY2RGB,
        '16UC1': cv2.COLOR_GRAY2RGB,
        'bayer_rggb8': cv2.COLOR_BayerRGGB2RGB,
        'bayer_bggr8': cv2.COLOR_BayerBGGR2RGB,
        'bayer_gbrg8': cv2.COLOR_BayerGBRG2RGB,
        'bayer_grbg8': cv2.COLOR_BayerGRBG2RGB,
        'yuv422': cv2.COLOR_YUV2RGB_UYVY,
        'uyvy': cv2.COLOR_YUV2RGB_UYVY,
        'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
        'yuyv': cv2.COLOR_YUV2RGB_YUY2,
    }
)


class ConversionError(ValueError):
    """A message cannot be read: the field, what came, what was expected."""


class EncodingError(ConversionError):
    """An encoding is unknown, or does not suit the sensor."""


def view_pixels(
    data: Any, encoding: str, height: int, width: int, step: int, is_bigendian: bool
) -> NDArray[Any]:
    """See the pixels inside a message's bytes, without copying.

    Args:
        data: The message's `data`: any object with the buffer protocol.
        encoding: One of `ENCODINGS`.
        height: Rows.
        width: Columns.
        step: Bytes from one row to the next; may be larger than a row of pixels.
        is_bigendian: Byte order of the pixels.

    Returns:
        View of `data`: (H, W), or (H, W, C) for several channels. It may be read-only, padded at
        the end of its rows, and of foreign byte order.

    Raises:
        ConversionError: The encoding is unknown, the size is zero, or the data does not hold it.
    """
    if encoding not in ENCODINGS:
        raise EncodingError(
            f'Image.encoding {encoding!r} is not supported, expected one of {list(ENCODINGS)}'
        )
    if height <= 0 or width <= 0:
        raise ConversionError(f'Image.height x width is {height} x {width}, expected pixels')
    code, channels = ENCODINGS[encoding]
    dtype = np.dtype(('>' if is_bigendian else '<') + code)
    row = width * channels * dtype.itemsize
    if step < row:
        raise ConversionError(
            f'Image.step is {step}, expected at least {row} for {width} pixels of {encoding}'
        )
    # Some drivers leave out the padding behind the last row.
    expected = (height - 1) * step + row
    content = memoryview(data).cast('B') if len(data) else memoryview(b'')
    if content.nbytes < expected:
        raise ConversionError(
            f'Image.data is truncated: {content.nbytes} bytes, expected {expected} for '
            f'{height} rows of step {step}'
        )
    shape: tuple[int, ...] = (height, width, channels)
    strides: tuple[int, ...] = (step, channels * dtype.itemsize, dtype.itemsize)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, dtype, content, 0, strides)


def to_rgb(array: NDArray[Any], encoding: str) -> NDArray[np.uint8]:
    """Convert pixels to colour.

    16-bit pixels are scaled to 8 bits over their full range. Bayer is demosaiced bilinearly.

    Args:
        array: Pixels as `view_pixels` gives them.
        encoding: Their encoding.

    Returns:
        (H, W, 3) uint8 RGB; the very array where it is that already.

    Raises:
        EncodingError: The encoding is no colour or grey image.
        ConversionError: The size does not suit a subsampled encoding.
    """
    if encoding == 'rgb8':
        return array
    if encoding != 'rgb16' and encoding not in _TO_RGB:
        raise EncodingError(f'encoding {encoding!r} is not a colour or grey image')
    if 'yuv' in encoding or 'yuyv' in encoding or 'uyvy' in encoding:
        if array.shape[1] % 2:
            raise ConversionError(f'Image.width is {array.shape[1]}, {encoding} needs it even')
    elif encoding.startswith('bayer') and min(array.shape) < 2:
        raise ConversionError(f'Image.height x width is {array.shape}, a bayer image needs 2 x 2')
    if array.dtype.itemsize == 2:
        array = cv2.convertScaleAbs(_native(array), alpha=1 / 257)
    if encoding == 'rgb16':
        return array
    rgb: NDArray[np.uint8] = cv2.cvtColor(array, _TO_RGB[encoding])  # type: ignore[assignment]
    return rgb


def to_thermal(
    array: NDArray[Any], encoding: str
) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Convert pixels to what a thermal camera measures, keeping 16 bits where there are 16.

    Args:
        array: Pixels as `view_pixels` gives them.
        encoding: Their encoding; a colour image (a grey picture saved as colour) becomes grey.

    Returns:
        (H, W) uint8, uint16, or float32 for `32FC1` (a driver that publishes temperatures).

    Raises:
        EncodingError: The encoding is neither grey nor colour.
    """
    if encoding in ('mono8', '8UC1', 'mono16', '16UC1', '32FC1'):
        return _native(array)
    grey: NDArray[np.uint8] = cv2.cvtColor(to_rgb(array, encoding), cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    return grey


def to_depth(array: NDArray[Any], encoding: str) -> NDArray[np.float32]:
    """Convert a depth image as REP 118 has it to one form.

    Args:
        array: Pixels as `view_pixels` gives them.
        encoding: `32FC1` (metres) or `16UC1`/`mono16` (millimetres, 0 = none).

    Returns:
        (H, W) float32, metres, NaN where there is no (finite, positive) depth.

    Raises:
        EncodingError: The encoding is not one of depth images.
    """
    if encoding in ('16UC1', 'mono16'):
        depth = array.astype(np.float32) * np.float32(1e-3)
    elif encoding == '32FC1':
        depth = array.astype(np.float32)
    else:
        raise EncodingError(f'encoding {encoding!r} is not a depth image (32FC1 or 16UC1)')
    with np.errstate(invalid='ignore'):
        depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def check_pixels(array: NDArray[Any], encoding: str) -> NDArray[Any]:
    """Check that an array is what an encoding says, and make its bytes ready to be sent.

    Args:
        array: (H, W) or (H, W, C).
        encoding: One of `ENCODINGS`.

    Returns:
        The array, C-contiguous, in this machine's byte order.

    Raises:
        ConversionError: Type, channels or size do not suit the encoding.
    """
    if encoding not in ENCODINGS:
        raise EncodingError(f'encoding {encoding!r} is not one of {list(ENCODINGS)}')
    code, channels = ENCODINGS[encoding]
    got = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    if array.dtype.newbyteorder('=') != np.dtype(code) or got != channels or array.size == 0:
        raise ConversionError(
            f'{encoding} is (H, W, {channels}) of {np.dtype(code)}, got {array.shape} of '
            f'{array.dtype}'
        )
    return np.ascontiguousarray(_native(array))


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order and aligned; itself where it is.

    OpenCV takes 16-bit rows at odd addresses (an odd `step`) without complaint, and reads them
    one byte off.
    """
    native = array.dtype.byteorder in ('=', '|', '<' if sys.byteorder == 'little' else '>')
    if native and array.flags.aligned:
        return array
    return array.astype(array.dtype.newbyteorder('='))
