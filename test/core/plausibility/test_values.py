"""Values that cannot be, in the messages that hold them; what is right is left alone."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.images.jpeg_decoding import decode_compressed
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.plausibility.pixels import ImageChecks, is_byte_swapped
from sam_ad_perception.core.sensors import Modality

STAMP = 1_700_000_000_000_000_000
CAMERA, THERMAL, DEPTH = Modality.CAMERA, Modality.THERMAL, Modality.DEPTH


def heat(rng, bits=16, noise=8.0, shape=(120, 160)):
    """Counts of a scene: a slope, a warm spot, noise."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    scene = 0.4 + 0.1 * v / shape[0] + 0.3 * (np.hypot(v - 60, u - 70) < 20)
    return np.clip(scene * (1 << bits) + rng.normal(0, noise, shape), 0, (1 << bits) - 1)


def read(bags, pixels, encoding, modality, checks=None, bigendian=0):
    message = from_ros.array_to_image(bags.types, np.asarray(pixels), encoding, STAMP, 'optical')
    message.is_bigendian = bigendian
    return from_ros.read_image(message, modality, checks=checks or ImageChecks(modality))


def codes(found):
    return [each.code for each in found]


@pytest.mark.parametrize(('bits', 'noise'), [(16, 8), (16, 100), (14, 3), (12, 2), (11, 40)])
@pytest.mark.parametrize('modality', [THERMAL, DEPTH])
def test_exchanged_bytes_are_read_the_other_way_round(bags, rng, bits, noise, modality):
    right = heat(rng, bits, noise).astype(np.uint16)
    encoding = '16UC1' if modality is DEPTH else 'mono16'
    image, found = read(bags, right, encoding, modality)
    assert not found
    again, found = read(bags, right.byteswap(), encoding, modality)
    assert codes(found) == ['image.byte_order']
    assert not found[0].out
    np.testing.assert_array_equal(again, image)
    other, found = read(bags, right.byteswap(), encoding, modality, bigendian=1)
    assert not found  # the flag says so
    np.testing.assert_array_equal(other, image)


@pytest.mark.parametrize(
    'pixels',
    [
        np.full((60, 80), 300, np.uint16),
        np.random.default_rng(1).integers(0, 65536, (60, 80)).astype(np.uint16),
        (np.random.default_rng(2).integers(0, 256, (60, 80)) << 8).astype(np.uint16),
        np.random.default_rng(3).integers(0, 256, (60, 80)).astype(np.uint16),
        np.random.default_rng(4).integers(0, 256, (60, 80)).astype(np.uint16) * 257,
        (np.random.default_rng(5).integers(800, 900, (60, 80)) << 4).astype(np.uint16),
        np.where(np.mgrid[:60, :80][1] < 30, 0, 4000).astype(np.uint16),
    ],
)
def test_no_order_is_told_where_none_can_be(pixels):
    assert not is_byte_swapped(pixels)


@pytest.mark.parametrize(
    ('modality', 'values'),
    [
        (DEPTH, lambda scene: 2 + 38 * scene),
        (THERMAL, lambda scene: 60 * scene - 12),
        (THERMAL, lambda scene: 253 + 60 * scene),
    ],
    ids=['depth in metres', 'degrees Celsius', 'kelvin'],
)
def test_floats_of_exchanged_bytes_are_read_the_other_way_round(bags, rng, modality, values):
    scene = rng.uniform(0, 1, (60, 80))
    right = values(scene).astype('<f4')
    if modality is DEPTH:
        right[rng.random(right.shape) < 0.3] = np.nan
    told, found = read(bags, right, '32FC1', modality)
    swapped, mended = read(bags, right.byteswap(), '32FC1', modality)
    assert codes(found) == []
    assert codes(mended) == ['image.byte_order']
    np.testing.assert_array_equal(swapped, told)
    flagged, clean = read(bags, right.byteswap(), '32FC1', modality, bigendian=1)
    assert codes(clean) == []
    np.testing.assert_array_equal(flagged, told)


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_unused_bits_of_a_camera_do_not_make_it_black(bags, rng, bits):
    checks = ImageChecks(CAMERA)
    pixels = heat(rng, bits, 2).astype(np.uint16)
    image, found = read(bags, pixels, 'mono16', CAMERA, checks)
    if bits < 14:
        assert codes(found) == ['image.bit_depth']
        assert found[0].figure == bits
    expected = pixels.astype(np.float64) / (1 << bits) * 255
    assert np.abs(image[..., 0] - expected).max() < 1.5
    dark = (pixels // 16).astype(np.uint16)  # the range stays that of the sensor
    image, _ = read(bags, dark, 'mono16', CAMERA, checks)
    assert np.abs(image[..., 0] - expected / 16).max() < 1.5


@pytest.mark.parametrize('palette', [cv2.COLORMAP_JET, cv2.COLORMAP_INFERNO, cv2.COLORMAP_RAINBOW])
def test_a_palette_picture_is_no_thermal_image(bags, rng, palette):
    grey = (heat(rng, 8, 2)).astype(np.uint8)
    picture = cv2.applyColorMap(cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX), palette)
    _, found = read(bags, picture, 'bgr8', THERMAL)
    assert codes(found) == ['image.false_colour']
    assert found[0].out
    _, found = read(bags, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 'bgr8', THERMAL)
    assert not found


