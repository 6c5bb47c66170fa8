"""A rerun file holds what was written into it, as rerun's own reader gives it back."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sam_ad_perception.commands.label import main as label
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.reporting.rerun_file import RerunFile

SPACE = LABEL_SPACES['cityscapes']
START = 1_700_000_000_000_000_000
K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
CAMERA = CameraModel(64, 48, K, frame_id='camera_optical')
INSTALLED = importlib.util.find_spec('rerun') is not None


@pytest.fixture
def frames():
    """Three frames with picture, sweep and depth, and one without a sensor."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(4):
        stamp_ns = START + k * 100_000_000
        mask = rng.integers(0, 19, CAMERA.size).astype(np.uint8)
        depth = np.where(rng.random(CAMERA.size) < 0.5, np.nan, 7.0).astype(np.float32)
        points = rng.uniform((-2, -1, 4), (2, 1, 9), (200, 3)).astype(np.float32)
        picture = cv2.resize(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8), (64, 48))
        sensors = {
            Modality.CAMERA: SensorFrame(Modality.CAMERA, stamp_ns, 'camera_optical', picture),
            Modality.LIDAR: SensorFrame(Modality.LIDAR, stamp_ns, 'lidar', PointCloud(points)),
        }
        T = np.eye(4)
        T[2, 3] = 0.5
        bundle = SensorBundle(
            stamp_ns, Modality.CAMERA, CAMERA, sensors, T_camera={Modality.LIDAR: T}
        )
        result = Segmentation(
            stamp_ns, CAMERA, mask, mask, 'tiny', (Modality.CAMERA, Modality.LIDAR), depth=depth
        )
        if k == 3:
            bundle = replace(bundle, frames={}, T_camera={})
            missing = {Modality.CAMERA: 'silent'}
            result = replace(result, depth=None, used=(Modality.EVENT,), missing=missing)
        made.append((bundle, result))
    return made


def read(path):
    """Entity -> component -> values by row, and the stamps of the rows."""
    chunk = pytest.importorskip('rerun.chunk', reason='rerun-sdk without a reader')
    found = {}
    for each in chunk.RrdReader(path).stream().to_chunks():
        batch = each.to_record_batch()
        for name in batch.schema.names:
            column = batch.column(name)
            times = str(column.type).startswith('timestamp')
            rows = column.cast('int64').to_pylist() if times else column.to_pylist()
            found.setdefault(str(each.entity_path), {}).setdefault(name, []).extend(rows)
    return found


@pytest.mark.skipif(not INSTALLED, reason='rerun-sdk is not installed')
def test_what_was_written_is_read_back(tmp_path, frames):
    path = tmp_path / 'out' / 'drive.rrd'
    with RerunFile(path, SPACE) as file:
        for bundle, result in frames:
            file.add(bundle, result)
        assert not path.exists()
    found = read(path)
    view = '/camera_optical/view'
    assert {'/', '/status', f'{view}/image', f'{view}/mask', f'{view}/depth'} <= set(found)
    masks = [
        np.array(row[0], np.uint8) for row in found[f'{view}/mask']['SegmentationImage:buffer']
    ]
    assert len(masks) == 4
    for mask, (_, result) in zip(masks, frames, strict=True):
        np.testing.assert_array_equal(mask.reshape(CAMERA.size), result.mask)
    depths = [bytes(row[0]) for row in found[f'{view}/depth']['DepthImage:buffer']]
    assert len(depths) == 3
    for depth, (_, result) in zip(depths, frames[:3], strict=True):
        values = np.frombuffer(depth, '<f4').reshape(CAMERA.size)
        np.testing.assert_array_equal(values, np.nan_to_num(result.depth, nan=0.0))
    clouds = found['/camera_optical/points']
    assert len(clouds['Points3D:positions']) == 3
    for k, positions in enumerate(clouds['Points3D:positions']):
        bundle = frames[k][0]
        sent = bundle.frames[Modality.LIDAR].data.points + np.array([0, 0, 0.5])
        np.testing.assert_allclose(np.array(positions), sent, rtol=1e-6)
        assert len(clouds['Points3D:class_ids'][k]) == 200
    (context,) = found['/']['AnnotationContext:context']
    named = {each['class_id']: each['class_description'] for each in context[0]}
    assert {i: each['info']['label'] for i, each in named.items()} == {
        **dict(enumerate(SPACE.names)),
        255: 'unlabeled',
    }
    texts = [row[0] for row in found['/status']['TextLog:text']]
    assert texts[0] == 'tiny on camera + lidar'
    assert 'camera missing: silent' in texts[3]
    assert [row[0] for row in found['/status']['TextLog:level']] == ['INFO'] * 3 + ['WARN']
    assert found['/status']['stamp'] == [result.stamp_ns for _, result in frames]
    jpeg = np.array(found[f'{view}/image']['EncodedImage:blob'][0][0], np.uint8)
    shown = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    sent = frames[0][0].frames[Modality.CAMERA].data
    assert np.abs(shown.astype(int) - sent).mean() < 6


@pytest.mark.skipif(not INSTALLED, reason='rerun-sdk is not installed')
def test_a_file_that_is_not_finished_does_not_appear(tmp_path, frames):
    path = tmp_path / 'drive.rrd'

    def write():
        with RerunFile(path, SPACE) as file:
            file.add(*frames[0])
            raise RuntimeError('stop')

    with pytest.raises(RuntimeError, match='stop'):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(INSTALLED, reason='rerun-sdk is installed')
def test_without_rerun_the_extra_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'rerun-sdk is not installed: pip install .*rerun-sdk'):
        RerunFile(tmp_path / 'drive.rrd', SPACE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_recordings_has_no_rerun_file(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / 'bags' / name).mkdir(parents=True)
        (tmp_path / 'bags' / name / 'metadata.yaml').write_text('')
    words = [str(tmp_path / 'bags'), '--out', str(tmp_path / 'out'), '--rerun', 'x.rrd']
    with pytest.raises(ValueError, match='--rerun is of one recording'):
        label(words)
