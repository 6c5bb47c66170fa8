"""Pixels of `sensor_msgs/Image`: every encoding seen in place, and turned into what sensors mean.

Names of encodings are those of `sensor_msgs/image_encodings`. `8UC3` is blue first, as OpenCV and
`cv_bridge` have it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_BAYER = ('rggb', 'bggr', 'gbrg', 'grbg')
ENCODINGS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        **{f'{name}{bits}': (f'u{bits // 8}', 3) for name in ('rgb', 'bgr') for bits in (8, 16)},
        **{f'{name}{bits}': (f'u{bits // 8}', 4) for name in ('rgba', 'bgra') for bits in (8, 16)},
        **{f'mono{bits}': (f'u{bits // 8}', 1) for bits in (8, 16)},
        **{f'bayer_{order}{bits}': (f'u{bits // 8}', 1) for order in _BAYER for bits in (8, 16)},
        **{
            f'{code}C{n}': (kind, n)
            for code, kind in (('8U', 'u1'), ('8S', 'i1'), ('16U', 'u2'), ('16S', 'i2'))
            for n in (1, 2, 3, 4)
        },
        **{
            f'{code}C{n}': (kind, n)
            for code, kind in (('32S', 'i4'), ('32F', 'f4'), ('64F', 'f8'))
            for n in (1, 2, 3, 4)
        },
        'yuv422': ('u1', 2),
        'uyvy': ('u1', 2),
        'yuv422_yuy2': ('u1', 2),
        'yuyv': ('u1', 2),
    }
)
"""Encoding of one plane to numpy type code (without byte order) and channels; `pixel_type` knows
those of two planes and any number of channels, too."""

_PLANE_ROWS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {'nv12': (3, 2), 'nv21': (3, 2), 'nv24': (3, 1)}
)
"""Of encodings of two planes: rows of both to rows of the image, as a fraction."""

_GENERIC = re.compile(r'(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?')
_SAME = {'8UC1': 'mono8', '16UC1': 'mono16', '8UC3': 'bgr8', '16UC3': 'bgr16'}
_SAME |= {'8UC4': 'bgra8', '16UC4': 'bgra16', '8U': 'mono8', '16U': 'mono16'}
"""Encodings without a meaning, and what OpenCV means by them."""

_TO_RGB: Mapping[str, int] = MappingProxyType(
    {
        'bgr': cv2.COLOR_BGR2RGB,
        'rgba': cv2.COLOR_RGBA2RGB,
        'bgra': cv2.COLOR_BGRA2RGB,
        'mono': cv2.COLOR_GRAY2RGB,
        'bayer_rggb': cv2.COLOR_BayerRGGB2RGB,
        'bayer_bggr': cv2.COLOR_BayerBGGR2RGB,
        'bayer_gbrg': cv2.COLOR_BayerGBRG2RGB,
        'bayer_grbg': cv2.COLOR_BayerGRBG2RGB,
        'yuv422': cv2.COLOR_YUV2RGB_UYVY,
        'uyvy': cv2.COLOR_YUV2RGB_UYVY,
        'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
        'yuyv': cv2.COLOR_YUV2RGB_YUY2,
        'nv12': cv2.COLOR_YUV2RGB_NV12,
        'nv21': cv2.COLOR_YUV2RGB_NV21,
    }
)


class ConversionError(ValueError):
    """A message cannot be read: the field, what came, what was expected."""


class EncodingError(ConversionError):
    """An encoding is unknown, or does not suit the sensor."""


def pixel_type(encoding: str) -> tuple[str, int]:
    """Look up how an encoding lays out a pixel.

    Args:
        encoding: One of `ENCODINGS`, or one of OpenCV with any number of channels (`8UC6`, `32F`).

    Returns:
        numpy type code without byte order, and the number of channels.

    Raises:
        EncodingError: The encoding is unknown.
    """
    if encoding in ENCODINGS:
        return ENCODINGS[encoding]
    if encoding in _PLANE_ROWS:
        return 'u1', 1
    found = _GENERIC.fullmatch(encoding)
    channels = int(found[2] or 1) if found else 0
    if found is None or not 1 <= channels <= 512:
        raise EncodingError(
            f'Image.encoding {encoding!r} is not supported, expected one of '
            f'{[*ENCODINGS, *_PLANE_ROWS]}'
        )
    return ENCODINGS[f'{found[1]}C1'][0], channels


def view_pixels(
    data: Any, encoding: str, height: int, width: int, step: int, is_bigendian: bool
) -> NDArray[Any]:
    """See the pixels inside a message's bytes, without copying.

    Args:
        data: The message's `data`: any object with the buffer protocol.
        encoding: See `pixel_type`.
        height: Rows of the image.
        width: Columns.
        step: Bytes from one row to the next; may be larger than a row of pixels.
        is_bigendian: Byte order of the pixels.

    Returns:
        View of `data`: (H, W), or (H, W, C) for several channels; (H * 3/2, W) of nv12 and nv21,
        (3 * H, W) of nv24, with their second plane below the first. It may be read-only, padded
        at the end of its rows, and of foreign byte order.

    Raises:
        ConversionError: The encoding is unknown, the size is zero, or the data does not hold it.
    """
    code, channels = pixel_type(encoding)
    if height <= 0 or width <= 0:
        raise ConversionError(f'Image.height x width is {height} x {width}, expected pixels')
    dtype = np.dtype(('>' if is_bigendian else '<') + code)
    row = width * channels * dtype.itemsize
    if step < row:
        raise ConversionError(
            f'Image.step is {step}, expected at least {row} for {width} pixels of {encoding}'
        )
    content = memoryview(data).cast('B') if len(data) else memoryview(b'')
    rows = height
    if encoding in _PLANE_ROWS:
        rows = _plane_rows(encoding, height, width, step, content.nbytes)
    # Some drivers leave out the padding behind the last row.
    expected = (rows - 1) * step + row
    if content.nbytes < expected:
        raise ConversionError(
            f'Image.data is truncated: {content.nbytes} bytes, expected {expected} for '
            f'{rows} rows of step {step}'
        )
    shape: tuple[int, ...] = (rows, width, channels)
    strides: tuple[int, ...] = (step, channels * dtype.itemsize, dtype.itemsize)
    if channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, dtype, content, 0, strides)


def image_size(array: NDArray[Any], encoding: str) -> tuple[int, int]:
    """Look up the size of the image that `view_pixels` saw, `(H, W)`, pixels."""
    times, share = _PLANE_ROWS.get(encoding, (1, 1))
    return array.shape[0] * share // times, array.shape[1]


def to_rgb(array: NDArray[Any], encoding: str) -> NDArray[np.uint8]:
    """Convert pixels to colour, as `cv_bridge` does.

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
    meant = _SAME.get(encoding, encoding)
    name = meant.removesuffix('16').removesuffix('8')
    if name not in ('rgb', 'nv24') and name not in _TO_RGB:
        raise EncodingError(f'encoding {encoding!r} is not a colour or grey image')
    if name.startswith(('yuv', 'yuyv', 'uyvy', 'nv1', 'nv2')) and name != 'nv24':
        if array.shape[1] % 2:
            raise ConversionError(f'Image.width is {array.shape[1]}, {encoding} needs it even')
    elif name.startswith('bayer') and min(array.shape) < 2:
        raise ConversionError(f'Image.height x width is {array.shape}, a bayer image needs 2 x 2')
    array = _native(array)
    if name == 'nv24':
        return _nv24_to_rgb(array)
    if name != 'rgb':
        array = cv2.cvtColor(array, _TO_RGB[name])
    if array.dtype.itemsize == 2:
        array = cv2.convertScaleAbs(array, alpha=1 / 257)
    return array.astype(np.uint8, copy=False)