def test_roles_that_an_encoding_contradicts(bags, rng):
    depth = rng.uniform(500, 9000, (60, 80)).astype(np.uint16)
    depth[:, ::7] = 0
    _, found = read(bags, depth, '16UC1', CAMERA)
    assert 'image.role' in codes(found)
    assert next(f for f in found if f.code == 'image.role').out
    _, found = read(bags, rng.integers(0, 255, (60, 80), np.uint8), 'bayer_rggb8', THERMAL)
    assert codes(found) == ['image.role']


def test_black_hot_images_are_inverted(bags, rng):
    pixels = heat(rng).astype(np.uint16)
    image, _ = read(bags, pixels, 'mono16', THERMAL, ImageChecks(THERMAL, black_hot=True))
    np.testing.assert_array_equal(image, 65535 - pixels)


def test_depth_of_kilometres_is_no_depth(bags, rng):
    depth = rng.uniform(2000, 9000, (60, 80)).astype(np.float32)
    _, found = read(bags, depth, '32FC1', DEPTH)
    assert codes(found) == ['image.depth_unit']
    assert found[0].out
    _, found = read(bags, depth / 1000, '32FC1', DEPTH)
    assert not found


def jpeg(rng):
    small = rng.integers(0, 255, (50, 80, 3), np.uint8)
    image = cv2.resize(small, (640, 400), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


@pytest.mark.parametrize(('share', 'size'), [(0.33, 1024), (0.5, 512), (0.1, 2048), (0.7, 64)])
def test_a_jpeg_that_lacks_a_packet_is_a_finding_of_its_frame(bags, rng, capfd, share, size):
    whole = jpeg(rng)
    at = int(len(whole) * share)
    message = from_ros.array_to_compressed(
        bags.types, np.zeros((4, 4, 3), np.uint8), 'rgb8', STAMP, 'optical', compression='jpeg'
    )
    for data, wanted in ((whole, []), (whole[:at] + whole[at + size :], ['image.corrupt'])):
        message.data = np.frombuffer(data, np.uint8)
        _, found = from_ros.read_image(message, CAMERA, checks=ImageChecks(CAMERA))
        assert codes(found) == wanted
        lazy = from_ros.defer_image(message, CAMERA, ImageChecks(CAMERA))
        lazy.get()
        assert codes(lazy.findings) == wanted
    assert found[0].out
    assert 'Corrupt JPEG data' in found[0].text
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('lost', [2, 1, 0])
def test_a_jpeg_without_the_marker_of_its_end_is_whole(rng, lost):
    whole = jpeg(rng)
    pixels, doubt = decode_compressed(whole[: len(whole) - lost])
    np.testing.assert_array_equal(pixels, cv2.imdecode(np.frombuffer(whole, np.uint8), -1))
    assert doubt == ''


@pytest.mark.parametrize('share', [0.05, 0.5, 0.9, 0.99])
def test_a_jpeg_whose_end_is_lost_does_not_decode(rng, capfd, share):
    whole = jpeg(rng)
    assert decode_compressed(whole[: int(share * len(whole))]) == (None, '')
    assert capfd.readouterr().err == ''


def test_padding_of_usb_cameras_is_no_damage_and_words_of_others_pass(rng, capfd):
    whole = jpeg(rng)
    padded = whole[:-2] + bytes(12) + whole[-2:]
    assert decode_compressed(padded)[1] == ''
    assert 'extraneous' in decode_compressed(whole[:-2] + bytes(range(1, 13)) + whole[-2:])[1]
    os.write(2, b'a line of somebody else\n')
    assert capfd.readouterr().err == 'a line of somebody else\n'
