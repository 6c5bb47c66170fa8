"""What single consumers check and do with our topics, written again from their documentation."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import yaml

from sam_ad_perception.commands.labels import main as labels_command
from sam_ad_perception.core.consumers.autoware import CLASSES, autoware_ids, encode_mask
from sam_ad_perception.core.consumers.channels import channel_cloud
from sam_ad_perception.core.consumers.label_files import FORMS, write_labels
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.lidar.visibility import SweepView
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.selections.config import SelectionConfig, resolve
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
    SensorFrame,
)
from test.consumers.conftest import SELECTIONS

SPACE = LABEL_SPACES['cityscapes']
STAMP = 1_700_000_000_000_000_000
PEOPLE = [SPACE.id_of(name) for name in SELECTIONS['people'].classes]


def pixels(message):
    return from_ros.image_to_array(message)[0]


def test_nvblox_splits_the_depth_by_a_mask_of_people(labelled_drive):
    """Depth, mask and each one's camera_info by one stamp; mono8, not 0 is a person."""
    drive = labelled_drive('day')
    found = people = 0
    for stamp_ns, mask in drive.at['/semantic/people/mask'].items():
        info = drive.at['/semantic/people/camera_info'][stamp_ns]
        depth = drive.at['/depth_registered/image_rect'][stamp_ns]
        depth_info = drive.at['/depth_registered/camera_info'][stamp_ns]
        assert mask.header == info.header == depth.header == depth_info.header
        assert (mask.encoding, depth.encoding) == ('mono8', '32FC1')
        assert (info.width, info.height) == (mask.width, mask.height)
        assert (depth.width, depth.height) == (depth_info.width, depth_info.height)
        np.testing.assert_array_equal(info.k, depth_info.k)
        member, metres = pixels(mask) > 0, pixels(depth)
        # what nvblox makes of it is what the selection with `keep` offers by itself
        split = np.where(member, metres, np.nan)
        np.testing.assert_array_equal(split, pixels(drive.at['/semantic/people/depth'][stamp_ns]))
        true = np.isin(pixels(drive.at['/ground_truth/image'][stamp_ns]), PEOPLE)
        true &= np.isfinite(metres) & (metres < 15)
        found += (true & member).sum()
        people += true.sum()
    assert people > 50
    assert found / people > 0.85


def test_rtabmap_takes_depth_without_what_moves(labelled_drive):
    """32FC1, metres, one stamp with the image and its camera_info; NaN and 0 are no depth."""
    drive = labelled_drive('day')
    for stamp_ns, depth in drive.at['/semantic/dynamic/depth'].items():
        image = drive.at['/camera/image_rect'][stamp_ns]
        info = drive.at['/semantic/dynamic/camera_info'][stamp_ns]
        assert depth.header == image.header == info.header
        assert (depth.width, depth.height) == (image.width, image.height)
        metres = pixels(depth)
        whole = pixels(drive.at['/depth_registered/image_rect'][stamp_ns])
        moving = np.isin(pixels(drive.at['/ground_truth/image'][stamp_ns]), range(11, 19))
        taken_out = np.isfinite(whole) & ~np.isfinite(metres)
        assert (np.nan_to_num(metres, nan=1.0) > 0).all()
        assert taken_out[moving & np.isfinite(whole)].mean() > 0.85
        assert taken_out[~moving & np.isfinite(whole)].mean() < 0.1


def test_lidar_odometry_gets_its_cloud_without_what_moves(labelled_drive):
    """Every field of the driver, ring and time of each point too, with the sweep's header."""
    drive = labelled_drive('day')
    for stamp_ns, cloud in drive.at['/semantic/dynamic/points'].items():
        sweep = drive.at['/points'][stamp_ns]
        assert cloud.header == sweep.header
        assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
            (f.name, f.offset, f.datatype) for f in sweep.fields
        ]
        step = sweep.point_step
        rows = [bytes(sweep.data[i : i + step]) for i in range(0, len(sweep.data), step)]
        left = [bytes(cloud.data[i : i + step]) for i in range(0, len(cloud.data), step)]
        place = {row: i for i, row in enumerate(rows)}
        kept = [place[row] for row in left]
        assert kept == sorted(kept)  # in the order of the sweep
        labels = np.asarray(drive.at['/semantic/points/mask'][stamp_ns].data)
        gone = np.ones(len(rows), bool)
        gone[kept] = False
        assert not gone[labels == 255].any()  # what the camera does not see stays
        assert gone[np.isin(labels, range(11, 19))].all()


def decode_runs(data: bytes, height: int, width: int) -> np.ndarray:
    """Autoware's runs: a byte and a little-endian int each, row by row."""
    values: list[int] = []
    for i in range(0, len(data), 5):
        values += [data[i]] * int.from_bytes(data[i + 1 : i + 5], 'little', signed=True)
    return np.array(values, np.uint8).reshape(height, width)


@pytest.mark.parametrize('kind', ['noise', 'blocks', 'one class', 'one pixel'])
def test_autoware_decodes_the_mask_in_its_own_classes(ros, kind):
    rng = np.random.default_rng(0)
    mask = {
        'noise': rng.choice([*range(19), 255], (37, 53)).astype(np.uint8),
        'blocks': np.kron(rng.integers(0, 19, (4, 5)), np.ones((9, 11))).astype(np.uint8),
        'one class': np.full((20, 30), 11, np.uint8),
        'one pixel': np.array([[255]], np.uint8),
    }[kind]
    ids = autoware_ids(SPACE)
    message = ros.round_trip(encode_mask(ros.types, mask, ids, STAMP, 'camera'))
    assert (message.height, message.width) == mask.shape
    decoded = decode_runs(bytes(message.data), *mask.shape)
    told = {'car': 'VEHICLE', 'rider': 'PERSON', 'bicycle': 'BIKE', 'road': 'ROAD', 'sky': 'SKY'}
    for name, theirs in told.items():
        where = mask == SPACE.id_of(name)
        assert (decoded[where] == CLASSES.index(theirs)).all()
    assert (decoded[mask == 255] == 0).all()
    np.testing.assert_array_equal(decoded, ids[mask])
    if kind in ('blocks', 'one class'):
        assert len(message.data) < mask.size


