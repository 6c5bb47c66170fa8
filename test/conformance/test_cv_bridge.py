"""Images of every encoding against cv_bridge, with steps, byte orders and sizes of all kinds."""

import sys

import numpy as np
import pytest

pytest.importorskip('cv_bridge', reason='cv_bridge is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import Image

from sam_ad_perception.core.messages.from_ros import image_to_array
from sam_ad_perception.core.messages.image_encodings import ENCODINGS, to_rgb
from sam_ad_perception.core.messages.to_ros import array_to_image
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros
SIZES = ((6, 8), (2, 2), (48, 64), (10, 18))


def image(rng, encoding, size, padding=0, big_endian=False):
    """An image of noise, with bytes between its rows and in either byte order."""
    kind, channels = ENCODINGS[encoding]
    height, width = size
    dtype = np.dtype(('>' if big_endian else '<') + kind)
    if dtype.kind == 'f':
        pixels = rng.uniform(-9, 9, (height, width * channels)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        pixels = rng.integers(info.min, int(info.max) + 1, (height, width * channels))
        pixels = pixels.astype(dtype)
    rows = np.zeros((height, width * channels * dtype.itemsize + padding), np.uint8)
    rows[:, : rows.shape[1] - padding] = pixels.view(np.uint8).reshape(height, -1)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.is_bigendian = int(big_endian)
    message.data.frombytes(rows.tobytes())
    return message


@pytest.mark.parametrize('encoding', sorted(ENCODINGS))
@pytest.mark.parametrize('padding', [0, 96])  # it reads rows of whole pixels only
@pytest.mark.parametrize('big_endian', [False, True])
def test_pixels_are_those_of_cv_bridge(encoding, padding, big_endian, rng, count):
    bridge = CvBridge()
    for size in SIZES:
        message = image(rng, encoding, size, padding, big_endian)
        try:
            theirs = bridge.imgmsg_to_cv2(message, 'passthrough')
        except (CvBridgeError, KeyError, TypeError, ValueError):
            count('cv_bridge', 'images that it refuses')
            continue
        except AttributeError:  # it cannot swap bytes under NumPy 2
            assert big_endian
            count('cv_bridge', 'images that it refuses')
            continue
        ours, named = image_to_array(message)
        assert named == encoding
        # cv_bridge drops the byte order of what it hands out; numbers are compared, not bytes.
        if theirs.dtype.byteorder == '=' and big_endian and theirs.dtype.itemsize > 1:
            swapped = sys.byteorder == 'little' and not np.array_equal(
                ours.reshape(theirs.shape), theirs
            )
            if swapped:
                theirs = theirs.byteswap()
        np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
        count('cv_bridge', 'images as they are')


@pytest.mark.parametrize('encoding', sorted(ENCODINGS))
def test_colours_are_those_of_cv_bridge(encoding, rng, count):
    if ENCODINGS[encoding][0] not in ('u1', 'u2') or encoding.startswith(('8U', '16U')):
        pytest.skip('its numbers are no colours')
    bridge = CvBridge()
    for size in SIZES[2:]:
        message = image(rng, encoding, size)
        try:
            theirs = bridge.imgmsg_to_cv2(message, 'rgb8')
        except CvBridgeError:
            count('cv_bridge', 'conversions that it refuses')
            continue
        pixels, _ = image_to_array(message)
        difference = np.abs(to_rgb(pixels, encoding).astype(int) - theirs.astype(int))
        # 16 bits: cv_bridge scales by 255/65535 and rounds, we take the upper byte.
        limit = 1 if ENCODINGS[encoding][0] == 'u2' or encoding.startswith(('yuv', 'uyv')) else 0
        inner = difference[1:-1, 1:-1] if encoding.startswith('bayer') else difference
        assert inner.max() <= limit, encoding
        count('cv_bridge', 'images as rgb8')


@pytest.mark.parametrize('encoding', ['mono8', 'rgb8', '32FC1', 'mono16'])
def test_what_we_publish_is_read_by_cv_bridge(encoding, rng, count):
    kind, channels = ENCODINGS[encoding]
    pixels = rng.uniform(0, 250, (48, 64, channels)).astype(kind).squeeze()
    message = array_to_image(message_type, pixels, encoding, 1, 'camera')
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, encoding), pixels)
    try:
        back = CvBridge().cv2_to_imgmsg(pixels, encoding)
    except KeyError:  # OpenCV 5 numbers its types otherwise than the OpenCV it was built with
        count('cv_bridge', 'arrays that it refuses')
        return
    assert (back.step, back.height, back.width) == (message.step, message.height, message.width)
    assert back.data == message.data
    count('cv_bridge', 'images of ours')
