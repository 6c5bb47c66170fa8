"""Ground truth against measurements: flow warps pictures, events add up, points fall on labels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.sensors.events import CONTRAST
from sam_ad_perception.simulation.sensors.optics import blur_motion
from sam_ad_perception.simulation.sensors.rig import RigSensor

MOVING = (11, 12, 13, 14, 15, 16, 17, 18)


def seen_again(drive: Drive, stamp: int, later: int) -> tuple[NDArray, NDArray, NDArray]:
    """Where each pixel is seen later (u, v), and whether it is still seen there."""
    flow, truth = drive.flow(stamp, later), drive.truth(later)
    height, width = flow.shape[:2]
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = u + flow[..., 0], v + flow[..., 1]
    inside = (x >= 1) & (y >= 1) & (x <= width - 2) & (y <= height - 2)
    depth = drive.truth(stamp).depth
    # What hides it then is nearer than it was now, but for the way that the vehicle drove.
    there = cv2.remap(truth.depth, x, y, cv2.INTER_NEAREST)
    with np.errstate(invalid='ignore'):
        near = abs(there - depth) < 0.8 + 0.05 * depth
    return x, y, inside & near


def test_flow_carries_labels_and_depths_from_frame_to_frame(drive: Drive, stamp: int) -> None:
    later = stamp + 50_000_000
    now, then = drive.truth(stamp), drive.truth(later)
    x, y, seen = seen_again(drive, stamp, later)
    kernel = np.ones((5, 5), np.uint8)
    inner = cv2.erode(now.labels, kernel) == cv2.dilate(now.labels, kernel)
    good = seen & inner
    assert good.mean() > 0.3
    labels = cv2.remap(then.labels, x, y, cv2.INTER_NEAREST)
    assert np.mean(labels[good] == now.labels[good]) > 0.99
    still = good & ~np.isin(now.labels, MOVING)
    # A still point: back-projected now, moved by the vehicle, projected then, by OpenCV.
    camera = drive.cameras['camera']
    v, u = np.nonzero(still)
    rays = np.stack([u, v, np.ones_like(u)], axis=1) @ np.linalg.inv(camera.K).T
    T = np.linalg.inv(drive.pose(later) @ drive.T_base['camera']) @ (
        drive.pose(stamp) @ drive.T_base['camera']
    )
    points = rays * now.depth[v, u][:, None].astype(np.float64)
    expected = cv2.projectPoints(points, cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], camera.K, None)[0]
    found = np.stack([x[still], y[still]], axis=1)
    assert np.abs(found - expected[:, 0]).max() < 0.02


def test_flow_warps_pictures_of_moving_things(drive: Drive, stamp: int) -> None:
    later = stamp + 50_000_000
    now, then = (drive.measure('camera', s).data.astype(np.float32) for s in (stamp, later))
    x, y, seen = seen_again(drive, stamp, later)
    labels = drive.truth(stamp).labels
    moving = seen & np.isin(labels, MOVING)
    assert moving.sum() > 300
    for which in (seen, moving):
        warped = np.abs(cv2.remap(then, x, y, cv2.INTER_LINEAR) - now).mean(axis=2)[which]
        unmoved = np.abs(then - now).mean(axis=2)[which]
        assert np.median(warped) < 4  # noise of two pictures, 2.5 grey levels each
        assert warped.mean() < 0.75 * unmoved.mean()


def test_flow_vanishes_between_equal_times_and_reverses(drive: Drive, stamp: int) -> None:
    assert np.nanmax(np.abs(drive.flow(stamp, stamp))) < 1e-3
    forth, back = (drive.flow(stamp, stamp + d) for d in (1_000_000, -1_000_000))
    assert np.nanpercentile(np.abs(forth + back), 99) < 0.02
    assert np.nanpercentile(np.abs(forth), 99) > 0.1


def test_motion_blur_averages_the_pictures_of_the_exposure() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.random((40, 60, 3), dtype=np.float32), (0, 0), 1)
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = 6.0
    blurred = blur_motion(picture, flow)
    expected = np.mean([np.roll(picture, s, axis=1) for s in range(-3, 4)], axis=0)
    assert np.allclose(blurred[:, 4:-4], expected[:, 4:-4], atol=1e-5)


def test_events_integrate_to_the_log_intensity_difference(drive: Drive, stamp: int) -> None:
    """Over 100 ms, each pixel's events add up to its change, to one threshold of rounding."""
    renderer, start = drive._renderer, drive.config.start_ns
    first = (stamp - start) // 10_000_000
    before, after = (renderer.log_intensity(Modality.EVENT, first + k) for k in (0, 10))
    events = drive.events_between(stamp, stamp + 100_000_000)
    total = np.zeros(events.size)
    np.add.at(total, (events.y, events.x), np.where(events.polarity, 1.0, -1.0))
    change = (after - before) / CONTRAST
    error = np.abs(total - change)
    assert np.mean(error < 1.0001) > 0.95  # the rest: spurious events, 0.02 per pixel
    assert np.corrcoef(total.ravel(), change.ravel())[0, 1] > 0.95


