from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.messages.image_encodings import (
    ENCODINGS,
    ConversionError,
    EncodingError,
    check_pixels,
    image_size,
    pixel_type,
    to_depth,
    to_rgb,
    to_thermal,
    view_pixels,
)

# Every constant of sensor_msgs/image_encodings.hpp (Jazzy).
STANDARD = (
    *('rgb8', 'rgba8', 'rgb16', 'rgba16', 'bgr8', 'bgra8', 'bgr16', 'bgra16', 'mono8', 'mono16'),
    *(
        f'{bits}C{n}'
        for bits in ('8U', '8S', '16U', '16S', '32S', '32F', '64F')
        for n in range(1, 5)
    ),
    *(f'bayer_{order}{bits}' for order in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)),
    *('uyvy', 'yuyv', 'yuv422', 'yuv422_yuy2', 'nv21', 'nv24'),
)
PLANES = {'nv12': 1.5, 'nv21': 1.5, 'nv24': 3}
COLOURS = [e for e in ENCODINGS if not re.search('S|F|UC2', e)]


def shape_of(encoding, height=6, width=8):
    _, channels = ENCODINGS[encoding]
    return (height, width) if channels == 1 else (height, width, channels)


def dtype_of(encoding, big=False):
    return np.dtype(('>' if big else '<') + ENCODINGS[encoding][0])


def pad_rows(array, padding):
    """Bytes of an image with `padding` bytes of rubbish behind each row, and its step."""
    rows = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    return rows.reshape(-1), rows.shape[1]


@pytest.mark.parametrize('encoding', STANDARD)
def test_every_name_of_sensor_msgs_is_read(encoding, rng):
    kind, channels = pixel_type(encoding)
    row = 8 * channels * np.dtype(kind).itemsize
    data = bytes(round(PLANES.get(encoding, 1) * 6 * row))
    view = view_pixels(data, encoding, 6, 8, row, False)
    assert image_size(view, encoding) == (6, 8)
    colours = not re.match('8S|16S|32|64|.*UC2', encoding)
    if colours:
        assert to_rgb(view, encoding).shape == (6, 8, 3)
    else:
        with pytest.raises(EncodingError, match='not a colour or grey image'):
            to_rgb(view, encoding)


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 5])
def test_pixels_are_seen_in_place_whatever_the_layout(encoding, big, padding, rng):
    dtype = dtype_of(encoding, big)
    array = rng.integers(0, 200, shape_of(encoding)).astype(dtype)
    data, step = pad_rows(array, padding)
    view = view_pixels(data, encoding, 6, 8, step, big)
    np.testing.assert_array_equal(view, array)
    data[:] = 0
    assert not view.any()  # a view, not a copy


def test_the_padding_of_the_last_row_may_be_missing(rng):
    array = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    data, step = pad_rows(array, 5)
    np.testing.assert_array_equal(view_pixels(data[:-5], 'rgb8', 6, 8, step, False), array)
    with pytest.raises(ConversionError, match=r'data is truncated: 168 bytes, expected 169'):
        view_pixels(data[:-6], 'rgb8', 6, 8, step, False)


@given(
    st.sampled_from([*ENCODINGS, *PLANES, '', '8UC7', '8UC513', 'yuv420']),
    st.integers(-2, 40),
    st.integers(-2, 40),
    st.integers(-5, 200),
    st.binary(max_size=400),
    st.booleans(),
)
def test_malformed_images_are_refused_and_never_read_beyond_their_data(
    encoding, height, width, step, data, big
):
    try:
        view = view_pixels(data, encoding, height, width, step, big)
    except ConversionError as err:
        words = str(err)
        assert words.startswith('Image.')
    else:
        rows = height
        if encoding in PLANES:
            rows = len(view)
            assert rows in (height, height * PLANES[encoding])
        assert view.shape[:2] == (rows, width)
        last = (rows - 1) * step + width * view.itemsize * pixel_type(encoding)[1]
        assert last <= len(data)


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ((b'\0' * 99, 'yuv420', 3, 3, 9, False), "Image.encoding 'yuv420' is not supported"),
        ((b'', 'rgb8', 0, 3, 9, False), 'Image.height x width is 0 x 3'),
        ((b'', 'rgb8', 3, 0, 9, False), 'Image.height x width is 3 x 0'),
        ((b'\0' * 99, 'rgb8', 3, 4, 11, False), 'Image.step is 11, expected at least 12'),
        ((b'\0' * 99, 'mono16', 3, 4, 4, False), 'Image.step is 4, expected at least 8'),
        ((b'', 'mono8', 3, 4, 4, False), 'Image.data is truncated: 0 bytes, expected 12'),
    ],
)
def test_each_fault_names_its_field(arguments, sentence):
    with pytest.raises(ConversionError) as caught:
        view_pixels(*arguments)
    assert sentence in str(caught.value)


