import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.drawing.chart import LEFT, RIGHT, WIDTH
from sam_ad_perception.reporting.drawing.palette import MISSING, NOTED, SENSORS
from sam_ad_perception.reporting.drive_log import FrameLog, read_drive_log
from sam_ad_perception.reporting.timeline import draw_timeline

SPACE = LABEL_SPACES['cityscapes']
PERIOD_NS = 100_000_000


def _status(index, used, missing=None, dropped=None, notes=None):
    latency = {} if dropped else {'network': 100.0 + index, 'mask': 10.0}
    gate = {sensor: 1 / len(used) for sensor in used}
    return FrameStatus(
        index * PERIOD_NS, '' if dropped else 'demo', used, missing or {}, gate,
        latency_ms=latency, dropped=dropped, notes=notes or {},
    )  # fmt: skip


@pytest.fixture
def frames():
    statuses = [_status(i, ('camera', 'lidar')) for i in range(5)]
    statuses += [_status(i, ('camera',), {'lidar': f'silent for {i} s'}) for i in range(5, 8)]
    statuses += [_status(8, (), dropped='no camera geometry')]
    statuses += [_status(9, ('camera', 'lidar'), notes={'camera': 'dark'})]
    confusion = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
    confusion.update(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8))
    return [FrameLog(s, None if s.dropped else confusion) for s in statuses]


def _groups(svg):
    return [g for g in svg.iter('g') if g.find('rect') is not None]


def _bars(svg):
    return [(g.find('rect').get('fill'), g.find('title').text) for g in _groups(svg)]


def test_there_is_a_bar_for_each_stretch_and_it_tells_why(frames):
    svg = ElementTree.fromstring(draw_timeline(frames, ['camera', 'lidar']))
    network = _bars(svg)[-3:]
    assert [why for _, why in network] == ['demo', 'no mask: no camera geometry', 'demo']
    assert _bars(svg)[:-3] == [
        (SENSORS['camera'], 'camera: used'),
        (MISSING, 'camera: no mask: no camera geometry'),
        (NOTED, 'camera: used, but dark'),
        (SENSORS['lidar'], 'lidar: used'),
        # The figures differ from frame to frame; it is one stretch all the same.
        (MISSING, 'lidar: silent for 5 s'),
        (MISSING, 'lidar: no mask: no camera geometry'),
        (SENSORS['lidar'], 'lidar: used'),
    ]
    widths = [float(g.find('rect').get('width')) for g in _groups(svg)]
    assert widths[4] / widths[3] == pytest.approx(3 / 5, rel=0.01)


def test_curves_and_gate_stand_where_their_times_are(frames):
    svg = ElementTree.fromstring(draw_timeline(frames, ['camera', 'lidar']))
    miou, _, latency = (
        [tuple(map(float, p.split(','))) for p in line.get('points').split()]
        for line in svg.iter('polyline')
    )
    step = (WIDTH - LEFT - RIGHT) / len(frames)
    columns = [LEFT + i * step for i in range(10) if i != 8]
    assert np.allclose([x for x, _ in miou], columns, atol=0.1)
    # One class is half right, the other never occurs: a quarter, three quarters below the top.
    levels = {y for _, y in miou}
    assert len(levels) == 1
    assert all(np.diff([y for _, y in latency]) < 0)
    camera, lidar = (polygon.get('points').split() for polygon in svg.iter('polygon'))
    heights = [float(p.split(',')[1]) for p in camera[:9]]
    assert heights[5] < heights[0]  # alone, the camera has the whole gate
    assert heights[5] == float(lidar[5].split(',')[1])


def test_conditions_and_faults_have_rows_where_they_are_known(run):
    frames = read_drive_log(run.inputs, run.outputs, SPACE).frames
    svg = ElementTree.fromstring(draw_timeline(frames, ['camera']))
    assert [why for _, why in _bars(svg)[:4]] == ['day', 'night', 'camera black', 'lidar dropout']


def test_a_timeline_without_frames_is_refused():
    with pytest.raises(ValueError, match='at least one frame'):
        draw_timeline([], ['camera'])