@pytest.mark.parametrize('sensor', [Modality.CAMERA, Modality.THERMAL, Modality.EVENT])
def test_points_and_pixels_have_the_same_label_away_from_edges(
    drive: Drive, stamp: int, sensor: Modality
) -> None:
    sweep, truth = drive.measure_sweep(stamp), drive.truth(stamp, sensor)
    camera, offsets = drive.cameras[sensor], sweep.cloud.time_offset_ns
    assert offsets is not None
    T = np.linalg.inv(drive.pose(stamp) @ drive.T_base[sensor])
    poses = drive._renderer.motion.poses(stamp + offsets - drive.config.start_ns)
    poses = T @ poses @ drive.T_base[Modality.LIDAR]
    points = np.einsum('nij,nj->ni', poses[:, :3, :3], sweep.cloud.points) + poses[:, :3, 3]
    ahead = points[:, 2] > 1.0
    uv = cv2.projectPoints(points[ahead], np.zeros(3), np.zeros(3), camera.K, None)[0][:, 0]
    u, v = np.rint(uv).astype(int).T
    inside = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    u, v, z = u[inside], v[inside], points[ahead][inside, 2]
    labels = sweep.label[ahead][inside]
    kernel = np.ones((5, 5), np.uint8)
    inner = cv2.erode(truth.labels, kernel) == cv2.dilate(truth.labels, kernel)
    seen = inner[v, u] & (np.abs(truth.depth[v, u] - z) < 0.1 * z)
    assert seen.sum() > 1500
    assert np.mean(labels[seen] == truth.labels[v, u][seen]) > 0.99


def test_rolling_shutter_shows_each_row_at_its_own_time(drive: Drive, stamp: int) -> None:
    """Against the same camera with a global shutter at the time of each row."""
    readout_ns = 60_000_000
    config = replace(drive.config, rig=(RigSensor('camera', size=(200, 320), rolling_s=0.06),))
    rolled = Drive(config).truth(stamp)
    rows = np.arange(10, 200, 20)
    agree = []
    kernel = np.ones((9, 9), np.uint8)
    for row in rows:
        then = drive.truth(stamp + round((row / 199 - 0.5) * readout_ns))
        inner = cv2.erode(then.labels, kernel) == cv2.dilate(then.labels, kernel)
        agree.append((rolled.labels[row] == then.labels[row])[inner[row]])
        # Depths stay those of the stamp: 30 ms at 8 m/s are 0.24 m.
        assert np.nanmedian(np.abs(rolled.depth[row] - then.depth[row])[inner[row]]) < 0.25
    assert np.mean(np.concatenate(agree)) > 0.985
    picture, middle = (
        d.measure('camera', stamp).data.astype(float) for d in (Drive(config), drive)
    )
    error = np.zeros(2)
    for row in (10, 20, 170, 180, 190):
        offset_ns = round((row / 199 - 0.5) * readout_ns)
        then = drive.measure('camera', stamp + offset_ns).data[row].astype(float)
        error += [np.square(image[row] - then).mean() for image in (picture, middle)]
    noise = 5 * 2 * 2.5**2
    assert error[0] - noise < 0.5 * (error[1] - noise)
