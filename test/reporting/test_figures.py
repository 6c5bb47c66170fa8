from dataclasses import replace

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import Motion
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.drive_log import DriveLog, read_drive_log
from sam_ad_perception.reporting.fault_table import rate_faults
from sam_ad_perception.reporting.outages import judged_share
from sam_ad_perception.reporting.summary_figures import (
    headline,
    make_legend,
    rate_conditions,
    rate_latency,
    rate_quality,
)

SPACE = LABEL_SPACES['cityscapes']


def test_latency_percentiles_are_those_of_numpy(run):
    rows = {row.stage: row for row in rate_latency(run.statuses)}
    expected = np.percentile([100.0 + 10 * i for i in range(8)], (50, 95, 99))
    found = rows['network'].p50, rows['network'].p95, rows['network'].p99
    assert found == pytest.approx(tuple(expected))
    assert rows['total'].p50 == pytest.approx(expected[0] + 10.0)


def test_a_measured_total_is_not_added_up_again():
    status = FrameStatus(0, 'demo', ('camera',), latency_ms={'network': 80.0, 'total': 95.0})
    rows = {row.stage: row.p50 for row in rate_latency([status])}
    assert rows == {'network': 80.0, 'total': 95.0}


def test_quality_is_told_apart_by_condition_and_fault(run):
    log = read_drive_log(run.inputs, run.outputs, SPACE)
    rows = {row.name: row for row in rate_conditions(log.frames, SPACE)}
    counts = {name: (row.frames, row.expected) for name, row in rows.items()}
    assert counts == {
        'whole drive': (8, 8), 'day, no fault': (2, 2), 'night, no fault': (3, 3),
        'during faults': (3, 3),
    }  # fmt: skip
    assert rows['whole drive'].miou == pytest.approx(log.confusion.miou_of_present())
    truths = np.stack([run.truths[stamp] for stamp in run.stamps])
    assert rows['whole drive'].judged == pytest.approx((truths != SPACE.ignore_id).mean())
    night = np.stack([run.truths[f.status.stamp_ns] for f in log.frames
                      if f.condition == 'night' and not f.faults])  # fmt: skip
    share = rows['night, no fault'].judged
    assert share == pytest.approx((night != SPACE.ignore_id).mean())


def test_the_headline_tells_masks_gap_and_faults(run):
    log = read_drive_log(run.inputs, run.outputs, SPACE)
    told = headline(log, rate_faults(log.frames), rate_latency(run.statuses))
    assert told['masks'] == '8 / 8'
    assert told['longest gap, bag time'] == '100 ms'
    assert told['faults noticed'] == '2 / 2'
    assert 'flicker' not in told
    assert 'mIoU of the drive' in told
    # half of the pixels without a truth, as in a tunnel
    half = DriveLog(tuple(replace(f, pixels=2 * f.pixels) for f in log.frames))
    assert judged_share(half.frames) == pytest.approx(judged_share(log.frames) / 2)
    assert 'mIoU of the drive, 50 % of the pixels judged' in headline(half, [], [])


def test_the_headline_tells_how_many_frames_are_unlike_the_training(run):
    log = read_drive_log(run.inputs, run.outputs, SPACE)
    assert 'unlike training' not in headline(log, (), ())
    values = [0.5, 1.5, None, 0.9]
    frames = tuple(
        replace(frame, status=replace(frame.status, unlike_training=value))
        for frame, value in zip(log.frames, values, strict=False)
    )
    told = headline(replace(log, frames=frames), (), ())
    assert told['unlike training'] == '33 %'


def test_the_headline_tells_how_much_flickers(run):
    log = read_drive_log(run.inputs, run.outputs, SPACE)
    stability = MaskStability(len(SPACE))
    mask = np.zeros((10, 20), np.uint8)
    flicker = mask.copy()
    flicker[:, :2] = 1
    still = Motion(np.zeros((10, 20, 2), np.float32), np.ones((10, 20), bool))
    stability.update(mask, flicker, still)
    told = headline(log, [], [], stability)
    assert (told['flicker'], told['mTC']) == ('10.0 %', '45.0 %')
    empty = headline(log, [], [], MaskStability(len(SPACE)))
    assert 'flicker' not in empty


def test_rows_and_legend_know_the_classes_that_occur():
    confusion = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    confusion.update(np.array([[0, 0, 1, 0]], np.uint8), truth)
    row = rate_quality('all', confusion, SPACE, 8, 9)
    assert row.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert row.iou['car'] is None
    assert set(make_legend(SPACE, confusion)) == {'road', 'sidewalk'}
    assert len(make_legend(SPACE, None)) == len(SPACE)