def test_rgb_passes_through_untouched(rng):
    array = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    assert to_rgb(array, 'rgb8') is array


@pytest.mark.parametrize('encoding', ['bgr8', '8UC3', 'rgba8', 'bgra8', 'mono8', '8UC1'])
def test_channels_end_up_in_order(encoding, rng):
    rgb = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    alpha = np.full((4, 6, 1), 7, np.uint8)
    expected, array = (
        rgb,
        {
            'bgr8': rgb[..., ::-1],
            '8UC3': rgb[..., ::-1],
            'rgba8': np.concatenate((rgb, alpha), 2),
            'bgra8': np.concatenate((rgb[..., ::-1], alpha), 2),
            'mono8': rgb[..., 0],
            '8UC1': rgb[..., 0],
        }[encoding],
    )
    if array.ndim == 2:
        expected = np.repeat(array[..., None], 3, 2)
    np.testing.assert_array_equal(to_rgb(np.ascontiguousarray(array), encoding), expected)


@pytest.mark.parametrize('big', [False, True])
def test_sixteen_bits_scale_to_eight(big, rng):
    grey = rng.integers(0, 65536, (4, 6)).astype(dtype_of('mono16', big))
    expected = np.rint(grey.astype(float) * 255 / 65535)
    assert np.abs(to_rgb(grey, 'mono16')[..., 1] - expected).max() <= 0.5
    color = rng.integers(0, 65536, (4, 6, 3)).astype(dtype_of('bgr16', big))
    expected = np.rint(color[..., ::-1].astype(float) * 255 / 65535)
    assert np.abs(to_rgb(color, 'bgr16') - expected).max() <= 0.5
    np.testing.assert_array_equal(to_rgb(color[..., ::-1], 'rgb16'), to_rgb(color, 'bgr16'))


