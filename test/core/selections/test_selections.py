"""Selections by arithmetic: sets of ids, brute-force dilation, OpenCV's projection, bytes."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES, LabelClass, LabelSpace
from sam_ad_perception.core.lidar.visibility import SweepView, visible_pixels
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.selections.clouds import filter_cloud, select_points
from sam_ad_perception.core.selections.config import SelectionConfig, resolve
from sam_ad_perception.core.selections.messages import PARTS, FrameSelector
from sam_ad_perception.core.selections.pixels import select_depth, select_pixels
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import ParameterError, build, flatten, leaves
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

SPACE = LABEL_SPACES['cityscapes']
STAMP = 1_700_000_000_123_456_789


def selection(*classes: str, space: LabelSpace = SPACE, **options):
    return resolve({'some': SelectionConfig(classes=classes, **options)}, space)['some']


# Parameters


def test_selections_come_from_parameters_and_from_yaml(tmp_path) -> None:
    config = build(
        SegmentationConfig,
        {'selections.dynamic.classes': ['person', 'car'], 'selections.dynamic.dilate_px': 5},
    )
    wanted = SelectionConfig(('person', 'car'), dilate_px=5)
    assert config.selections == {'dynamic': wanted}
    assert SegmentationConfig().selections == {}
    assert build(SegmentationConfig, flatten(config)) == config
    file = tmp_path / 'some.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    selections:\n'
        '      dynamic: {classes: [person, car], dilate_px: 5}\n'
        '      ground: {classes: [road], keep: true}\n'
    )
    loaded = load(SegmentationConfig, file)
    assert loaded.selections == {
        'dynamic': wanted,
        'ground': SelectionConfig(('road',), keep=True),
    }
    names = set(leaves(SegmentationConfig, ['selections.a.keep'])) - set(
        leaves(SegmentationConfig)
    )
    assert names == {f'selections.a.{leaf}' for leaf in flatten(SelectionConfig())}


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'selections.a.clases': ['car']}, r"'selections\.a\.clases', did you mean .*a\.classes"),
        ({'selections.a.dilate_px': 3}, r'selections\.a\.classes must name classes'),
        ({'selections.points.classes': ['car']}, r'selections\.points: the name must be'),
        ({'selections.a-b.classes': ['car']}, r'selections\.a-b: the name must be'),
        ({'selections.a.classes': ['car'], 'selections.a.dilate_px': -1}, 'at least 0'),
        ({'selections.a.classes': 'car'}, 'must be a list of str'),
    ],
)
def test_a_wrong_selection_is_refused_by_name(values, message) -> None:
    with pytest.raises(ParameterError, match=message):
        build(SegmentationConfig, values)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('persn', "no class 'persn'; did you mean 'person'"),
        ('Traffic Light', "did you mean 'traffic light'"),
        ('xyz', "it has 'road', 'sidewalk'"),
    ],
)
def test_an_unknown_class_is_refused_with_the_nearest_one(name, message) -> None:
    with pytest.raises(ValueError, match=message):
        selection('car', name)


def test_other_names_of_own_classes_count() -> None:
    space = LabelSpace(
        'own',
        (LabelClass(0, 'ground', (0, 0, 0)), LabelClass(1, 'people', (1, 1, 1))),
        aliases=(('person', 'people'),),
    )
    assert np.flatnonzero(selection('person', space=space).chosen).tolist() == [1]


# Pixels


@pytest.mark.parametrize('radius', [0, 1, 5])
@pytest.mark.parametrize(
    'classes',
    [
        ('road',),
        ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
        ('road', 'bicycle', 'sky'),
        SPACE.names[::2],  # more runs than are compared one by one
        SPACE.names,
    ],
    ids=['one', 'dynamic', 'three', 'every second', 'all'],
)
def test_pixels_are_those_of_the_set_grown_by_brute_force(classes, radius) -> None:
    mask = np.random.default_rng(radius).choice([*range(19), 255, 255], (37, 53)).astype(np.uint8)
    mask[:, 30:] = 255  # so that growth shows
    ids = [SPACE.id_of(name) for name in classes]
    member = np.isin(mask, ids)
    grown = np.zeros_like(member)
    for y, x in np.argwhere(member):
        grown[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = True
    found = select_pixels(mask, selection(*classes, dilate_px=radius))
    np.testing.assert_array_equal(found, np.where(grown, 255, 0))
    assert found.dtype == np.uint8


@pytest.mark.parametrize('keep', [False, True])
def test_depth_loses_the_selected_pixels_or_all_others(keep) -> None:
    rng = np.random.default_rng(0)
    depth = np.where(rng.random((20, 30)) < 0.5, np.nan, 7.0).astype(np.float32)
    selected = np.where(rng.random((20, 30)) < 0.5, 255, 0).astype(np.uint8)
    expected = np.where((selected > 0) == keep, depth, np.nan)
    np.testing.assert_array_equal(select_depth(depth, selected, keep=keep), expected)


# Points


def scene():
    """A distorted camera, a turned lidar, a wall with a box before it."""
    K = np.array([[300.0, 0, 160], [0, 290, 120], [0, 0, 1]])
    D = np.array([0.1, -0.05, 0.002, 0.001, 0.01])
    camera = CameraModel(320, 240, K, D, frame_id='camera_optical')
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    T[:3, 3] = 0.0, -0.5, -0.1
    rng = np.random.default_rng(3)
    wall = np.column_stack(
        [np.full(4000, 12.0), rng.uniform(-9, 9, 4000), rng.uniform(-4, 5, 4000)]
    )
    box = np.column_stack([np.full(900, 5.0), rng.uniform(-1, 1, 900), rng.uniform(-1, 1, 900)])
    points = np.vstack([wall, box, [[-5.0, 0, 0]]]).astype(np.float32)
    return camera, T, points


def test_points_are_seen_where_opencv_projects_them() -> None:
    camera, T, points = scene()
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points))
    pixels = visible_pixels(frame, T, camera)
    inside = points.astype(float) @ T[:3, :3].T + T[:3, 3]
    uv = cv2.projectPoints(inside, np.zeros(3), np.zeros(3), camera.K, camera.D)[0][:, 0]
    u, v = np.floor(uv + 0.5).astype(int).T
    in_view = (inside[:, 2] > 0) & (u >= 0) & (u < 320) & (v >= 0) & (v < 240)
    seen = pixels >= 0
    assert not (seen & ~in_view).any()
    np.testing.assert_array_equal(pixels[seen], (v * 320 + u)[seen])
    is_box = np.arange(len(points)) >= 4000
    assert seen[is_box & in_view].mean() > 0.95
    # of the wall, what lies behind the box as the camera sees it is hidden
    corner = inside[is_box & in_view][:, :2] / 5
    low, high = corner.min(0) + 0.02, corner.max(0) - 0.02
    ray = inside[:, :2] / inside[:, 2:]
    behind = ~is_box & in_view & ((ray > low) & (ray < high)).all(1)
    assert behind.sum() > 50
    assert seen[behind].mean() < 0.2
    free = ~is_box & in_view & ((ray < low - 0.1) | (ray > high + 0.1)).any(1)
    assert seen[free].mean() > 0.95


def test_a_depth_image_hides_what_lies_behind_it() -> None:
    camera, T, points = scene()
    frame = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points))
    before = visible_pixels(frame, T, camera)
    depth = np.full(camera.size, 3.0, np.float32)
    assert (visible_pixels(frame, T, camera, depth) == -1).all()
    depth[:] = np.nan  # nothing known, nothing hidden
    np.testing.assert_array_equal(visible_pixels(frame, T, camera, depth), before)
    with pytest.raises(ValueError, match='depth must be'):
        visible_pixels(frame, T, camera, depth[1:])


FORMAT = 'fffHd'  # x y z ring time, packed: 22 bytes, and 3 bytes of padding


def message(types, points, *, order: str, height: int):
    """A cloud of a driver, packed by hand, with padding after each row."""
    count, step, pad = len(points), 25, 7
    width = count // height
    rows = []
    for row in range(height):
        data = b''
        for i in range(row * width, (row + 1) * width):
            data += struct.pack(order + FORMAT, *points[i], i % 65536, i / 7) + b'abc'
        rows.append(data + b'#' * pad)
    fields = [('x', 0, 7), ('y', 4, 7), ('z', 8, 7), ('ring', 12, 4), ('time', 14, 8)]
    return cv.make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=cv.make_header(types, STAMP, 'lidar'),
        height=height,
        width=width,
        fields=[
            cv.make(types, 'sensor_msgs/msg/PointField', name=n, offset=o, datatype=d, count=1)
            for n, o, d in fields
        ],
        is_bigendian=order == '>',
        point_step=step,
        row_step=step * width + pad,
        data=np.frombuffer(b''.join(rows), np.uint8),
        is_dense=False,
    )


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('organized', [False, True])
def test_a_filtered_cloud_keeps_every_field_of_what_is_left(ros, order, organized) -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(1, 9, (40, 3)).astype(np.float32)
    points[[3, 17]] = np.nan  # no return
    sent = message(ros.types, points, order=order, height=4)
    cloud, removed = cv.cloud_from_message(ros.round_trip(sent))
    assert removed == 2
    left = rng.random(38) < 0.5
    made = ros.round_trip(
        filter_cloud(ros.types, cloud, left, STAMP, 'lidar', organized=organized)
    )
    there = np.delete(np.arange(40), [3, 17])
    kept = set(there[left].tolist())
    data = bytes(made.data)
    assert made.is_dense == (not organized)
    assert (made.height, made.width) == ((4, 10) if organized else (1, len(kept)))
    assert [(f.name, f.offset, f.datatype) for f in made.fields] == [
        (f.name, f.offset, f.datatype) for f in sent.fields
    ]
    indices = range(40) if organized else sorted(kept)
    for place, i in enumerate(indices):
        *xyz, ring, time = struct.unpack(order + FORMAT, data[place * 25 : place * 25 + 22])
        assert (ring, time) == (i, i / 7)
        if i in kept:
            np.testing.assert_array_equal(xyz, points[i])
        else:
            assert np.isnan(xyz).all()


def test_a_cloud_without_a_message_is_filtered_too(bags) -> None:
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    cloud = PointCloud(points, intensity=np.arange(4, dtype=np.float32))
    left = np.array([True, False, True, False])
    made = bags.round_trip(filter_cloud(bags.types, cloud, left, STAMP, 'lidar'))
    again, _ = cv.cloud_from_message(made)
    np.testing.assert_array_equal(again.points, points[left])
    np.testing.assert_array_equal(again.intensity, [0, 2])


@pytest.mark.parametrize('keep', [False, True])
def test_the_messages_of_a_frame_belong_together(bags, keep) -> None:
    camera, T, points = scene()
    frame = SensorFrame(Modality.LIDAR, STAMP + 5, 'lidar', PointCloud(points))
    bundle = SensorBundle(
        STAMP, Modality.CAMERA, camera, {Modality.LIDAR: frame}, T_camera={Modality.LIDAR: T}
    )
    mask = np.zeros(camera.size, np.uint8)
    mask[60:180, 80:240] = SPACE.id_of('person')
    depth = np.full(camera.size, np.nan, np.float32)
    depth[100, 100], depth[10, 10] = 12.0, 13.0
    result = Segmentation(STAMP, camera, mask, mask, 'x', (), depth=depth)
    sweep = SweepView(bundle, result)
    maker = FrameSelector(
        bags.types, result, sweep, view=camera, stamp_ns=STAMP, cloud_stamp_ns=STAMP + 5
    )
    chosen = selection('person', keep=keep)
    made = dict(maker.messages(chosen, PARTS))
    assert list(made) == list(PARTS)
    assert {cv.stamp_of(made[part]) for part in ('mask', 'camera_info', 'depth')} == {STAMP}
    assert {cv.frame_of(made[part]) for part in ('mask', 'camera_info', 'depth')} == {
        'camera_optical'
    }
    assert (cv.stamp_of(made['points']), cv.frame_of(made['points'])) == (STAMP + 5, 'lidar')
    pixels, encoding = cv.image_to_array(made['mask'])
    assert encoding == 'mono8'
    np.testing.assert_array_equal(pixels, np.where(mask == 11, 255, 0))
    shown, _ = cv.image_to_array(made['depth'])
    assert np.flatnonzero(np.isfinite(shown)).tolist() == [100 * 320 + 100 if keep else 3210]
    left, _ = cv.cloud_from_message(made['points'])
    hit = select_points(visible_pixels(frame, T, camera, depth), pixels)
    assert 100 < hit.sum() < len(points) - 100
    np.testing.assert_array_equal(left.points, points[hit if keep else ~hit])
    # a part that nobody wants is not made; without a sweep there is no cloud
    assert [part for part, _ in maker.messages(chosen, {'mask'})] == ['mask']
    alone = Segmentation(STAMP, camera, mask, mask, 'x', ())
    blind = FrameSelector(
        bags.types,
        alone,
        SweepView(SensorBundle(STAMP, Modality.CAMERA, camera, {}), alone),
        view=camera,
        stamp_ns=STAMP,
        cloud_stamp_ns=0,
    )
    assert [part for part, _ in blind.messages(chosen, PARTS)] == ['camera_info', 'mask']
