"""What is drawn where the network runs is what the host renders; a CPU stands in for a GPU."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    PointMotion,
    SensorFrame,
)
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.camera_view import BadFrameError
from sam_ad_perception.modeling.inputs.events import EventCounts
from sam_ad_perception.modeling.inputs.on_device import take_raw
from sam_ad_perception.modeling.inputs.representations import LidarImage, Rgb

CPU = torch.device('cpu')
LSB = 1 / 255 / min(Rgb().std)


def view_of(size: tuple[int, int]) -> CameraModel:
    height, width = size
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K)


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    factor=st.tuples(st.floats(1, 5), st.floats(1, 5)),
    shrink=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_picture_is_resized_and_normalised_as_on_the_host(size, factor, shrink, seed):
    other = tuple(round(a * b) for a, b in zip(size, factor, strict=True))
    large, small = (other, size) if shrink else (size, other)
    image = np.random.default_rng(seed).integers(0, 256, (*large, 3), np.uint8)
    frame = SensorFrame(Modality.CAMERA, 0, 'camera', image)
    got = take_raw(Rgb(), frame, view_of(small), None).finish(CPU).numpy()
    expected = Rgb().render(frame, view_of(small), None)
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    off = np.abs(got - expected)
    assert off.max() <= 1.01 * LSB
    assert (off > 1e-5).mean() < 0.5  # halves, and OpenCV's 11 bits where it interpolates


def test_a_large_picture_differs_in_few_roundings():
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (68, 120, 3), np.uint8), (960, 540))
    frame = SensorFrame(Modality.CAMERA, 0, 'camera', image[:, :, ::-1])
    for size in ((512, 512), (96, 160)):
        got = take_raw(Rgb(), frame, view_of(size), None).finish(CPU).numpy()
        expected = Rgb().render(frame, view_of(size), None)
        assert (np.abs(got - expected) > 1e-5).mean() < 0.005


def sweep(count: int, seed: int = 0, moving: bool = False) -> SensorFrame:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-30, -30, -2), (30, 30, 3), (count, 3)).astype(np.float32)
    intensity = rng.uniform(0, 200, count).astype(np.float32)
    times = np.sort(rng.integers(-100_000_000, 1, count))
    knots = np.stack([np.eye(4)] * 5)
    knots[:, 0, 3] = np.linspace(-2, 0, 5)
    motion = PointMotion(-100_000_000, 25_000_000, knots) if moving else None
    cloud = PointCloud(points, intensity, times)
    return SensorFrame(Modality.LIDAR, 0, 'lidar', cloud, motion=motion)


LOOKING = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, 1.5], [1, 0, 0, -0.2], [0, 0, 0, 1]])
"""A camera that looks along x, 1.5 m above the lidar."""


@pytest.mark.parametrize('moving', [False, True])
@pytest.mark.parametrize('count', [300, 60_000])
def test_a_sweep_is_drawn_as_on_the_host(count, moving):
    frame, view, form = sweep(count, moving=moving), view_of((60, 100)), LidarImage(25.0)
    got = take_raw(form, frame, view, LOOKING).finish(CPU).numpy()
    expected = form.render(frame, view, LOOKING)
    assert (expected[0] > 0).sum() > min(count / 20, 2000)
    same = np.isclose(got, expected, atol=1e-5).all(0)
    assert same.mean() >= 0.999  # a point on the edge of two pixels may go either way


def test_of_several_points_on_a_pixel_the_nearest_then_the_first_is_drawn():
    points = np.array([[20, 0, 0], [10, 0, 0], [10, 0, 0], [30, 0, 0]] * 4, np.float32)
    intensity = np.arange(16, dtype=np.float32) / 16
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points, intensity))
    ahead = np.vstack([LOOKING[:3] * [1, 1, 1, 0], LOOKING[3:]])
    got = take_raw(LidarImage(), frame, view_of((50, 50)), ahead).finish(CPU).numpy()
    expected = LidarImage().render(frame, view_of((50, 50)), ahead)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert (got[0] > 0).sum() == 1
    assert got[1].max() == pytest.approx(1 / 16 / np.percentile(intensity[::8], 95), rel=1e-5)


def test_a_sweep_without_intensity_is_drawn():
    frame, view = sweep(2000), view_of((50, 50))
    dark = dataclasses.replace(frame, data=PointCloud(frame.data.points))
    got = take_raw(LidarImage(), dark, view, LOOKING).finish(CPU).numpy()
    np.testing.assert_allclose(got, LidarImage().render(dark, view, LOOKING), atol=1e-5)


def test_what_is_not_of_the_common_kind_is_left_to_the_host(bundle):
    camera, lidar = bundle.frames[Modality.CAMERA], bundle.frames[Modality.LIDAR]
    view, T = scale_camera(bundle.camera, (64, 96)), bundle.T_camera[Modality.LIDAR]
    bent = dataclasses.replace(view, D=np.array([0.1, 0, 0, 0, 0]), distortion_model='plumb_bob')
    behind = np.diag([1.0, -1, -1, 1])
    assert take_raw(EventCounts(), bundle.frames[Modality.EVENT], view, T) is None
    assert take_raw(Rgb(), camera, view_of((64, 200)), None) is None
    assert take_raw(LidarImage(), lidar, view, T) is not None
    assert take_raw(LidarImage(), lidar, bent, T) is None
    assert take_raw(LidarImage(), lidar, view, None) is None
    assert take_raw(LidarImage(), lidar, view, behind) is None
    with pytest.raises(BadFrameError, match='is empty'):
        take_raw(
            LidarImage(), dataclasses.replace(lidar, data=PointCloud(np.empty((0, 3)))), view, T
        )


def test_the_segmenter_gives_nearly_the_same_masks_both_ways(spec, network, bundle):
    expert = ExpertNetwork(spec, network)
    turned = dataclasses.replace(bundle, stamp_ns=bundle.stamp_ns + 1)
    wanted = Segmenter([expert]).segment([bundle, turned])
    expert.on_device = True
    expert.warm_up(bundle.camera)
    got = Segmenter([expert]).segment([bundle, turned])
    for one, other in zip(got, wanted, strict=True):
        assert one.used == other.used
        assert (one.mask == other.mask).mean() > 0.99
        assert one.gate == pytest.approx(other.gate, abs=0.01)


def test_a_sensor_without_a_place_in_the_view_is_routed_around_both_ways(spec, network, bundle):
    expert = ExpertNetwork(spec, network)
    expert.on_device = True
    lost = {m: T for m, T in bundle.T_camera.items() if m is not Modality.LIDAR}
    (result,) = Segmenter([expert]).segment([dataclasses.replace(bundle, T_camera=lost)])
    assert 'no transform' in result.missing[Modality.LIDAR]
    assert Modality.LIDAR not in result.used