def smooth_picture(size=(64, 96)):
    """A picture that demosaicing and chroma subsampling can give back: no detail, many colours."""
    v, u = np.mgrid[: size[0], : size[1]] / max(size)
    rgb = np.stack((u, v, 1 - 0.5 * (u + v)), 2)
    return (40 + 170 * rgb).astype(np.uint8)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_gives_back_the_colours_that_the_pattern_sampled(pattern):
    rgb = smooth_picture()
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for k, letter in enumerate(pattern):  # row by row in each block of 2 x 2
        mosaic[k // 2 :: 2, k % 2 :: 2] = rgb[k // 2 :: 2, k % 2 :: 2, 'rgb'.index(letter)]
    got = to_rgb(mosaic, f'bayer_{pattern}8')
    error = np.abs(got.astype(int) - rgb)[2:-2, 2:-2]
    assert error.max() <= 4


@pytest.mark.parametrize(
    ('encoding', 'code'),
    [
        ('yuv422', cv2.COLOR_RGB2YUV_UYVY),
        ('uyvy', cv2.COLOR_RGB2YUV_UYVY),
        ('yuv422_yuy2', cv2.COLOR_RGB2YUV_YUY2),
        ('yuyv', cv2.COLOR_RGB2YUV_YUY2),
    ],
)
def test_yuv422_gives_back_what_opencv_encoded(encoding, code):
    rgb = smooth_picture()
    packed = cv2.cvtColor(rgb, code)
    assert np.abs(to_rgb(packed, encoding).astype(int) - rgb).max() <= 6


def test_a_yuv_pixel_by_the_standard():
    # BT.601 studio swing: Y 81, Cb 90, Cr 240 is pure red; UYVY is Cb Y Cr Y.
    red = np.array([[[90, 81], [240, 81]]], np.uint8)
    np.testing.assert_allclose(to_rgb(red, 'yuv422')[0], [[255, 0, 0]] * 2, atol=3)
    red = np.array([[[81, 90], [81, 240]]], np.uint8)
    np.testing.assert_allclose(to_rgb(red, 'yuv422_yuy2')[0], [[255, 0, 0]] * 2, atol=3)


def test_padded_and_read_only_images_convert_like_plain_ones(rng):
    for encoding in COLOURS:
        array = rng.integers(0, 255, shape_of(encoding)).astype(dtype_of(encoding))
        data, step = pad_rows(array, 3)
        view = view_pixels(data.tobytes(), encoding, 6, 8, step, False)
        np.testing.assert_array_equal(to_rgb(view, encoding), to_rgb(array, encoding))


def test_what_is_no_colour_or_too_small_is_refused():
    with pytest.raises(EncodingError, match="'32FC1' is not a colour or grey image"):
        to_rgb(np.zeros((2, 2), np.float32), '32FC1')
    with pytest.raises(ConversionError, match=r'Image\.width is 3, yuv422 needs it even'):
        to_rgb(np.zeros((2, 3, 2), np.uint8), 'yuv422')
    with pytest.raises(ConversionError, match='needs 2 x 2'):
        to_rgb(np.zeros((1, 4), np.uint8), 'bayer_rggb8')
    assert to_rgb(np.zeros((1, 4), np.uint8), 'mono8').shape == (1, 4, 3)


@pytest.mark.parametrize('big', [False, True])
def test_thermal_keeps_its_sixteen_bits(big, rng):
    counts = rng.integers(0, 65536, (4, 6)).astype(dtype_of('mono16', big))
    for encoding in ('mono16', '16UC1'):
        got = to_thermal(counts, encoding)
        assert got.dtype == np.uint16
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, counts)
    grey = rng.integers(0, 256, (4, 6), dtype=np.uint8)
    assert to_thermal(grey, 'mono8') is grey
    colored = np.repeat(grey[..., None], 3, 2)
    assert np.abs(to_thermal(colored, 'bgr8').astype(int) - grey).max() <= 1
    celsius = rng.normal(20, 5, (4, 6)).astype(dtype_of('32FC1', big))
    np.testing.assert_array_equal(to_thermal(celsius, '32FC1'), celsius)
    assert to_thermal(celsius, '32FC1').dtype.isnative
    with pytest.raises(EncodingError):
        to_thermal(np.zeros((2, 2, 3), np.float32), '32FC3')


@pytest.mark.parametrize('big', [False, True])
def test_depth_is_metres_with_nan_whatever_marks_the_invalid(big):
    metres = np.array([[1.5, np.nan, np.inf, -np.inf, 0.0, -2.0]], dtype_of('32FC1', big))
    got = to_depth(metres, '32FC1')
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, np.array([[1.5, *[np.nan] * 5]], np.float32))
    millimetres = np.array([[0, 1, 1500, 65535]], dtype_of('16UC1', big))
    expected = np.array([[np.nan, 0.001, 1.5, 65.535]])
    np.testing.assert_allclose(to_depth(millimetres, '16UC1'), expected, rtol=1e-6)
    with pytest.raises(EncodingError, match="'rgb8' is not a depth image"):
        to_depth(np.zeros((2, 2, 3), np.uint8), 'rgb8')


def test_arrays_are_checked_before_they_are_sent():
    sent = check_pixels(np.zeros((4, 6, 3), np.uint8)[:, ::2], 'rgb8')
    assert sent.flags.c_contiguous
    assert check_pixels(np.zeros((2, 2), '>u2'), 'mono16').dtype.isnative
    for array, encoding in (
        (np.zeros((4, 6), np.uint8), 'rgb8'),
        (np.zeros((4, 6, 4), np.uint8), 'rgb8'),
        (np.zeros((4, 6), np.int16), 'mono16'),
        (np.zeros((4, 6), np.float64), '32FC1'),
        (np.zeros((0, 6), np.uint8), 'mono8'),
        (np.zeros(6, np.uint8), 'mono8'),
    ):
        with pytest.raises(ConversionError, match=f'{encoding} is'):
            check_pixels(array, encoding)
    with pytest.raises(EncodingError, match="'nv12' is not one of"):
        check_pixels(np.zeros((2, 2), np.uint8), 'nv12')


