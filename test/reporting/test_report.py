import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.drive_log import FrameLog
from sam_ad_perception.reporting.drive_report import (
    choose_moments,
    make_legend,
    rate_latency,
    rate_quality,
)
from sam_ad_perception.reporting.page import Moment, Report, render_page
from sam_ad_perception.reporting.pictures import encode_jpeg
from sam_ad_perception.reporting.timeline import MISSING, USED, draw_timeline

SPACE = LABEL_SPACES['cityscapes']
PERIOD_NS = 100_000_000


def _status(index, used, missing=None, dropped=None):
    latency = {} if dropped else {'network': 100.0 + index, 'mask': 10.0}
    return FrameStatus(
        index * PERIOD_NS, 'demo', used, missing or {}, latency_ms=latency, dropped=dropped
    )


@pytest.fixture
def frames():
    statuses = [_status(i, ('camera', 'lidar')) for i in range(5)]
    statuses += [_status(i, ('camera',), {'lidar': 'silent < 0.3 s'}) for i in range(5, 8)]
    statuses += [_status(8, (), dropped='no camera geometry')]
    return [FrameLog(status, miou=0.7) for status in statuses]


def test_the_timeline_has_a_bar_for_each_stretch_and_tells_why(frames):
    svg = ElementTree.fromstring(draw_timeline(frames, ['camera', 'lidar']))
    bars = [(bar.get('fill'), bar.find('title').text) for bar in svg.iter('rect')]
    assert bars == [
        (USED, 'camera: used'),
        (MISSING, 'camera: no mask: no camera geometry'),
        (USED, 'lidar: used'),
        (MISSING, 'lidar: silent < 0.3 s'),
        (MISSING, 'lidar: no mask: no camera geometry'),
    ]
    widths = [float(bar.get('width')) for bar in svg.iter('rect')]
    assert widths[3] / widths[2] == pytest.approx(3 / 5, rel=0.01)
    assert len(list(svg.iter('polyline'))) == 2


def test_a_timeline_without_frames_is_refused():
    with pytest.raises(ValueError, match='at least one frame'):
        draw_timeline([], ['camera'])


def test_moments_show_each_set_of_sensors_once(frames):
    statuses = [frame.status for frame in frames]
    again = [_status(i, ('camera', 'lidar')) for i in range(9, 12)]
    assert choose_moments(statuses + again) == {2 * PERIOD_NS, 6 * PERIOD_NS, 8 * PERIOD_NS}


def test_latency_percentiles_are_those_of_numpy(frames):
    rows = {row.stage: row for row in rate_latency([frame.status for frame in frames])}
    expected = np.percentile([100.0 + i for i in range(8)], (50, 95, 99))
    assert (rows['network'].p50, rows['network'].p95, rows['network'].p99) == pytest.approx(
        tuple(expected)
    )
    assert rows['total'].p50 == pytest.approx(expected[0] + 10.0)


def test_a_measured_total_is_not_added_up_again():
    status = FrameStatus(0, 'demo', ('camera',), latency_ms={'network': 80.0, 'total': 95.0})
    rows = {row.stage: row.p50 for row in rate_latency([status])}
    assert rows == {'network': 80.0, 'total': 95.0}


def test_the_page_is_whole_and_loads_nothing(frames):
    confusion = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    confusion.update(np.array([[0, 0, 1, 0]], np.uint8), truth)
    row = rate_quality('all sensors', confusion, SPACE, 8, 9)
    assert row.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert row.iou['car'] is None
    picture = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    page = render_page(
        Report(
            title='A drive <b>& more',
            facts={'network': 'demo'},
            timeline=draw_timeline(frames, ['camera']),
            moments=[Moment('start', {'camera': picture})],
            quality=[row],
            latency=rate_latency([frame.status for frame in frames]),
            legend=make_legend(SPACE, confusion),
            next_steps={'label a bag': 'sam_ad label BAG --out DIR'},
            video=b'\x1aE\xdf\xa3',
        )
    )
    assert 'A drive &lt;b&gt;&amp; more' in page
    assert '58.3' in page
    assert page.count('<svg') == 1
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith('data:') for source in sources)
    assert set(make_legend(SPACE, confusion)) == {'road', 'sidewalk'}
