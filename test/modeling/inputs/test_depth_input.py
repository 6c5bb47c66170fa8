from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.geometry.transforms import invert_transform, make_transform
from sam_ad_perception.core.messages.image_encodings import to_depth
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorFrame
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.depth import DepthImage
from sam_ad_perception.modeling.inputs.preparation import prepare_bundle
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

VIEW = CameraModel(96, 64, np.array([[80.0, 0, 47.5], [0, 80.0, 31.5], [0, 0, 1]]))
WIDE = CameraModel(160, 120, np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]]))
COARSE = CameraModel(40, 30, np.array([[25.0, 0, 19.5], [0, 25.0, 14.5], [0, 0, 1]]))
TURN = make_transform(
    [[np.cos(0.1), 0, np.sin(0.1)], [0, 1, 0], [-np.sin(0.1), 0, np.cos(0.1)]], [0.3, 0.1, -0.2]
)


def plane_depth(camera, normal, offset):
    """Depth (H, W) of the plane normal . p = offset in the camera's frame."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    K = camera.K
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    return offset / (rays @ normal)


def frame_of(depth, camera):
    return SensorFrame(Modality.DEPTH, 0, 'depth_optical', depth.astype(np.float32), camera)


def metres(image, form):
    return np.where(image > 0, np.expm1(image * np.log1p(form.max_range_m)), np.nan)[0]


@pytest.mark.parametrize('camera', [WIDE, COARSE])
@pytest.mark.parametrize('T_view_depth', [np.eye(4), TURN])
def test_the_depth_is_the_cameras_own_after_the_warp(camera, T_view_depth):
    normal, offset = np.array([0.1, -0.2, 1.0]), 6.0  # a plane in the view's frame
    R, t = T_view_depth[:3, :3], T_view_depth[:3, 3]
    measured = plane_depth(camera, R.T @ normal, offset - normal @ t)
    form = DepthImage(40.0)
    got = metres(form.render(frame_of(measured, camera), VIEW, T_view_depth), form)
    there = np.isfinite(got)
    assert there.mean() > 0.8
    expected = plane_depth(VIEW, normal, offset)
    error = np.abs(got - expected)[there] / expected[there]
    assert np.median(error) < 0.01
    assert error.max() < 0.06  # up to two pixels of the coarse grid along the slope


def test_the_nearer_of_two_surfaces_stays_and_holes_stay_holes():
    depth = np.full(WIDE.size, 10.0)
    depth[40:80, 60:100] = 2.0
    depth[:20] = np.nan
    depth[20:25] = 50.0  # beyond the range
    form = DepthImage(40.0)
    T = make_transform(np.eye(3), [0.4, 0, 0])
    got = metres(form.render(frame_of(depth, WIDE), VIEW, T), form)
    values = np.unique(np.round(got[np.isfinite(got)], 3))
    assert set(values) == {2.0, 10.0}
    v = round(31.5 + 80 * (60 - 59.5) / 100)
    near = np.abs(got[v] - 2.0) < 1e-3
    # its left edge at column 60 is at x = -0.39 m, seen 0.4 m further right from here
    left = 47.5 + 80 * ((60 - 79.5) / 100 * 2 + 0.4) / 2
    assert np.flatnonzero(near)[0] == pytest.approx(left, abs=1)


def test_bad_frames_are_named():
    form = DepthImage(40.0)
    good = np.full(WIDE.size, 5.0)
    for frame, T, message in (
        (frame_of(good * np.nan, WIDE), np.eye(4), 'no depth within 40 m'),
        (frame_of(good * 20, WIDE), np.eye(4), 'no depth within 40 m'),
        (frame_of(good, WIDE), np.diag([-1.0, 1, -1, 1]), 'no depth falls into the view'),
        (frame_of(good, WIDE), None, 'no transform from the depth camera'),
        (frame_of(good, None), np.eye(4), 'no camera_info of the depth camera'),
        (frame_of(good[:5], WIDE), np.eye(4), 'its camera_info says'),
        (dataclasses.replace(frame_of(good, WIDE), data=good), np.eye(4), 'is float64, expected'),
    ):
        with pytest.raises(ValueError, match=message):
            form.render(frame, VIEW, T)
    with pytest.raises(ValueError, match='max_range_m must be positive, got 0'):
        DepthImage(0)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_a_depth_camera_reaches_the_network(zoo_path, bundle, encoding):
    """From the message's pixels through bundler and segmenter."""
    text = zoo_path.read_text()
    text = text.replace(
        'lidar: {representation: lidar_image}', 'depth: {representation: depth_image}'
    )
    zoo_path.write_text(text)
    spec = load_zoo(zoo_path)['tiny']
    true = plane_depth(WIDE, np.array([0, 0, 1.0]), 8.0)
    pixels = (true * 1000).astype(np.uint16) if encoding == '16UC1' else true.astype(np.float32)
    sync = SynchronizerConfig(sensors={'depth': SensorConfig(enabled=True)})
    bundler = Bundler(BundlerConfig(sync))
    bundler.transforms.set_static('camera_optical', 'depth_optical', TURN)
    camera = bundle.frames[Modality.CAMERA]
    stamp = camera.stamp_ns
    depth = SensorFrame(Modality.DEPTH, stamp, 'depth_optical', to_depth(pixels, encoding), WIDE)
    results = (
        bundler.add_frame(depth, stamp) + bundler.add_frame(camera, stamp + 1) + bundler.flush()
    )
    (made,) = results
    np.testing.assert_allclose(made.T_camera[Modality.DEPTH], TURN)
    prepared = prepare_bundle(made, spec.inputs, spec.input_size)
    got = metres(prepared.inputs['depth'], spec.inputs['depth'])
    plane = invert_transform(TURN)[2]  # 8 m before the depth camera, seen from the camera
    expected = plane_depth(scale_camera(made.camera, spec.input_size), plane[:3], 8.0 - plane[3])
    there = np.isfinite(got)
    assert there.mean() > 0.7
    np.testing.assert_allclose(got[there], expected[there], rtol=0.03)
    (result,) = Segmenter([ExpertNetwork(spec, build_model(spec))]).segment([made])
    assert Modality.DEPTH in result.used
    assert result.mask.shape == made.camera.size
