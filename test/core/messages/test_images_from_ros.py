"""Images over real serialized messages: rosbags' CDR, and rclpy's where it is installed."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import Modality

STAMP = 1_700_000_000_123_456_789


@pytest.mark.parametrize('encoding', cv.ENCODINGS)
def test_images_come_back_as_they_went(ros, encoding, rng):
    code, channels = cv.ENCODINGS[encoding]
    shape = (5, 8) if channels == 1 else (5, 8, channels)
    array = rng.integers(0, 250, shape).astype(code)
    message = ros.round_trip(cv.array_to_image(ros.types, array, encoding, STAMP, 'optical'))
    got, name = cv.image_to_array(message)
    assert name == encoding
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert cv.stamp_of(message) == STAMP
    assert cv.frame_of(message) == 'optical'
    assert (message.height, message.width, message.step) == (5, 8, array.strides[0])


def test_reading_an_image_copies_nothing(ros):
    message = cv.array_to_image(ros.types, np.zeros((4, 6, 3), np.uint8), 'rgb8', STAMP, '')
    array, _ = cv.image_to_array(message)
    array[2, 3] = (1, 2, 3)
    again, _ = cv.image_to_array(message)
    assert again[2, 3].tolist() == [1, 2, 3]
    assert np.shares_memory(array, np.frombuffer(message.data, np.uint8))


def test_padded_and_big_endian_images_survive_the_wire(ros, rng):
    counts = rng.integers(0, 65536, (4, 6)).astype('>u2')
    rows = np.pad(counts.view(np.uint8).reshape(4, 12), ((0, 0), (0, 5)))
    message = cv.array_to_image(ros.types, rows, 'mono8', STAMP, 'thermal')
    message.encoding, message.width, message.step, message.is_bigendian = 'mono16', 6, 17, 1
    got = cv.decode_image(ros.round_trip(message), Modality.THERMAL)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, counts)


@pytest.mark.parametrize(
    ('field', 'value', 'sentence'),
    [
        ('encoding', 'yuv420', "Image.encoding 'yuv420' is not supported"),
        ('height', 0, 'Image.height x width is 0 x 6'),
        ('height', 5, 'Image.data is truncated: 72 bytes, expected 90'),
        ('step', 17, 'Image.step is 17, expected at least 18'),
    ],
)
def test_a_malformed_image_is_refused_by_field(ros, field, value, sentence):
    message = cv.array_to_image(ros.types, np.zeros((4, 6, 3), np.uint8), 'rgb8', STAMP, '')
    setattr(message, field, value)
    with pytest.raises(cv.ConversionError) as caught:
        cv.decode_image(ros.round_trip(message), Modality.CAMERA)
    assert sentence in str(caught.value)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8', 'mono16'])
def test_png_keeps_every_value(ros, encoding, rng):
    code, channels = cv.ENCODINGS[encoding]
    shape = (5, 8) if channels == 1 else (5, 8, channels)
    array = rng.integers(0, np.iinfo(code).max, shape).astype(code)
    message = ros.round_trip(cv.array_to_compressed(ros.types, array, encoding, STAMP, 'c'))
    assert message.format.startswith(f'{encoding}; png compressed ')
    pixels, name = cv.compressed_to_array(message)
    if channels == 3:
        np.testing.assert_array_equal(cv.to_rgb(pixels, name), cv.to_rgb(array, encoding))
    else:
        assert name == encoding
        np.testing.assert_array_equal(pixels, array)
    plain = cv.array_to_image(ros.types, array, encoding, STAMP, 'c')
    a, b = (cv.decode_image(m, Modality.THERMAL) for m in (plain, message))
    np.testing.assert_array_equal(a, b)


def test_jpeg_comes_close_and_is_not_offered_for_what_it_would_spoil(ros):
    v, u = np.mgrid[:64, :96].astype(np.uint8)
    image = np.stack((u, v, u + v), 2)
    message = cv.array_to_compressed(
        ros.types, image, 'rgb8', STAMP, 'c', compression='jpeg', quality=95
    )
    got = cv.decode_image(ros.round_trip(message), Modality.CAMERA)
    assert np.abs(got.astype(int) - image).max() < 20
    counts = np.zeros((4, 4), np.uint16)
    with pytest.raises(cv.EncodingError, match="jpeg holds 8 bits, not 'mono16'"):
        cv.array_to_compressed(ros.types, counts, 'mono16', STAMP, '', compression='jpeg')
    with pytest.raises(cv.EncodingError, match="cannot compress encoding 'mono16' as 'webp'"):
        cv.array_to_compressed(ros.types, counts, 'mono16', STAMP, '', compression='webp')


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff\xe0rubbish', b'\x89PNG'])
def test_compressed_data_that_does_not_decode_is_refused(bags, data):
    message = cv.array_to_compressed(bags.types, np.zeros((4, 4), np.uint8), 'mono8', 0, '')
    message.data = np.frombuffer(data, np.uint8)
    with pytest.raises(cv.ConversionError, match=rf'data \({len(data)} bytes, .* does not decode'):
        cv.compressed_to_array(message)


def mosaic(rgb, pattern):
    made = np.empty(rgb.shape[:2], rgb.dtype)
    for k, letter in enumerate(pattern):
        made[k // 2 :: 2, k % 2 :: 2] = rgb[k // 2 :: 2, k % 2 :: 2, 'rgb'.index(letter)]
    return made


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('codec', ['png', 'jpeg'])
def test_a_compressed_mosaic_becomes_the_colours_of_the_raw_one(ros, pattern, bits, codec):
    if codec == 'jpeg' and bits == 16:
        return  # JPEG holds 8 bits
    v, u = np.mgrid[:64, :96] / 96
    rgb = (np.stack((u, v, 1 - v), 2) * 200 * (257 if bits == 16 else 1)).astype(f'u{bits // 8}')
    raw = mosaic(rgb, pattern)
    message = cv.array_to_compressed(ros.types, raw, f'mono{bits}', STAMP, 'c', compression=codec)
    message.format = f'bayer_{pattern}{bits}; {codec} compressed '
    got = cv.decode_image(ros.round_trip(message), Modality.CAMERA)
    want = cv.to_rgb(raw, f'bayer_{pattern}{bits}')
    limit = 0 if codec == 'png' else 60  # what JPEG makes of a mosaic
    assert np.abs(got.astype(int) - want).max() <= limit
    # A transport that demosaics before it compresses sends three channels.
    colour = cv.array_to_compressed(ros.types, want, 'rgb8', STAMP, 'c')
    colour.format = f'bayer_{pattern}{bits}; png compressed bgr8'
    np.testing.assert_array_equal(cv.decode_image(colour, Modality.CAMERA), want)


@pytest.mark.parametrize(
    ('form', 'swapped'),
    [
        ('rgb8; png compressed bgr8', False),
        ('bgr8; png compressed bgr8', False),
        ('rgb8; png compressed ', False),
        ('png', False),
        ('rgb8; png compressed rgb8', True),
    ],
)
def test_the_order_of_stored_colours_is_that_of_the_format(bags, form, swapped, rng):
    rgb = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    message = cv.array_to_compressed(bags.types, rgb, 'rgb8', STAMP, 'c')
    message.format = form
    got = cv.decode_image(message, Modality.CAMERA)
    np.testing.assert_array_equal(got, rgb[..., ::-1] if swapped else rgb)


def test_compressed_depth_is_read_behind_its_header(bags, rng):
    message = cv.array_to_compressed(bags.types, np.zeros((4, 4), np.uint8), 'mono8', 0, '')
    counts = rng.integers(0, 9000, (8, 12)).astype(np.uint16)
    counts[0, 0] = 0
    png = cv2.imencode('.png', counts)[1].tobytes()
    message.format = '16UC1; compressedDepth png'
    message.data = np.frombuffer(struct.pack('<iff', 0, 0.0, 0.0) + png, np.uint8)
    got = cv.decode_image(message, Modality.DEPTH)
    np.testing.assert_allclose(got, np.where(counts, counts, np.nan) * 1e-3, rtol=1e-6)
    metres = rng.uniform(1, 10, (8, 12)).astype(np.float32)
    a, b = 100.0 * 101.0, 101.0 - 0.0  # as the transport quantizes inverse depth
    stored = np.rint(a / metres + b).astype(np.uint16)
    png = cv2.imencode('.png', stored)[1].tobytes()
    message.format = '32FC1; compressedDepth png'
    message.data = np.frombuffer(struct.pack('<iff', 0, a, b) + png, np.uint8)
    np.testing.assert_allclose(cv.decode_image(message, Modality.DEPTH), metres, rtol=2e-3)
    message.format = '16UC1; compressedDepth rvl'
    with pytest.raises(cv.EncodingError, match='RVL is not read here'):
        cv.decode_image(message, Modality.DEPTH)


@pytest.mark.parametrize(
    ('form', 'data', 'sentence'),
    [
        ('h264', b'\0\0\0\1', 'is video, of which no frame can be read alone'),
        ('jpeg', b'version https://git-lfs.github.com/spec/v1\n', 'is a Git LFS pointer'),
    ],
)
def test_what_is_no_image_is_called_what_it_is(bags, form, data, sentence):
    message = cv.array_to_compressed(bags.types, np.zeros((4, 4), np.uint8), 'mono8', 0, '')
    message.format, message.data = form, np.frombuffer(data, np.uint8)
    with pytest.raises(cv.ConversionError, match=sentence):
        cv.decode_image(message, Modality.CAMERA)


def test_a_truncated_jpeg_never_crashes(bags):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    whole = cv.array_to_compressed(bags.types, image, 'rgb8', 0, '', compression='jpeg').data
    message = cv.array_to_compressed(bags.types, image, 'rgb8', 0, '')
    for length in range(0, len(whole), 97):
        message.data = whole[:length]
        try:
            got = cv.decode_image(message, Modality.CAMERA)
        except cv.ConversionError:
            continue
        assert got.shape == image.shape


def test_pixels_of_odd_kinds_decode_to_named_encodings():
    message = SimpleNamespace(format='png')
    for shape, code, name in (
        ((4, 6, 3), np.uint16, 'bgr16'),
        ((4, 6, 4), np.uint8, 'bgra8'),
        ((4, 6), np.uint16, 'mono16'),
    ):
        message.data = cv2.imencode('.png', np.full(shape, 7, code))[1].reshape(-1)
        pixels, encoding = cv.compressed_to_array(message)
        assert (encoding, pixels.shape, pixels.dtype) == (name, shape, code)
    message.data = cv2.imencode('.tiff', np.ones((4, 6), np.float32))[1].reshape(-1)
    with pytest.raises(cv.EncodingError, match='1 channels of float32'):
        cv.compressed_to_array(message)
