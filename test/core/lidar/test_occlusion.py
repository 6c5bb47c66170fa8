"""Points hidden from the camera, against the simulator's exact depth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.lidar.depth_image import DepthConfig, project_depth, render_depth
from sam_ad_perception.core.lidar.deskew import deskew_points, point_times
from sam_ad_perception.core.lidar.ego_motion import sample_motion
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig, cull_occluded
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud, SensorFrame
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

K = np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]])
CAMERA = CameraModel(320, 240, K)
LIDAR_UP = 0.4
"""Metres from the camera up to the lidar."""


def spin(surfaces):
    """What a lidar above the camera measures of planes `z = depth` with given extents (camera).

    Each ray takes the nearest plane that it hits: plain geometry, no code of the package.
    """
    azimuth, elevation = np.meshgrid(
        np.deg2rad(np.arange(-30, 30, 0.4)), np.deg2rad(np.arange(-25, 25, 0.6)), indexing='ij'
    )
    x, y = np.tan(azimuth).ravel(), -(np.tan(elevation) / np.cos(azimuth)).ravel()
    depth, which = np.full(x.size, np.inf), np.full(x.size, -1)
    for i, (z, (left, right), (top, bottom)) in enumerate(surfaces):
        px, py = x * z, y * z - LIDAR_UP
        hit = (px > left) & (px < right) & (py > top) & (py < bottom) & (z < depth)
        depth[hit], which[hit] = z, i
    keep = which >= 0
    x, y, depth = x[keep], y[keep], depth[keep]
    return np.stack([x * depth, y * depth - LIDAR_UP, depth], axis=1), which[keep]


def seen_from_camera(points):
    return SensorFrame(Modality.LIDAR, 0, 'camera', PointCloud(points))


def hidden(points, config=OcclusionConfig(), camera=CAMERA):  # noqa: B008
    uv, z = project_points(camera, points)
    return cull_occluded(uv, z, camera, config)


def test_a_wall_does_not_shine_through_a_box():
    box, wall = (5.0, (-1.5, 1.5), (-0.6, 1.4)), (30.0, (-99, 99), (-99, 99))
    points, which = spin([box, wall])
    x, y = 5 * points[:, 0] / points[:, 2], 5 * points[:, 1] / points[:, 2]
    behind = (which == 1) & (np.abs(x) < 1.5) & (y > -0.6) & (y < 1.4)
    # a point over the upper edge has the sky's side open: only what lies a row deeper is certain
    inner = behind & (y > -0.55)
    gone = hidden(points)
    assert behind.sum() > 100
    assert gone[inner].mean() > 0.95
    assert gone[which == 0].sum() == 0
    # beside the box only a seam goes, as wide as the reach: some 6 pixels, 0.1 m at the box
    assert gone[(which == 1) & ~behind].mean() < 0.02
    assert not gone[(np.abs(x) > 1.65) | (y < -0.75) | (y > 1.55)].any()
    everything = DepthConfig(OcclusionConfig(enabled=False))
    depth = render_depth(seen_from_camera(points), np.eye(4), CAMERA, DepthConfig()).depth
    sieve = render_depth(seen_from_camera(points), np.eye(4), CAMERA, everything).depth
    window = np.s_[90:190, 80:240]  # well within the box
    assert np.nanmax(depth[window]) < 6
    assert np.nanmax(sieve[window]) > 25


def test_a_hidden_point_leaves_its_pixel_to_a_seen_one():
    points, _ = spin([(5.0, (-1.5, 1.5), (-0.6, 1.4)), (30.0, (-99, 99), (-99, 99))])
    for ordered in (points, points[::-1]):
        seen = ordered[~hidden(ordered)]
        depth = render_depth(seen_from_camera(ordered), np.eye(4), CAMERA, DepthConfig()).depth
        np.testing.assert_array_equal(depth, project_depth(seen, CAMERA))


@pytest.mark.parametrize('height', [1.2, 1.7, 3.0])
def test_the_road_hides_nothing_of_itself(height):
    u, v = np.meshgrid(np.arange(0, 320, 3.0), np.arange(121, 240, 3.0))
    z = height * 300 / (v - 119.5)
    points = np.stack([(u - 159.5) / 300 * z, np.full_like(z, height), z], -1).reshape(-1, 3)
    assert not hidden(points[points[:, 2] < 120]).any()


def test_a_wall_beside_the_road_hides_nothing_of_itself():
    v, u = np.meshgrid(np.arange(0, 240, 3.0), np.arange(0, 150, 3.0))
    z = 1.5 * 300 / (159.5 - u)
    points = np.stack([np.full_like(z, -1.5), (v - 119.5) / 300 * z, z], -1).reshape(-1, 3)
    assert not hidden(points).any()


def test_nothing_and_what_is_out_of_view_is_not_hidden():
    assert hidden(np.zeros((0, 3))).shape == (0,)
    points = np.array([[0, 0, -5.0], [np.nan, 0, 5], [100, 0, 5], [0, 0, 5]])
    assert not hidden(points).any()


def test_more_free_sectors_remove_more_and_a_longer_reach_more():
    points, _ = spin([(5.0, (-1.5, 1.5), (-0.6, 1.4)), (30.0, (-99, 99), (-99, 99))])
    counts = [hidden(points, OcclusionConfig(free_sectors=n)).sum() for n in (3, 5, 7, 8)]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[3]
    counts = [hidden(points, OcclusionConfig(reach=r)).sum() for r in (1.0, 2.0, 3.0)]
    assert counts == sorted(counts)


def test_on_the_street_nine_of_ten_wrong_points_go_and_one_of_a_hundred_right_ones():
    """Wrong: behind all that is exact in the 3 x 3 pixels around; right: before all of it."""
    counts = np.zeros(4)
    for seed in (0, 3, 5):
        drive = Drive(DriveConfig(seed=seed, duration_s=2.0))
        camera = drive.cameras[Modality.CAMERA]
        T = np.linalg.inv(drive.T_base[Modality.CAMERA]) @ drive.T_base[Modality.LIDAR]
        stamp = drive.config.start_ns + 1_200_000_000
        frame = drive.measure(Modality.LIDAR, stamp)
        motion = sample_motion(
            lambda t, d=drive: d.pose(t) @ d.T_base[Modality.LIDAR], *point_times(frame), stamp
        )
        points = deskew_points(replace(frame, motion=motion), T)
        uv, z = project_points(camera, points)
        gone = cull_occluded(uv, z, camera, OcclusionConfig())
        seen = (z > 0) & np.all((uv >= -0.5) & (uv < np.array(camera.size[::-1]) - 0.5), axis=1)
        assert not gone[~seen].any()
        u, v = np.floor(uv[seen] + 0.5).astype(int).T
        truth = np.nan_to_num(drive.truth(stamp).depth, nan=1e4)
        farthest, nearest = (f(truth, np.ones((3, 3))) for f in (cv2.dilate, cv2.erode))
        wrong = z[seen] > 1.05 * farthest[v, u] + 0.3
        right = z[seen] < 1.02 * nearest[v, u] + 0.15
        counts += [
            wrong.sum(),
            (wrong & gone[seen]).sum(),
            right.sum(),
            (right & gone[seen]).sum(),
        ]
    assert counts[0] > 300
    assert counts[1] / counts[0] > 0.9
    assert counts[3] / counts[2] < 0.01
