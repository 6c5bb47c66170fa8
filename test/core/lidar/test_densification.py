"""Filled depth images against brute force, and against the simulator's exact depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.lidar.densification import fill_edge_aware, fill_nearest
from sam_ad_perception.core.lidar.depth_image import DepthConfig, render_depth
from sam_ad_perception.core.lidar.deskew import point_times
from sam_ad_perception.core.lidar.ego_motion import sample_motion
from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig


def sparse(rng, shape=(40, 50), share=0.05):
    depth = np.full(shape, np.nan, np.float32)
    taken = rng.random(shape) < share
    depth[taken] = rng.uniform(2, 60, int(taken.sum()))
    return depth


@given(st.integers(0, 1000), st.integers(1, 12))
def test_nearest_is_the_nearest(seed, radius):
    depth = sparse(np.random.default_rng(seed))
    filled = fill_nearest(depth, radius)
    rows, columns = np.nonzero(np.isfinite(depth))
    for v in range(0, 40, 3):
        for u in range(0, 50, 3):
            distance = np.hypot(rows - v, columns - u)
            if np.isnan(filled[v, u]):
                assert distance.min() > radius / 1.03
            else:
                source = np.flatnonzero(depth[rows, columns] == filled[v, u])
                assert distance[source].min() <= 1.03 * distance.min() + 1e-6
                assert distance.min() <= 1.03 * radius
    measured = np.isfinite(depth)
    np.testing.assert_array_equal(filled[measured], depth[measured])


def brute_force(depth, radius, guide):
    out = depth.copy()
    rows, columns = np.nonzero(np.isfinite(depth))
    for v, u in zip(*np.nonzero(np.isnan(depth)), strict=True):
        squared = (rows - v) ** 2 + (columns - u) ** 2
        near = squared <= radius**2
        if not near.any():
            continue
        z = depth[rows[near], columns[near]].astype(float)
        likeness = guide[rows[near], columns[near]].astype(float) - guide[v, u]
        weight = np.exp(-0.5 * squared[near] / (0.5 * radius) ** 2)
        weight *= np.maximum(np.exp(-0.5 * (likeness / 12.0) ** 2), 1e-20)
        best = z[np.argmax(weight)]
        same = np.abs(z - best) <= 0.05 * best
        out[v, u] = np.average(z[same], weights=weight[same])
    return out


@pytest.mark.parametrize('radius', [1, 4, 9])
def test_edge_aware_is_the_brute_force(rng, radius):
    depth = sparse(rng)
    guide = rng.integers(0, 120, depth.shape).astype(np.uint8)
    filled = fill_edge_aware(depth, radius, guide)
    same = np.isclose(filled, brute_force(depth, radius, guide), rtol=2e-5, equal_nan=True)
    assert same.mean() > 0.998  # two returns of equal weight may come in either order


def test_edges_follow_the_guide():
    """Left is near and dark, right is far and bright; returns at every fourth pixel."""
    truth = np.full((40, 40), 5, np.float32)
    truth[:, 18:] = 30
    guide = np.where(truth == 5, 20, 200).astype(np.uint8)
    depth = np.full_like(truth, np.nan)
    depth[::4, ::4] = truth[::4, ::4]
    np.testing.assert_allclose(fill_edge_aware(depth, 6, guide), truth, rtol=1e-6)
    colour = fill_edge_aware(depth, 6, np.dstack([guide] * 3))
    np.testing.assert_allclose(colour, truth, rtol=1e-6)
    assert np.isin(
        fill_edge_aware(depth, 6).round(3), (5, 30)
    ).all()  # nothing between the surfaces
    assert (fill_edge_aware(depth, 6) != truth).any()


@pytest.mark.parametrize('fill', [fill_nearest, fill_edge_aware])
def test_empty_stays_empty_and_full_stays_full(fill):
    empty = np.full((9, 9), np.nan, np.float32)
    assert np.isnan(fill(empty, 4)).all()
    np.testing.assert_array_equal(fill(np.ones((9, 9), np.float32), 4), 1)
    one = empty.copy()
    one[4, 4] = 7
    assert np.nanmax(fill(one, 2)) == 7
    assert np.isnan(fill(one, 2)[0, 0])
    with pytest.raises(ValueError, match=r'depth must be \(H, W\) float32'):
        fill(np.ones((2, 2)), 3)
    with pytest.raises(ValueError, match='radius is too small'):
        fill(empty, -1)


def test_a_guide_of_another_size_is_refused():
    with pytest.raises(ValueError, match='guide must be'):
        fill_edge_aware(np.ones((3, 3), np.float32), 2, np.zeros((3, 4), np.uint8))


def test_on_the_street_filled_depth_is_right_and_says_what_was_measured():
    drive = Drive(DriveConfig(seed=1, duration_s=2.0))
    stamp = drive.config.start_ns + 1_000_000_000
    frame = drive.measure(Modality.LIDAR, stamp)
    motion = sample_motion(
        lambda t: drive.pose(t) @ drive.T_base[Modality.LIDAR], *point_times(frame), stamp
    )
    frame = SensorFrame(Modality.LIDAR, stamp, 'lidar', frame.data, motion=motion)
    T = np.linalg.inv(drive.T_base[Modality.CAMERA]) @ drive.T_base[Modality.LIDAR]
    camera = drive.cameras[Modality.CAMERA]
    image, truth = drive.measure(Modality.CAMERA, stamp).data, drive.truth(stamp).depth
    sparse_depth = render_depth(frame, T, camera, DepthConfig())
    np.testing.assert_array_equal(sparse_depth.measured, np.isfinite(sparse_depth.depth))
    wrong = {}
    for fill in ('nearest', 'edge_aware'):
        dense = render_depth(frame, T, camera, DepthConfig(fill=fill, fill_radius_px=6), image)
        np.testing.assert_array_equal(dense.measured, sparse_depth.measured)
        np.testing.assert_array_equal(
            dense.depth[dense.measured], sparse_depth.depth[dense.measured]
        )
        made = np.isfinite(dense.depth) & ~dense.measured & np.isfinite(truth)
        assert made.sum() > 8 * dense.measured.sum()
        error = np.abs(dense.depth - truth)[made] / truth[made]
        assert np.median(error) < 0.03
        wrong[fill] = np.mean(error > 0.15)
    assert wrong['edge_aware'] < wrong['nearest'] < 0.15
