"""The one-pass projection of sweeps against its parts, and the parts against OpenCV elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.lidar.deskew import deskew_points, exp_twist
from sam_ad_perception.core.lidar.ego_motion import sample_motion
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud, SensorFrame

K = np.array([[300.0, 0, 150], [0, 310, 125], [0, 0, 1]])
CAMERAS = [
    CameraModel(320, 240, K),
    CameraModel(320, 240, K, np.array([-0.3, 0.1, 0.002, -0.003, -0.02])),
    CameraModel(320, 240, K, np.array([0.1, 0.01, 0, 0, 0, 0.2, 0.01, 0]), 'rational_polynomial'),
    CameraModel(320, 240, K, np.array([0.05, -0.01, 0.002, 0]), 'equidistant'),
    CameraModel(320, 240, K, np.array([-0.8, 0, 0, 0])),  # folds back within the image
]
T = np.eye(4)
T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
T[:3, 3] = 0.1, -0.3, -0.4
MS = 1_000_000


def sweep(rng, dtype, moving, timed):
    points = (rng.normal(size=(20_000, 3)) * [20, 12, 6]).astype(dtype)
    points[::97] = np.nan
    points[::101, 0] = np.inf
    times = rng.integers(-100 * MS, 0, len(points)) if timed else None
    twist = np.array([20.0, 1, 0, 0.1, 0, 0.5]) * 1e-9
    motion = sample_motion(lambda t: exp_twist(twist * t), -100 * MS, 0, 20 * MS)
    cloud = PointCloud(points, None, times)
    return SensorFrame(Modality.LIDAR, 0, 'lidar', cloud, motion=motion if moving else None)


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda c: f'{c.distortion_model}{c.D.size}')
@pytest.mark.parametrize(
    ('moving', 'timed'), [(False, False), (False, True), (True, False), (True, True)]
)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_no_point_of_the_view_is_missing_or_elsewhere(rng, camera, moving, timed, dtype):
    frame = sweep(rng, dtype, moving, timed)
    uv, z = project_points(camera, deskew_points(frame, T).astype(np.float64))
    inside = np.all((uv >= -0.5) & (uv < np.array(camera.size[::-1]) - 0.5), axis=1)
    assert inside.sum() > 300
    found = project_sweep(frame, T, camera)
    assert np.all(np.diff(found.index) > 0)
    assert set(np.flatnonzero(inside)) <= set(found.index)
    assert len(found.index) < 0.6 * len(uv)
    kept = np.isin(found.index, np.flatnonzero(inside))
    tolerance = 1e-6 if dtype == np.float64 else 2e-2  # placed points are rounded to float32
    np.testing.assert_allclose(found.uv[kept], uv[found.index[kept]], atol=tolerance, rtol=1e-5)
    np.testing.assert_allclose(found.z[kept], z[found.index[kept]], rtol=1e-5)


def test_plumb_bob_is_that_of_opencv(rng):
    camera = CAMERAS[1]
    frame = sweep(rng, np.float64, False, False)
    found = project_sweep(frame, T, camera)
    points = frame.data.points[found.index]
    rotation = cv2.Rodrigues(T[:3, :3])[0]
    uv = cv2.projectPoints(points, rotation, T[:3, 3], camera.K, camera.D)[0][:, 0]
    seen = np.isfinite(found.uv[:, 0])
    assert seen.sum() > 300
    np.testing.assert_allclose(found.uv[seen], uv[seen], atol=1e-6)


def test_wrong_shapes_are_refused():
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(np.zeros((4, 4))))
    with pytest.raises(ValueError, match=r'points must be \(N, 3\)'):
        project_sweep(frame, T, CAMERAS[0])
    with pytest.raises(ValueError, match='rigid'):
        project_sweep(frame, 2 * T, CAMERAS[0])
    empty = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(np.zeros((0, 3), np.float32)))
    assert project_sweep(empty, T, CAMERAS[0]).uv.shape == (0, 2)
