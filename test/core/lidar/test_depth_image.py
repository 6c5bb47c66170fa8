from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from sam_ad_perception.core.geometry.cameras import (
    camera_model_from_info,
    project_points,
    scale_camera,
)
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    make_transform,
    quaternion_to_matrix,
    transform_points,
)
from sam_ad_perception.core.lidar.depth_image import project_depth, rasterize
from sam_ad_perception.core.messages.point_cloud import PointField, decode_point_cloud
from sam_ad_perception.core.sensors import CameraModel

K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
CAMERAS = [
    CameraModel(64, 48, K),
    CameraModel(64, 48, K, np.array([-0.2, 0.05, 0.001, 0.001, 0])),
    CameraModel(64, 48, K, np.array([0.1, 0.01, 0, 0, 0, 0.2, 0.01, 0]), 'rational_polynomial'),
    CameraModel(64, 48, K, np.array([0.05, -0.01, 0, 0]), 'equidistant'),
]


def brute_force(points, camera):
    """Nearest point of each pixel, in plain Python; -1 where there is none."""
    nearest = np.full(camera.size, -1)
    uv, _ = project_points(camera, points)
    for i, ((u, v), z) in enumerate(zip(uv, points[:, 2], strict=True)):
        if not (np.isfinite(u) and np.isfinite(v)):
            continue
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        if 0 <= column < camera.width and 0 <= row < camera.height:
            holder = nearest[row, column]
            if holder < 0 or z < points[holder, 2]:
                nearest[row, column] = i
    return nearest


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda c: f'{c.distortion_model}{c.D.size}')
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_depth_and_raster_agree_with_a_plain_loop(rng, camera, dtype):
    points = rng.normal(size=(5000, 3)) * [1, 1, 3] + [0, 0, 2]
    points = points.astype(dtype)
    points[::97] = np.nan
    points[::101, 2] = np.inf
    points[::103, 0] = -np.inf
    nearest = brute_force(points, camera)
    assert (nearest >= 0).mean() > 0.3
    expected = np.where(nearest >= 0, points[nearest, 2], np.nan).astype(np.float32)
    depth = project_depth(points, camera)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, expected)

    size = (21, 40)
    values = rng.normal(size=(5000, 3))
    nearest = brute_force(points, scale_camera(camera, size))
    raster, valid = rasterize(points, values, camera, size)
    assert raster.shape == (3, *size)
    assert raster.dtype == np.float32
    np.testing.assert_array_equal(valid, nearest >= 0)
    expected = np.where(valid[..., None], values[nearest], 0).astype(np.float32)
    np.testing.assert_array_equal(raster, expected.transpose(2, 0, 1))


@given(st.permutations([2.0, 3.0, 3.0, 9.0]))
def test_nearest_of_several_points_wins_in_any_order(depths):
    points = np.array([[0, 0, z] for z in depths])
    camera = CameraModel(3, 3, np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]))
    depth = project_depth(points, camera)
    assert depth[1, 1] == 2
    assert np.isnan(depth).sum() == 8
    raster, _ = rasterize(points, np.arange(4)[:, None], camera, (3, 3))
    assert raster[0, 1, 1] == depths.index(2.0)


def test_of_equally_near_points_the_first_wins():
    points = np.array([[0, 0, 2.0], [0.1, 0, 2.0]])
    camera = CameraModel(3, 3, np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]))
    assert rasterize(points, np.array([[5.0], [6.0]]), camera, (3, 3))[0][0, 1, 1] == 5


def test_pixels_reach_half_a_pixel_around_their_integer_centre():
    camera = CameraModel(4, 1, np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    for u, column in [(-0.5, 0), (0.49, 0), (0.5, 1), (3.49, 3), (-0.51, None), (3.5, None)]:
        depth = project_depth(np.array([[u, 0.0, 1.0]]), camera)
        columns = np.flatnonzero(np.isfinite(depth[0]))
        assert columns.tolist() == ([] if column is None else [column])


def test_nothing_in_view_gives_no_return():
    camera = CAMERAS[0]
    behind = np.array([[0, 0, -1.0], [0, 0, 0], [0.1, 0.1, -20]])
    for points in (np.zeros((0, 3)), np.zeros((0, 3), np.float32), behind):
        assert np.all(np.isnan(project_depth(points, camera)))
        raster, valid = rasterize(points, np.ones((len(points), 2)), camera, (5, 6))
        assert not raster.any()
        assert not valid.any()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r'points must be \(N, 3\), got \(4, 4\)'):
        project_depth(np.zeros((4, 4)), CAMERAS[0])
    for values in (np.zeros(4), np.zeros((3, 1))):
        with pytest.raises(ValueError, match=r'values must be \(4, C\), got'):
            rasterize(np.zeros((4, 3)), values, CAMERAS[0], (5, 6))


