"""Packed pixels, packed here bit by bit as GenICam's pixel format naming convention draws them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.messages.from_ros import decode_image, defer_image, image_to_array
from sam_ad_perception.core.messages.image_encodings import ConversionError
from sam_ad_perception.core.messages.packed_pixels import packing_of, plain_encoding
from sam_ad_perception.core.sensors import Modality


def pack_stream(row, bits):
    """`p`: one number whose lowest bits are the first pixel."""
    whole = sum(int(value) << k * bits for k, value in enumerate(row))
    return whole.to_bytes((len(row) * bits + 7) // 8, 'little')


def pack_pairs(row, bits):
    """`Packed` of GigE Vision, from the figures of Mono10Packed and Mono12Packed."""
    out = bytearray()
    for k in range(0, len(row), 2):
        first = int(row[k])
        second = int(row[k + 1]) if k + 1 < len(row) else 0
        low = (1 << (bits - 8)) - 1
        out += bytes((first >> (bits - 8), (second & low) << 4 | (first & low)))
        out += bytes((second >> (bits - 8),)) if k + 1 < len(row) else b''
    return bytes(out)


def pack_low(row, bits):
    """Values in the low bits of two bytes."""
    return b''.join(int(value).to_bytes(2, 'little') for value in row)


def image(encoding, rows, step, height, width, big=False):
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, is_bigendian=big, data=rows
    )


CASES = [
    (f'{base}{bits}{kind}', bits, pack)
    for base in ('Mono', 'BayerRG', 'mono', 'bayer_gbrg')
    for kind, pack in (('p', pack_stream), ('Packed', pack_pairs), ('', pack_low))
    for bits in (10, 12, 14)
    if (kind, bits) != ('Packed', 14)
]


@pytest.mark.parametrize(('encoding', 'bits', 'pack'), CASES)
@pytest.mark.parametrize('width', [4, 7, 10])
@pytest.mark.parametrize('padding', [0, 3])
def test_values_are_those_that_were_packed(encoding, bits, pack, width, padding, rng):
    values = rng.integers(0, 1 << bits, (5, width)).astype(np.uint16)
    rows = [pack(row, bits) for row in values]
    data = b''.join(row + bytes(padding) for row in rows)
    message = image(encoding, data, len(rows[0]) + padding, 5, width)
    pixels, found = image_to_array(message)
    assert np.array_equal(pixels, values << (16 - bits))
    order = {'Mono': 'mono', 'mono': 'mono', 'BayerRG': 'bayer_rggb', 'bayer_gbrg': 'bayer_gbrg'}
    assert found == order[encoding.rstrip('Packedp').rstrip('0124')] + '16'


def pack_word(row, bits):
    """`p32`: a pixel in four bytes, its first component lowest, two bits left."""
    return b''.join(
        sum(int(value) << k * bits for k, value in enumerate(pixel)).to_bytes(4, 'little')
        for pixel in row.reshape(-1, 3)
    )


COLOURS = [
    *((f'{base}{bits}{kind}', pack) for base in ('RGB', 'BGR', 'RGBa', 'BGRa')
      for kind, pack in (('p', pack_stream), ('', pack_low)) for bits in (10, 12)),
    ('RGB14', pack_low), ('RGB10p32', pack_word), ('RGB10V2Packed', pack_word),
]  # fmt: skip


@pytest.mark.parametrize(('encoding', 'pack'), COLOURS)
@pytest.mark.parametrize('width', [4, 7])
@pytest.mark.parametrize('padding', [0, 5])
def test_colours_are_those_that_were_packed(encoding, pack, width, padding, rng):
    bits = int(re.search(r'\d+', encoding)[0])
    channels = 4 if 'a1' in encoding else 3
    values = rng.integers(0, 1 << bits, (5, width, channels)).astype(np.uint16)
    rows = [pack(row.ravel(), bits) for row in values]
    data = b''.join(row + bytes(padding) for row in rows)
    message = image(encoding, data, len(rows[0]) + padding, 5, width)
    pixels, found = image_to_array(message)
    assert found == f'{encoding[:channels].lower()}16'
    assert np.array_equal(pixels, values << (16 - bits))
    rgb = values[..., :3] if encoding.startswith('RGB') else values[..., 2::-1]
    seen = decode_image(message, Modality.CAMERA)
    assert np.abs(seen - 255.0 * (rgb << (16 - bits)) / 65535).max() <= 1.0


FOUR_ONE_ONE = ('YUV411Packed', 'YUV411_8_UYYVYY', 'YCbCr601_411_8_CbYYCrYY')
FOUR_FOUR_FOUR = ('YUV444Packed', 'YUV8_UYV', 'YCbCr601_8_CbYCr')


@pytest.mark.parametrize('encoding', [*FOUR_ONE_ONE, *FOUR_FOUR_FOUR])
@pytest.mark.parametrize('padding', [0, 3])
def test_yuv_of_other_samplings_has_the_colours_of_uyvy(encoding, padding, rng):
    """U and V that are equal over eight pixels are the same picture in every sampling."""
    height, width = 6, 16
    y = rng.integers(16, 235, (height, width)).astype(np.uint8)
    u, v = (rng.integers(16, 240, (height, width // 8)).repeat(8, 1).astype(np.uint8)
            for _ in range(2))  # fmt: skip
    rows, plain = [], np.empty((height, width, 2), np.uint8)
    for r in range(height):
        row = bytearray()
        for x in range(0, width, 4):
            if encoding in FOUR_ONE_ONE:
                row += bytes((u[r, x], *y[r, x : x + 2], v[r, x], *y[r, x + 2 : x + 4]))
            else:
                row += bytes(b for k in range(x, x + 4) for b in (u[r, k], y[r, k], v[r, k]))
        rows.append(bytes(row) + bytes(padding))
    plain[:, ::2, 0], plain[:, 1::2, 0], plain[..., 1] = u[:, ::2], v[:, ::2], y
    message = image(encoding, b''.join(rows), len(rows[0]), height, width)
    seen = decode_image(message, Modality.CAMERA)
    assert np.array_equal(seen, cv2.cvtColor(plain, cv2.COLOR_YUV2RGB_UYVY))
    lazy = defer_image(message, Modality.CAMERA, None)
    assert lazy.size == (height, width)
    assert np.array_equal(lazy.get(), seen)


@pytest.mark.parametrize('step', [0, 10])
def test_rows_without_a_gap_are_read_where_the_step_is_of_no_use(step, rng):
    values = rng.integers(0, 4096, (6, 10)).astype(np.uint16)
    data = pack_stream(values.ravel(), 12)
    pixels, _ = image_to_array(image('Mono12p', data, step, 6, 10))
    assert np.array_equal(pixels, values << 4)


def test_two_bytes_in_the_other_order(rng):
    values = rng.integers(0, 4096, (6, 10)).astype(np.uint16)
    message = image('mono12', values.astype('>u2').tobytes(), 20, 6, 10, big=True)
    assert np.array_equal(image_to_array(message)[0], values << 4)


def test_a_packed_mosaic_has_the_colours_of_the_plain_one(rng):
    mosaic = rng.integers(0, 4096, (12, 16)).astype(np.uint16)
    data = b''.join(pack_stream(row, 12) for row in mosaic)
    rgb = decode_image(image('BayerRG12p', data, 24, 12, 16), Modality.CAMERA)
    wide = cv2.cvtColor(mosaic << 4, cv2.COLOR_BayerRGGB2RGB)
    assert np.abs(rgb.astype(float) - wide / 257.0).max() <= 1.0


def test_a_full_scale_value_is_white():
    data = pack_stream([4095] * 8, 12)
    rgb = decode_image(image('Mono12p', data, 12, 1, 8), Modality.CAMERA)
    assert (rgb == 255).all()


@pytest.mark.parametrize(
    ('given', 'plain'),
    [
        ('BayerRG8', 'bayer_rggb8'),
        ('bayerrg8', 'bayer_rggb8'),
        ('BayerGB16', 'bayer_gbrg16'),
        ('Mono8', 'mono8'),
        ('RGB8Packed', 'rgb8'),
        ('BGRa8', 'bgra8'),
        ('YUV422_8', 'yuyv'),
        ('YUV422_8_UYVY', 'uyvy'),
        ('YCbCr601_422_8', 'yuyv'),
        ('yuv422', 'yuv422'),
        ('rgb8', 'rgb8'),
        ('32FC1', '32FC1'),
        ('bayer_rggb8', 'bayer_rggb8'),
    ],
)
def test_names_of_genicam_are_known(given, plain):
    assert plain_encoding(given) == plain
    assert packing_of(given) is None


@pytest.mark.parametrize(
    ('message', 'sentence'),
    [
        (image('mono12', bytes(15), 15, 1, 10), 'expected at least 20 .*Mono12p or Mono12Packed'),
        (image('Mono12p', bytes(14), 15, 1, 10), 'truncated: 14 bytes, expected 15'),
        (image('Mono12p', b'', 15, 1, 10), 'truncated: 0 bytes'),
        (image('Mono12p', bytes(15), 15, 0, 10), '0 x 10'),
        (image('Mono14Packed', bytes(60), 15, 1, 10), "'Mono14Packed' is not supported"),
        (image('RGB10V1Packed', bytes(60), 40, 1, 10), "'RGB10V1Packed' is not supported"),
        (image('YCbCr709_8', bytes(60), 30, 1, 10), "'YCbCr709_8' is not supported"),
        (image('YUV411Packed', bytes(60), 15, 1, 10), 'width is 10, .* multiple of 4'),
        (image('YUV411Packed', bytes(17), 18, 1, 12), 'truncated: 17 bytes, expected 18'),
        (image('RGB12p', bytes(44), 45, 1, 10), 'truncated: 44 bytes, expected 45'),
        (image('RGB12', bytes(60), 45, 1, 10), 'expected at least 60 .* as RGB12p does'),
        (image('RGB10p32', bytes(39), 40, 1, 10), 'truncated: 39 bytes, expected 40'),
    ],
)
def test_what_does_not_fit_is_one_sentence(message, sentence):
    with pytest.raises(ConversionError, match=sentence):
        image_to_array(message)