def test_spaces_that_autoware_cannot_read_are_refused():
    assert CLASSES[autoware_ids(LABEL_SPACES['fmb14'])[LABEL_SPACES['fmb14'].id_of('Car')]] == (
        'VEHICLE'
    )
    with pytest.raises(ValueError, match='no mapping'):
        autoware_ids(LABEL_SPACES['mcubes'])


def test_elevation_mapping_averages_the_channels_of_a_cell(ros):
    """Channels are float32 fields by name; a cell holds the mean of the points in it."""
    K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    camera = CameraModel(100, 80, K, frame_id='camera')
    rng = np.random.default_rng(2)
    points = np.column_stack(
        [rng.uniform(-4, 4, 3000), rng.uniform(1, 3, 3000), np.full(3000, 9.0)]
    )
    points = np.vstack([points, [[0.0, 0, -5]]]).astype(np.float32)  # one behind the camera
    sweep = SensorFrame(Modality.LIDAR, STAMP, 'lidar', PointCloud(points))
    T = {Modality.LIDAR: np.eye(4)}
    bundle = SensorBundle(STAMP, Modality.CAMERA, camera, {Modality.LIDAR: sweep}, T_camera=T)
    mask = np.zeros(camera.size, np.uint8)
    mask[:, 50:] = SPACE.id_of('person')
    confidence = np.full(camera.size, 204, np.uint8)
    result = Segmentation(STAMP, camera, mask, confidence, 'x', ())
    config = {'people': SelectionConfig(('person',)), 'ground': SelectionConfig(('road',))}
    view = SweepView(bundle, result)
    cloud = ros.round_trip(
        channel_cloud(ros.types, result, view, resolve(config, SPACE), STAMP + 1)
    )
    assert (from_ros.stamp_of(cloud), from_ros.frame_of(cloud)) == (STAMP + 1, 'lidar')
    assert [(f.name, f.datatype) for f in cloud.fields] == [
        (name, 7) for name in ('x', 'y', 'z', 'people', 'ground')
    ]
    values = np.frombuffer(bytes(cloud.data), '<f4').reshape(-1, 5)
    assert 2000 < len(values) <= 3000  # not those that the camera does not see
    cells = np.floor(values[:, 0]).astype(int)
    for cell in range(-4, 4):
        mean = values[cells == cell, 3:].mean(0)
        # the border between the two halves runs half a pixel left of x = 0
        expected = (0.8, 0.0) if cell >= 0 else (0.0, 0.8)
        np.testing.assert_allclose(mean, expected, atol=0.1)


# Classes for other tools


def test_hydra_reads_its_label_space_and_its_colours(tmp_path):
    assert labels_command(['--as', 'hydra', '--out', str(tmp_path)]) == 0
    space = yaml.safe_load((tmp_path / 'cityscapes_label_space.yaml').read_text())
    assert space['total_semantic_labels'] == 19
    names = {each['label']: each['name'] for each in space['label_names']}
    assert names == dict(enumerate(SPACE.names))
    groups = ('dynamic_labels', 'invalid_labels', 'object_labels', 'surface_places_labels')
    assert sorted(i for group in groups for i in space[group]) == list(range(19))
    assert {names[i] for i in space['surface_places_labels']} == {'road', 'sidewalk', 'terrain'}
    assert space['dynamic_labels'] == list(range(11, 19))
    rows = list(csv.DictReader(io.StringIO((tmp_path / 'cityscapes.csv').read_text())))
    assert list(rows[0]) == ['name', 'red', 'green', 'blue', 'alpha', 'id']
    for row, each in zip(rows, SPACE.classes, strict=True):
        assert (int(row['id']), row['name'], row['alpha']) == (each.id, each.name, '255')
        assert tuple(int(row[c]) for c in ('red', 'green', 'blue')) == each.color


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('space', [s for s in LABEL_SPACES if s != 'mcubes'])
def test_every_form_names_every_class(space, form):
    space = LABEL_SPACES[space]
    files = write_labels(space, form)
    text = '\n'.join(files.values())
    left_out = {'sky', 'unlabeled', 'background'} if form == 'nav2' else set()
    for each in space.classes:
        assert each.name in text or each.name.lower() in left_out, each.name


def test_lists_are_as_their_tools_parse_them():
    (rerun,) = write_labels(SPACE, 'rerun').values()
    assert json.loads(rerun)[11] == {'id': 11, 'label': 'person', 'color': [220, 20, 60]}
    (cvat,) = write_labels(SPACE, 'cvat').values()
    assert json.loads(cvat)[0] == {'name': 'road', 'color': '#804080', 'attributes': []}
    (nav2,) = write_labels(SPACE, 'nav2').values()
    source = yaml.safe_load(nav2)
    assert source['class_types'] == ['ground', 'still', 'moving']
    assert source['moving']['base_cost'] == 254
    with pytest.raises(ValueError, match='labels can be written as hydra'):
        write_labels(SPACE, 'xml')


def test_the_command_lists_classes_and_refuses_unknown_spaces(capsys):
    assert labels_command(['--space', 'fmb14']) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 15
    assert told[1].split() == ['0', 'Road', '#b3e4e4']
    with pytest.raises(ValueError, match='--space must be one of'):
        labels_command(['--space', 'kitti'])