def opencv_depth(points, K, D, size):
    """Rows and pixels of the visible points by cv2.projectPoints, and the nearest ones' image."""
    rows = np.flatnonzero(points[:, 2] > 0)
    zero = np.zeros(3)
    uv = cv2.projectPoints(points[rows, None], zero, zero, K, D)[0][:, 0]
    pixels = np.floor(uv + 0.5).astype(int)
    inside = np.all((pixels >= 0) & (pixels < [size[1], size[0]]), axis=1)
    rows, pixels = rows[inside], pixels[inside]
    image = np.full(size, np.inf)
    np.minimum.at(image, (pixels[:, 1], pixels[:, 0]), points[rows, 2])
    return rows, pixels, np.where(np.isinf(image), np.nan, image)


@pytest.mark.data
def test_kitti_recording_agrees_with_opencv(sample_data):
    tree, info, clouds = TransformTree(), None, []
    with AnyReader([sample_data / 'kitti' / 'bag']) as reader:
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            if connection.msgtype.endswith('TFMessage'):
                for t in message.transforms:
                    q, p = t.transform.rotation, t.transform.translation
                    R = quaternion_to_matrix(q.x, q.y, q.z, q.w)
                    T = make_transform(R, [p.x, p.y, p.z])
                    tree.set_static(t.header.frame_id, t.child_frame_id, T)
            elif connection.msgtype.endswith('CameraInfo'):
                info = message
            elif connection.msgtype.endswith('PointCloud2'):
                clouds.append(message)
    assert len(clouds) == 8
    camera = camera_model_from_info(
        info.width,
        info.height,
        info.k,
        info.d,
        info.r,
        info.p,
        info.distortion_model,
        info.header.frame_id,
        rectified=True,
    )
    for message in clouds:
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        fields = [PointField(f.name, f.offset, f.datatype, f.count) for f in message.fields]
        cloud, dropped = decode_point_cloud(
            message.data,
            fields,
            message.point_step,
            message.row_step,
            message.height,
            message.width,
            message.is_bigendian,
            stamp_ns,
        )
        values = np.frombuffer(message.data, np.float32).reshape(-1, 4)
        np.testing.assert_array_equal(cloud.points, values[:, :3])
        np.testing.assert_array_equal(cloud.intensity, values[:, 3])
        assert dropped == 0
        road = cloud.points[
            (np.hypot(cloud.points[:, 0], cloud.points[:, 1]) < 25)
            & (np.abs(cloud.points[:, 1]) < 2)
            & (cloud.points[:, 0] > 5)
            & (np.abs(cloud.points[:, 2] + 1.64) < 0.4)
        ]
        assert len(road) > 1000
        assert abs(np.median(road[:, 2]) + 1.64) < 0.07

        T = tree.lookup(info.header.frame_id, message.header.frame_id, stamp_ns)
        ours = transform_points(T, cloud.points)
        exact = cloud.points.astype(np.float64) @ T[:3, :3].T + T[:3, 3]
        rows, pixels, expected = opencv_depth(
            exact, info.p.reshape(3, 4)[:, :3], None, camera.size
        )
        assert len(rows) > 10_000
        uv, _ = project_points(camera, ours[rows])
        off = np.abs(np.floor(uv + 0.5) - pixels).max(axis=1)
        assert np.mean(off == 0) >= 0.999
        assert off.max() <= 1
        depth = project_depth(ours, camera)
        either = np.isfinite(depth) | np.isfinite(expected)
        assert np.mean(np.abs(depth - expected)[either] < 1e-3) >= 0.999


def opencalib_values(folder):
    lines = (folder / 'calib.txt').read_text().splitlines()
    return {
        name: np.array(text.split(), float)
        for name, text in (line.split(':') for line in lines if ':' in line)
    }


