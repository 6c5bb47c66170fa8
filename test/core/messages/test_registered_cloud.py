"""A depth image as an organised cloud: OpenCV projects each point back to its own pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.messages.registered_cloud import registered_cloud
from sam_ad_perception.core.sensors import CameraModel

STAMP = 1_700_000_000_000_000_000


@pytest.mark.parametrize('distortion', [(), (0.1, -0.05, 0.002, 0.001, 0.01)])
def test_every_point_falls_on_its_own_pixel_with_its_depth(ros, distortion) -> None:
    K = np.array([[300.0, 0, 160], [0, 290, 120], [0, 0, 1]])
    camera = CameraModel(320, 240, K, np.array(distortion), frame_id='camera_optical')
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 60, camera.size).astype(np.float32)
    depth[rng.random(camera.size) < 0.7] = np.nan
    cloud = ros.round_trip(registered_cloud(ros.types, depth, camera, STAMP))
    assert (cloud.height, cloud.width, cloud.is_dense) == (240, 320, False)
    assert (cv.stamp_of(cloud), cv.frame_of(cloud)) == (STAMP, 'camera_optical')
    data = np.frombuffer(bytes(cloud.data), '<f4').reshape(240, 320, cloud.point_step // 4)
    assert [(f.name, f.offset) for f in cloud.fields] == [('x', 0), ('y', 4), ('z', 8)]
    xyz = data[..., :3].astype(np.float64)
    known = np.isfinite(depth)
    np.testing.assert_array_equal(np.isfinite(xyz).all(-1), known)
    np.testing.assert_array_equal(np.isnan(xyz).all(-1), ~known)
    uv = cv2.projectPoints(xyz[known], np.zeros(3), np.zeros(3), K, camera.D)[0][:, 0]
    v, u = np.nonzero(known)
    assert np.abs(uv - np.column_stack([u, v])).max() < 1e-3
    np.testing.assert_allclose(xyz[known][:, 2], depth[known], rtol=1e-6)


def test_another_size_is_refused(bags) -> None:
    camera = CameraModel(4, 3, np.eye(3))
    with pytest.raises(ValueError, match=r'depth must be \(3, 4\)'):
        registered_cloud(bags.types, np.ones((4, 3), np.float32), camera, STAMP)
