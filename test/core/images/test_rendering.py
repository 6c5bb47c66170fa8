import cv2
import numpy as np
import pytest

from sam_ad_perception.core.images.rendering import (
    EVENT_OFF,
    EVENT_ON,
    colorize,
    label_sweep,
    overlay,
    paint_points,
    picture_depth,
    picture_events,
    picture_thermal,
)
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
    SensorFrame,
)

SPACE = LABEL_SPACES['cityscapes']
ROAD, PERSON = SPACE.id_of('road'), SPACE.id_of('person')


@pytest.fixture
def camera():
    return CameraModel(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))


def test_labels_get_the_published_colours():
    # Colours of road and person as the Cityscapes authors print them.
    picture = colorize(np.array([[ROAD, PERSON, 255]], np.uint8), SPACE)
    assert picture.tolist() == [[[128, 64, 128], [220, 20, 60], [0, 0, 0]]]


def test_overlay_blends_and_leaves_unlabeled_pixels_alone(rng):
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    mask = np.full((6, 8), ROAD, np.uint8)
    mask[:, 4:] = 255
    result = overlay(image, mask, SPACE, 0.5)
    exact = 0.5 * image[:, :4].astype(float) + 0.5 * np.array([128, 64, 128])
    assert np.abs(result[:, :4] - exact).max() <= 1
    np.testing.assert_array_equal(result[:, 4:], image[:, 4:])
    assert overlay(image, mask, SPACE, 0.0).tolist() == image.tolist()


@pytest.mark.parametrize('alpha', [-0.1, 1.1, float('nan')])
def test_overlay_refuses_a_weight_outside_its_range(alpha):
    with pytest.raises(ValueError, match='alpha'):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), SPACE, alpha)


def test_overlay_refuses_another_size():
    with pytest.raises(ValueError, match='like its mask'):
        overlay(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 2), np.uint8), SPACE, 0.5)


def test_points_take_the_label_of_the_pixel_that_opencv_projects_them_to(camera, rng):
    points = rng.uniform([-8, -6, -2], [8, 6, 20], (500, 3)).astype(np.float32)
    mask = rng.integers(0, 19, camera.size, dtype=np.uint8)
    labels = paint_points(points, camera, mask)
    uv = cv2.projectPoints(points.astype(float), np.zeros(3), np.zeros(3), camera.K, None)[0]
    u, v = np.rint(uv.reshape(-1, 2)).astype(int).T
    expected = [
        mask[y, x] if z > 0 and 0 <= x < 64 and 0 <= y < 48 else 255
        for x, y, z in zip(u, v, points[:, 2], strict=True)
    ]
    assert labels.tolist() == expected
    assert 50 < np.count_nonzero(labels != 255) < 450


def test_a_point_behind_something_nearer_stays_unlabeled(camera):
    points = np.array([[0, 0, 5], [0, 0, 20], [0, 0, 5.2]], np.float32)
    depth = np.full(camera.size, 5.0, np.float32)
    labels = paint_points(points, camera, np.full(camera.size, PERSON, np.uint8), depth)
    assert labels.tolist() == [PERSON, 255, PERSON]
    no_return = np.full(camera.size, np.nan, np.float32)
    labels = paint_points(points, camera, np.full(camera.size, PERSON, np.uint8), no_return)
    assert labels.tolist() == [PERSON] * 3


def test_painting_refuses_a_mask_of_another_size(camera):
    with pytest.raises(ValueError, match=r'mask must be \(48, 64\)'):
        paint_points(np.zeros((1, 3), np.float32), camera, np.zeros((4, 4), np.uint8))


def test_depth_picture_is_black_without_return_and_shows_the_nearer_of_neighbours():
    depth = np.full((20, 20), np.nan, np.float32)
    assert not picture_depth(depth).any()
    depth[10, 10], depth[10, 11] = 2.0, 50.0
    picture = picture_depth(depth)
    near, far = picture[10, 10].astype(int), picture[10, 12].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert picture[10, 11].tolist() == picture[10, 10].tolist()


def test_thermal_picture_brightens_with_heat_and_survives_a_flat_image():
    ramp = np.tile(np.arange(28000, 28000 + 640, 10, dtype=np.uint16), (8, 1))
    brightness = picture_thermal(ramp).astype(int).sum(2)[0]
    assert np.all(np.diff(brightness) >= 0)
    assert picture_thermal(np.full((4, 4), 300, np.uint16)).shape == (4, 4, 3)


def test_event_picture_colours_by_the_last_polarity():
    events = Events(
        x=np.array([1, 1, 2], np.uint16),
        y=np.array([0, 0, 1], np.uint16),
        polarity=np.array([True, False, True]),
        t_ns=np.array([1, 2, 3], np.int64),
        size=(3, 4),
    )
    picture = picture_events(events)
    assert tuple(picture[0, 1]) == EVENT_OFF
    assert tuple(picture[1, 2]) == EVENT_ON
    assert np.count_nonzero(np.any(picture != 255, axis=2)) == 2


def test_a_sweep_gets_its_labels_through_its_own_extrinsics(camera, rng):
    """Turned by 90 degrees, as a lidar stands to a camera: x forward becomes z forward."""
    T = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, 0.3], [0, 0, 0, 1]])
    points = rng.uniform([2, -5, -3], [30, 5, 3], (300, 3)).astype(np.float32)
    seen = (points @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    mask = rng.integers(0, 19, camera.size, dtype=np.uint8)
    depth = project_depth(seen, camera)
    frames = {Modality.LIDAR: SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points))}
    bundle = SensorBundle(0, Modality.LIDAR, camera, frames, T_camera={Modality.LIDAR: T})
    result = Segmentation(
        0, camera, mask, np.zeros_like(mask), 'x', (Modality.LIDAR,), depth=depth
    )
    labels = label_sweep(bundle, result)
    expected = paint_points(seen, camera, mask, depth, occlusion=OcclusionConfig())
    np.testing.assert_array_equal(labels, expected)
    everything = paint_points(seen, camera, mask, depth, occlusion=OcclusionConfig(enabled=False))
    np.testing.assert_array_equal(everything, paint_points(seen, camera, mask, depth))
    hidden = labels != everything
    assert hidden.any()
    assert np.all(labels[hidden] == 255)
    assert 0 < np.count_nonzero(labels == 255) < 300
    assert label_sweep(SensorBundle(0, Modality.CAMERA, camera, {}), result) is None