def edge_points(points, ring):
    """The nearer of two neighbours on a ring between which the range jumps by a fifth."""
    distance = np.linalg.norm(points, axis=1)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    chosen = []
    for number in np.unique(ring):
        row = np.flatnonzero(ring == number)
        row = row[np.argsort(azimuth[row])]
        near = np.minimum(distance[row[:-1]], distance[row[1:]])
        jump = np.diff(distance[row])
        edge = (np.abs(jump) > np.maximum(2.0, 0.2 * near)) & (np.diff(azimuth[row]) < 0.02)
        chosen += [*row[:-1][edge & (jump > 0)], *row[1:][edge & (jump < 0)]]
    return points[chosen]


@pytest.mark.data
def test_lidar_edges_fall_on_image_edges_and_less_so_one_degree_aside(sample_data):
    """The given calibration of the OpenCalib sample; a degree is 38 pixels there."""
    folder = sample_data / 'opencalib'
    values = opencalib_values(folder)
    cloud = np.load(folder / 'points.npz')
    edges = edge_points(cloud['xyz'].astype(np.float64), cloud['ring'])
    camera = CameraModel(1920, 1200, values['K'].reshape(3, 3), values['D'])
    image = cv2.imread(str(folder / 'calib.jpg'), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    across = np.abs(cv2.Sobel(cv2.GaussianBlur(image, (0, 0), 2.0), cv2.CV_32F, 1, 0))
    strength = cv2.GaussianBlur(across, (0, 0), 3)
    T = np.vstack([values['T'].reshape(3, 4), [0, 0, 0, 1]])

    def score(T_camera_lidar):
        points = transform_points(T_camera_lidar, edges)
        hit = np.isfinite(project_depth(points, camera))
        assert hit.sum() > 400
        return strength[hit].mean()

    given = score(T)
    for axis in ((1, 0, 0), (0, 1, 0)):  # a roll moves the middle of the image too little
        for degrees in (-1, 1):
            turned = np.eye(4)
            turned[:3, :3] = cv2.Rodrigues(np.deg2rad(degrees) * np.array(axis, float))[0]
            assert score(turned @ T) < 0.96 * given


@pytest.mark.data
def test_distorted_recording_agrees_with_opencv(sample_data):
    folder = sample_data / 'opencalib'
    values = opencalib_values(folder)
    points = np.load(folder / 'points.npz')['xyz'].astype(np.float64)
    T = np.vstack([values['T'].reshape(3, 4), [0, 0, 0, 1]])
    camera = CameraModel(1920, 1200, values['K'].reshape(3, 3), values['D'])
    ours = transform_points(T, points)
    # OpenCV alone would fold rays from far outside into the view: compare within 45 degrees
    ours = ours[np.hypot(ours[:, 0], ours[:, 1]) < ours[:, 2]]
    _, pixels, expected = opencv_depth(ours, camera.K, camera.D, camera.size)
    assert len(pixels) > 10_000
    np.testing.assert_allclose(project_depth(ours, camera), expected, rtol=1e-6)


def test_after_warming_up_no_sweep_compiles_anything():
    """In a fresh process, as a node is: a kernel that compiles takes half a second or more."""
    script = """
import numpy as np
from sam_ad_perception.core import sensors
from sam_ad_perception.core.lidar import depth_image as depth, deskew, projection
depth.warm_up()
kernels = [deskew._place, projection._cull_still, projection._cull_moving]
kernels += [projection.project_kernel, depth._fill_depth, depth._fill_nearest]
before = [len(kernel.signatures) for kernel in kernels]
assert min(before) > 0, before
camera = sensors.CameraModel(64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]))
points = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
times = np.linspace(-1e8, 0, 500).astype(np.int64)
cloud = sensors.PointCloud(points, None, times)
motion = sensors.PointMotion(-100_000_000, 25_000_000, np.stack([np.eye(4)] * 5))
for each in (None, motion):
    frame = sensors.SensorFrame(sensors.Modality.LIDAR, 5, 'lidar', cloud, motion=each)
    depth.render_depth(frame, np.eye(4), camera, depth.DepthConfig())
    depth.rasterize(deskew.deskew_points(frame, np.eye(4)), points, camera, (20, 30))
assert before == [len(kernel.signatures) for kernel in kernels]
"""
    subprocess.run([sys.executable, '-c', script], check=True)