def _plane_rows(encoding: str, height: int, width: int, step: int, length: int) -> int:
    """Rows of all planes; some drivers count them all in the height of the message."""
    times, share = _PLANE_ROWS[encoding]
    rows = height * times // share
    if height % times == 0 and length < (rows - 1) * step + width:
        return height
    if height % share:
        raise ConversionError(f'Image.height is {height}, {encoding} needs it even')
    if share == 1 and step != width:
        raise ConversionError(f'Image.step is {step}, expected the width {width} for {encoding}')
    return rows


def _nv24_to_rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert nv24: as UYVY of twice the width, of which OpenCV knows the arithmetic."""
    height, width = array.shape[0] // 3, array.shape[1]
    pairs = np.ascontiguousarray(array[height:]).reshape(height, width, 2)
    wide = np.empty((height, 2 * width, 2), np.uint8)
    wide[:, 0::2, 0], wide[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
    wide[:, 0::2, 1] = wide[:, 1::2, 1] = array[:height]
    rgb = cv2.cvtColor(wide, cv2.COLOR_YUV2RGB_UYVY)
    return np.ascontiguousarray(rgb[:, ::2]).astype(np.uint8, copy=False)


def to_thermal(
    array: NDArray[Any], encoding: str
) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
    """Convert pixels to what a thermal camera measures, keeping 16 bits where there are 16.

    Args:
        array: Pixels as `view_pixels` gives them.
        encoding: Their encoding; a colour image (a grey picture saved as colour) becomes grey.

    Returns:
        (H, W) uint8, uint16, or float32 for `32FC1` and other encodings with a sign (a driver
        that publishes temperatures).

    Raises:
        EncodingError: The encoding is neither grey nor colour.
    """
    if encoding in ('mono8', '8UC1', '8U', 'mono16', '16UC1', '16U', '32FC1', '32F'):
        return _native(array)
    if encoding in ('16SC1', '16S', '32SC1', '32S', '64FC1', '64F'):
        return array.astype(np.float32)
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
    if encoding in ('16UC1', 'mono16', '16U'):
        depth = array.astype(np.float32) * np.float32(1e-3)
    elif encoding in ('32FC1', '32F', '64FC1', '64F'):
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
    code, channels = pixel_type(encoding)
    if encoding in _PLANE_ROWS:
        raise EncodingError(f'encoding {encoding!r} is not one of {list(ENCODINGS)}')
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
