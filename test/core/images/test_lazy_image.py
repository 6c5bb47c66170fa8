"""Images that are read late: once, by whoever uses them, with the reason where that fails."""

import re

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.images.lazy_image import check_image_size, decode_lazy
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel, LazyImage, Modality, SensorFrame
from sam_ad_perception.core.synchronization.bundler import Bundler, DroppedFrame

CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), frame_id='view')
PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
STAMP = 1_700_000_000_000_000_000


class Message:
    """A compressed or a raw image."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def png(pixels):
    data = cv2.imencode('.png', pixels[..., ::-1])[1].tobytes()
    return Message(format='png', data=data)


def bmp(pixels):
    """A file whose size is known only when it is decoded."""
    data = cv2.imencode('.bmp', pixels[..., ::-1])[1].tobytes()
    return Message(format='bmp', data=data)


def raw(pixels, encoding='rgb8'):
    height, width = pixels.shape[:2]
    return Message(
        height=height,
        width=width,
        encoding=encoding,
        step=pixels.strides[0],
        is_bigendian=0,
        data=pixels.tobytes(),
    )


def bundle_of(image):
    bundler = Bundler()
    bundler.set_camera(Modality.CAMERA, CAMERA)
    frame = SensorFrame(Modality.CAMERA, STAMP, 'view', image)
    (result,) = bundler.add_frame(frame, STAMP) or bundler.flush()
    return result


def test_it_is_read_once_and_not_before_it_is_used():
    calls = []
    image = LazyImage(lambda: calls.append(1) or PIXELS)
    result = bundle_of(image)
    assert calls == []
    for _ in range(2):
        assert decode_lazy(result).frames[Modality.CAMERA].data is PIXELS
    assert calls == [1]
    assert image.size == (48, 64)


def test_a_compressed_image_waits_and_gives_what_decoding_at_once_gives():
    result = decode_lazy(bundle_of(from_ros.defer_image(png(PIXELS), Modality.CAMERA)))
    np.testing.assert_array_equal(result.frames[Modality.CAMERA].data, PIXELS)
    assert Modality.CAMERA not in result.missing


def test_a_raw_image_is_a_view_of_its_message():
    message = raw(PIXELS)
    image = from_ros.defer_image(message, Modality.CAMERA)
    assert image.size == (48, 64)
    assert np.shares_memory(image.get(), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        (Message(format='jpeg', data=b'no picture'), 'unreadable: .*does not decode'),
        (bmp(PIXELS[:20]), 'unreadable: the camera image is 64x20 pixels'),
        (raw(np.zeros((48, 64), np.float32), '32FC1'), 'unreadable: .*not a colour'),
    ],
)
def test_what_cannot_be_read_is_missing_with_the_reason(message, reason):
    result = decode_lazy(bundle_of(from_ros.defer_image(message, Modality.CAMERA)))
    assert Modality.CAMERA not in result.frames
    assert re.match(reason, result.missing[Modality.CAMERA])


@pytest.mark.parametrize(
    'message',
    [raw(PIXELS, 'rgb48x'), Message(format='jpeg', data=b''), raw(PIXELS[:, :0])],
)
def test_what_contradicts_itself_is_refused_on_arrival(message):
    with pytest.raises(from_ros.ConversionError):
        from_ros.defer_image(message, Modality.CAMERA)


def test_a_failure_is_the_same_on_every_call():
    calls = []

    def read():
        calls.append(1)
        raise ValueError('spoilt')

    image = LazyImage(read)
    for _ in range(2):
        with pytest.raises(ValueError, match='spoilt'):
            image.get()
    assert calls == [1]


def test_a_size_known_on_arrival_is_checked_by_the_bundler():
    result = bundle_of(from_ros.defer_image(raw(PIXELS[:20]), Modality.CAMERA))
    assert isinstance(result, DroppedFrame)
    assert 'the camera image is 64x20 pixels' in result.reason
    check_image_size(Modality.CAMERA, LazyImage(lambda: PIXELS), CAMERA)
