"""What `/diagnostics` says of masks: levels, silence, latencies."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import ERROR, OK, WARN
from sam_ad_perception.nodes.segmentation.diagnostics import (
    KEPT_FRAMES,
    NodeReport,
    SegmentationDiagnostics,
    StageLatencies,
    ViewReport,
)

RUNNING = NodeReport('active', '', 0, 1)
MASK = FrameStatus(1, 'net', ('camera',), latency_ms={'network': 3.0}, reason='the only one')
FRESH = ViewReport(
    name='',
    frame_id='camera_optical',
    active_since=0.0,
    masks=10,
    unwanted=0,
    drops={},
    last_mask=MASK,
    last_mask_at=10.0,
    last_drop=None,
    latencies={'network': (1.0, 2.0, 3.0)},
    wanted=True,
    epoch=0,
    inputs=None,
)
SYNC = SegmentationConfig().bundler.sync
SILENCE = SYNC.deadline_s + max(each.max_age_s for each in SYNC.sensors.values() if each.enabled)


def judge(report, now, node=RUNNING):
    (told,) = SegmentationDiagnostics(SegmentationConfig()).diagnose_view(report, node, {}, now)
    return told


def test_masks_from_all_sensors_are_well_and_told_with_expert_and_reason():
    told = judge(FRESH, 10.1)
    assert (told.name, told.level, told.message) == ('output', OK, 'net on camera')
    values = dict(told.values)
    assert (values['expert'], values['used'], values['reason']) == (
        'net',
        'camera',
        'the only one',
    )
    assert values['latency_ms/network/p95'] == '2.0'


def test_a_view_names_its_entries():
    assert judge(replace(FRESH, name='front'), 10.1).name == 'front/output'


def test_a_degraded_mask_is_a_warning():
    told = judge(replace(FRESH, last_mask=replace(MASK, missing={'lidar': 'silent'})), 10.1)
    assert (told.level, told.message) == (WARN, 'net on camera; lidar missing: silent')


def test_silence_is_an_error_only_when_it_lasts_longer_than_sensors_may():
    assert judge(FRESH, 10.0 + 0.9 * SILENCE).level == OK
    told = judge(FRESH, 10.0 + 1.1 * SILENCE)
    assert (told.level, told.message) == (ERROR, 'no mask: no reference frame came')
    why = FrameStatus(2, dropped='no network can run')
    told = judge(replace(FRESH, drops={'x': 1}, last_drop=why), 10.0 + 1.1 * SILENCE)
    assert (told.level, told.message) == (ERROR, 'no mask: no network can run')


def test_before_the_first_mask_it_is_a_warning_and_then_an_error():
    begun = replace(FRESH, masks=0, last_mask=None, last_mask_at=None, active_since=10.0)
    assert judge(begun, 10.1).level == WARN
    assert judge(begun, 10.0 + 1.1 * SILENCE).level == ERROR
    assert judge(replace(begun, wanted=False), 10.0 + 1.1 * SILENCE).level == OK


def test_a_node_that_cannot_run_says_why():
    told = judge(FRESH, 10.1, replace(RUNNING, problem='the GPU was lost'))
    assert (told.level, told.message) == (ERROR, 'the GPU was lost')
    told = judge(replace(FRESH, active_since=None), 10.1, replace(RUNNING, state='inactive'))
    assert (told.level, told.message) == (WARN, 'the node is inactive')


def test_rates_are_those_since_the_last_time():
    diagnostics = SegmentationDiagnostics(SegmentationConfig())
    diagnostics.diagnose_view(FRESH, RUNNING, {}, 10.0)
    later = replace(FRESH, masks=30, last_mask_at=12.0)
    (told,) = diagnostics.diagnose_view(later, RUNNING, {}, 12.0)
    assert dict(told.values)['rate_hz'] == '10.00'


def test_percentiles_are_those_of_the_latest_masks():
    latencies = StageLatencies()
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 5.0, 2 * KEPT_FRAMES)
    for each in values:
        latencies.add({'network': float(each)})
    found = latencies.percentiles()['network']
    expected = np.percentile(values[KEPT_FRAMES:], (50, 95, 99), method='higher')
    np.testing.assert_allclose(found, expected)
