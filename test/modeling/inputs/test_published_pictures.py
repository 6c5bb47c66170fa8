from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import BadFrameError
from sam_ad_perception.modeling.inputs.published_pictures import PrerenderedImage

SIZE = (24, 32)
K = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
VIEW = CameraModel(SIZE[1], SIZE[0], K)


def render(form: PrerenderedImage, image: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    frame = SensorFrame(Modality.LIDAR, 0, 'camera', image, VIEW)
    return form.render(frame, scale_camera(VIEW, size), np.eye(4))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_whole_numbers_become_shares_of_their_range(dtype, rng):
    top = np.iinfo(dtype).max
    image = rng.integers(0, top + 1, (*SIZE, 3)).astype(dtype)
    image[0, 0] = (0, top, top // 2)
    got = render(PrerenderedImage(), image)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, image.transpose(2, 0, 1) / top, atol=1e-6)


def test_floats_stay_and_are_normalised_per_channel(rng):
    image = rng.normal(10, 5, (*SIZE, 3)).astype(np.float32)
    mean, std = (4.917, 6.149, 0.27), (13.347, 17.638, 1.232)
    got = render(PrerenderedImage(mean, std), image)
    np.testing.assert_allclose(got, ((image - mean) / std).transpose(2, 0, 1), rtol=1e-4)


def test_sparse_pictures_are_picked_and_others_averaged(rng):
    image = np.zeros((*SIZE, 3), np.float32)
    image[::2, ::2] = 8.0
    half = (SIZE[0] // 2, SIZE[1] // 2)
    assert set(np.unique(render(PrerenderedImage(nearest=True), image, half))) <= {0.0, 8.0}
    np.testing.assert_allclose(render(PrerenderedImage(), image, half), 2.0)
    smooth = rng.random((*SIZE, 3), dtype=np.float32)
    larger = render(PrerenderedImage(), smooth, (48, 64))
    expected = cv2.resize(smooth, (64, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(larger, expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros(SIZE, np.uint8), r'lidar image has shape \(24, 32\), expected \(H, W, 3\)'),
        (np.zeros((*SIZE, 3), np.float64), 'lidar image is float64'),
        (np.zeros((0, 32, 3), np.uint8), 'zero size'),
    ],
)
def test_what_is_no_picture_makes_the_sensor_missing(image, message):
    with pytest.raises(BadFrameError, match=message):
        render(PrerenderedImage(), image)


def test_deviations_must_be_positive():
    with pytest.raises(ValueError, match='std must be positive'):
        PrerenderedImage(std=(1.0, 0.0, 1.0))
