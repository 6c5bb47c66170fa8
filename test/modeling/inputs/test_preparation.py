from __future__ import annotations

import dataclasses
import re

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.lidar.depth_image import DepthConfig
from sam_ad_perception.core.sensors import Events, Modality, PointCloud, SensorFrame
from sam_ad_perception.modeling.inference.masks import mask_from_logits
from sam_ad_perception.modeling.inputs.events import EventCounts
from sam_ad_perception.modeling.inputs.preparation import lidar_depth, prepare_bundle
from sam_ad_perception.modeling.inputs.representations import LidarImage, Rgb
from sam_ad_perception.modeling.inputs.thermal import ThermalPercentile

SIZE = (64, 96)
FORMS = {
    'camera': Rgb(),
    'thermal': ThermalPercentile(),
    'event': EventCounts(),
    'lidar': LidarImage(),
}


def replace_data(bundle, modality, data):
    frames = dict(bundle.frames)
    frames[modality] = dataclasses.replace(frames[modality], data=data)
    return dataclasses.replace(bundle, frames=frames)


@pytest.mark.parametrize('spread', [5, 30])
@pytest.mark.parametrize(
    ('grid', 'size'),
    [
        ((16, 24), (100, 160)),
        ((16, 24), (270, 480)),
        ((16, 24), (128, 24)),
        ((80, 128), (400, 640)),
        ((8, 8), (5, 3)),
        ((1, 1), (70, 66)),
    ],
)
def test_mask_equals_interpolation_then_argmax(bundle, grid, size, spread):
    torch.manual_seed(0)
    coarse = spread * torch.randn(1, 19, *[max(side // 4, 2) for side in grid])
    logits = F.interpolate(coarse, grid, mode='bicubic')
    camera = scale_camera(bundle.camera, size)
    mask, confidence = mask_from_logits(logits[0].numpy(), camera)
    up = F.interpolate(logits, size, mode='bilinear', align_corners=False)[0]
    best, expected = up.softmax(dim=0).max(dim=0)
    top2 = up.topk(2, dim=0).values
    clear = ((top2[0] - top2[1]) > 1e-4).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(mask[clear], expected.numpy()[clear])
    assert mask.dtype == confidence.dtype == np.uint8
    assert np.abs(confidence - 255 * best.numpy()).max() <= 1.0
    alone, nothing = mask_from_logits(logits[0].numpy(), camera, confident=False)
    np.testing.assert_array_equal(alone[clear], expected.numpy()[clear])
    assert (alone.dtype, nothing.size) == (np.uint8, 0)


def test_equal_logits_take_the_first_class_with_equal_share(bundle):
    zeros = np.zeros((4, 8, 8), np.float32)
    mask, confidence = mask_from_logits(zeros, bundle.camera)
    assert not mask.any()
    assert not mask_from_logits(zeros, bundle.camera, confident=False)[0].any()
    assert set(np.unique(confidence)) == {64}  # 255 / 4, rounded


def test_logits_of_other_form_are_refused(bundle):
    for wrong in (np.zeros((4, 8)), np.zeros((4, 8, 8)), np.zeros((255, 2, 2), np.float32)):
        with pytest.raises(ValueError, match='logits must be'):
            mask_from_logits(wrong, bundle.camera)


def test_camera_is_resized_and_normalised_as_opencv_and_torchvision_do(bundle):
    from torchvision.transforms.functional import normalize

    prepared = prepare_bundle(bundle, {'camera': Rgb()}, SIZE)
    image = bundle.frames[Modality.CAMERA].data
    resized = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)
    tensor = torch.from_numpy(resized).permute(2, 0, 1) / 255
    expected = normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    np.testing.assert_allclose(prepared.inputs['camera'], expected.numpy(), atol=1e-5)


def test_every_sensor_comes_out_at_the_network_size(bundle):
    prepared = prepare_bundle(bundle, FORMS, SIZE)
    assert prepared.missing == {}
    shapes = {name: image.shape for name, image in prepared.inputs.items()}
    assert shapes == {name: (form.channels, *SIZE) for name, form in FORMS.items()}
    for image in prepared.inputs.values():
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.std() > 0


def test_thermal_of_the_same_view_is_the_image_between_its_percentiles(bundle):
    frame = bundle.frames[Modality.THERMAL]
    view = dataclasses.replace(frame.camera, frame_id='camera_optical')
    rng = np.random.default_rng(0)
    image = rng.integers(29000, 30001, view.size).astype(np.uint16)
    frame = dataclasses.replace(frame, data=image)
    got = ThermalPercentile().render(frame, view, np.eye(4))[0]
    low, high = np.percentile(image[::4, ::4], (1, 99))
    expected = (image - low) / (high - low) * 2 - 1
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_thermal_does_not_depend_on_the_scale_of_the_sensor(bundle):
    frame = bundle.frames[Modality.THERMAL]
    other = dataclasses.replace(frame, data=(frame.data // 2 + 7).astype(np.uint16))
    form = ThermalPercentile()
    T = bundle.T_camera[Modality.THERMAL]
    np.testing.assert_allclose(
        form.render(frame, bundle.camera, T), form.render(other, bundle.camera, T), atol=0.01
    )


def test_events_are_counted_by_polarity_within_the_duration(bundle):
    frame = bundle.frames[Modality.EVENT]
    x = np.array([10, 10, 10, 50, 90], np.uint16)
    y = np.array([20, 20, 20, 30, 70], np.uint16)
    polarity = np.array([True, True, False, False, True])
    t_ns = frame.stamp_ns - np.array([31, 29, 20, 10, 0]) * 1_000_000  # the first is too old
    frame = dataclasses.replace(frame, data=Events(x, y, polarity, t_ns, (80, 120)))
    image = EventCounts(30.0).render(frame, frame.camera, np.eye(4))
    counts = np.rint(np.expm1(image)).astype(int)
    expected = np.zeros((2, 80, 120), int)
    expected[0, 20, 10] = expected[1, 20, 10] = expected[1, 30, 50] = expected[0, 70, 90] = 1
    np.testing.assert_array_equal(counts, expected)


def test_lidar_channels_are_range_intensity_and_height_of_the_nearest(bundle):
    points = np.array([[1, -0.5, 10], [2, -1, 20], [0, 1, 5]], np.float32)
    cloud = PointCloud(points, np.array([0.5, 0.2, 1.0], np.float32))
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', cloud)
    image = LidarImage(100.0).render(frame, bundle.camera, np.eye(4))
    uv, _ = cv2.projectPoints(
        points.astype(np.float64), np.zeros(3), np.zeros(3), bundle.camera.K, np.zeros(5)
    )
    for index, distance in ((0, 10.06231), (2, 5.09902)):  # point 1 is behind point 0
        u, v = np.rint(uv[index, 0]).astype(int)
        got = image[:, v, u]
        height = 1 - points[index, 1] / 5
        expected = (np.log1p(distance) / np.log(101), cloud.intensity[index] / 0.5, height)
        np.testing.assert_allclose(got, np.clip(expected, None, [9, 1.5, 9]), rtol=1e-4)
    assert (image[0] > 0).sum() == 2


def test_a_point_without_intensity_has_its_range_and_no_intensity(bundle):
    cloud = PointCloud(np.array([[1, 0, 10], [0, 1, 5]], np.float32), np.float32([0.5, np.nan]))
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', cloud)
    image = LidarImage(100.0).render(frame, bundle.camera, np.eye(4))
    np.testing.assert_array_equal(np.sort(image[1, image[0] > 0]), [0, 1])


def test_depth_image_is_at_the_camera_size_and_absent_without_lidar(bundle):
    image = lidar_depth(bundle)
    assert image.depth.shape == image.measured.shape == bundle.camera.size
    assert image.measured.any()
    np.testing.assert_array_equal(np.isfinite(image.depth), image.measured)
    filled = lidar_depth(bundle, DepthConfig(fill='edge_aware', fill_radius_px=5))
    np.testing.assert_array_equal(filled.measured, image.measured)
    assert np.isfinite(filled.depth).sum() > 3 * image.measured.sum()
    without = {m: f for m, f in bundle.frames.items() if m is not Modality.LIDAR}
    assert lidar_depth(dataclasses.replace(bundle, frames=without)) is None


NAN_POINTS = np.full((5, 3), np.nan, np.float32)
BAD = {
    'camera zero size': (Modality.CAMERA, np.zeros((0, 0, 3), np.uint8), 'zero size'),
    'camera float': (Modality.CAMERA, np.zeros((100, 160, 3)), 'is float64, expected uint8'),
    'camera grey': (Modality.CAMERA, np.zeros((100, 160), np.uint8), r'expected \(H, W, 3\)'),
    'camera a cloud': (Modality.CAMERA, PointCloud(NAN_POINTS), 'must be an image, got PointC'),
    'thermal uniform': (Modality.THERMAL, np.full((64, 80), 5, np.uint16), 'uniform at 5'),
    'thermal other size': (Modality.THERMAL, np.arange(96, dtype=np.uint8).reshape(8, 12), 'says'),
    'event an image': (Modality.EVENT, np.zeros((4, 4)), 'is a rendered image'),
    'lidar NaN': (Modality.LIDAR, PointCloud(NAN_POINTS), 'NaN or infinite'),
    'lidar empty': (Modality.LIDAR, PointCloud(NAN_POINTS[:0]), 'empty'),
    'lidar behind': (Modality.LIDAR, PointCloud(np.full((5, 3), -9, np.float32)), 'in front of'),
    'lidar flat': (Modality.LIDAR, PointCloud(np.zeros((4, 2), np.float32)), r'shape \(4, 2\)'),
    'lidar short intensity': (
        Modality.LIDAR,
        PointCloud(np.ones((4, 3), np.float32), np.ones(3, np.float32)),
        'intensity of shape',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_a_bad_frame_makes_its_sensor_missing_and_no_other(bundle, case):
    modality, data, reason = BAD[case]
    good = prepare_bundle(bundle, FORMS, SIZE)
    prepared = prepare_bundle(replace_data(bundle, modality, data), FORMS, SIZE)
    assert set(prepared.inputs) == set(FORMS) - {modality}
    assert set(prepared.missing) == {modality}
    assert re.search(reason, prepared.missing[modality])
    for name, image in prepared.inputs.items():
        np.testing.assert_array_equal(image, good.inputs[name])


def test_missing_geometry_makes_the_sensor_missing(bundle):
    bare = dataclasses.replace(bundle, T_camera={})
    prepared = prepare_bundle(bare, FORMS, SIZE)
    assert set(prepared.inputs) == {'camera'}
    assert all('no transform' in reason for reason in prepared.missing.values())


def test_reasons_of_the_bundle_are_kept_and_unknown_sensors_are_named(bundle):
    frames = {m: f for m, f in bundle.frames.items() if m is not Modality.THERMAL}
    gone = dataclasses.replace(bundle, frames=frames, missing={Modality.THERMAL: 'silent'})
    prepared = prepare_bundle(gone, {'thermal': FORMS['thermal'], 'camera': Rgb()}, SIZE)
    assert prepared.missing['thermal'] == 'silent'
    assert prepared.missing['lidar'] == 'the network has no input for it'