def cv_bridge_to_rgb(array, encoding):
    """What `CvBridge().imgmsg_to_cv2(message, 'rgb8')` does: colours first, then the depth."""
    codes = {
        'mono': cv2.COLOR_GRAY2RGB,
        'bgr': cv2.COLOR_BGR2RGB,
        'rgba': cv2.COLOR_RGBA2RGB,
        'bgra': cv2.COLOR_BGRA2RGB,
        'bayer_rggb': cv2.COLOR_BayerBG2RGB,
        'bayer_bggr': cv2.COLOR_BayerRG2RGB,
        'bayer_gbrg': cv2.COLOR_BayerGR2RGB,
        'bayer_grbg': cv2.COLOR_BayerGB2RGB,
        'yuv422': cv2.COLOR_YUV2RGB_UYVY,
        'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
    }
    name = re.sub('(8|16)$', '', encoding)
    array = array if name == 'rgb' else cv2.cvtColor(array, codes[name])
    return np.rint(array * (255 / 65535)).astype(np.uint8) if array.itemsize == 2 else array


@pytest.mark.parametrize(
    'encoding',
    [f'{name}{bits}' for name in ('mono', 'rgb', 'bgr', 'rgba', 'bgra') for bits in (8, 16)]
    + [f'bayer_{p}{bits}' for p in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)]
    + ['yuv422', 'yuv422_yuy2'],
)
def test_colours_are_those_of_cv_bridge(encoding, rng):
    high = 256 if ENCODINGS[encoding][0] == 'u1' else 65536
    array = rng.integers(0, high, shape_of(encoding, 40, 64)).astype(ENCODINGS[encoding][0])
    got = to_rgb(array, encoding)
    np.testing.assert_array_equal(got, cv_bridge_to_rgb(array, encoding))


@pytest.mark.parametrize('bits', ['8U', '8S', '16U', '16S', '32S', '32F', '64F'])
@pytest.mark.parametrize('count', [None, 1, 2, 3, 4, 5, 12])
def test_every_number_of_channels_is_seen(bits, count, rng):
    encoding = bits if count is None else f'{bits}C{count}'
    kind = {'U': 'u', 'S': 'i', 'F': 'f'}[bits[-1]] + str(int(bits[:-1]) // 8)
    assert pixel_type(encoding) == (kind, count or 1)
    array = rng.integers(0, 100, (4, 6) if (count or 1) == 1 else (4, 6, count)).astype(kind)
    view = view_pixels(array.tobytes(), encoding, 4, 6, array.strides[0], False)
    np.testing.assert_array_equal(view, array)


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
@pytest.mark.parametrize('counts_all_rows', [False, True])
def test_half_size_chroma_planes_give_back_what_was_encoded(encoding, counts_all_rows):
    rgb = smooth_picture()
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)  # Y, then U, then V
    y, u, v = planar[:64], planar[64:80].reshape(-1), planar[80:].reshape(-1)
    chroma = np.stack((u, v) if encoding == 'nv12' else (v, u), 1).reshape(32, 96)
    data = np.concatenate((y, chroma)).tobytes()
    view = view_pixels(data, encoding, 96 if counts_all_rows else 64, 96, 96, False)
    assert image_size(view, encoding) == (64, 96)
    assert np.abs(to_rgb(view, encoding).astype(int) - rgb).max() <= 6


def test_a_full_size_chroma_plane_gives_back_every_pixel(rng):
    red = np.array(
        [[81] * 4, [81] * 4, [90, 240] * 2, [90, 240] * 2, [90, 240] * 2, [90, 240] * 2]
    )
    view = view_pixels(red.astype(np.uint8).tobytes(), 'nv24', 2, 4, 4, False)
    np.testing.assert_allclose(to_rgb(view, 'nv24'), np.tile([255, 0, 0], (2, 4, 1)), atol=3)
    with pytest.raises(ConversionError, match=r'Image\.step is 6, expected the width 4 for nv24'):
        view_pixels(bytes(99), 'nv24', 2, 4, 6, False)
    with pytest.raises(ConversionError, match='height is 5, nv21 needs it even'):
        view_pixels(bytes(99), 'nv21', 5, 4, 4, False)


@pytest.mark.parametrize('encoding', ['16SC1', '32SC1', '64FC1', '32FC1'])
def test_temperatures_with_a_sign_are_kept(encoding):
    degrees = np.array([[-20, 5]]).astype(ENCODINGS[encoding][0])
    assert to_thermal(degrees, encoding).tolist() == [[-20.0, 5.0]]
