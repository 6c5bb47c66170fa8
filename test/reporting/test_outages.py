"""Outages as the simulated faults are known to be, and the sentence that an engineer would say."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.drive_log import DriveLog, FrameLog, read_drive_log
from sam_ad_perception.reporting.outages import find_outages, judged_share, say_summary

SENSORS = ('camera', 'thermal')
PERIOD = 100_000_000


def frame(index, missing=None, *, miou=None, dropped=None, condition='day', latency=50.0):  # type: ignore[no-untyped-def]
    """One frame of a run; `miou` of a mask of two classes, one of them `miou` right."""
    missing = missing or {}
    used = () if dropped else tuple(sensor for sensor in SENSORS if sensor not in missing)
    confusion = None
    if miou is not None:
        confusion = ConfusionMatrix(1)
        confusion.counts[0] = [round(100 * miou), 100 - round(100 * miou)]
    status = FrameStatus(
        index * PERIOD, '' if dropped else 'net', used, missing, dropped=dropped,
        latency_ms={} if dropped else {'total': latency},
    )  # fmt: skip
    return FrameLog(status, confusion, condition, {}, 100 if confusion else 0)


BLACK = {'camera': 'black: 98 % of the pixels are at most 0 of 255'}
BACK = {'camera': 'recovering: 1 of 2 good frames'}


def test_an_outage_ends_with_the_first_frame_that_has_the_sensor_again() -> None:
    frames = [frame(0, miou=0.8), frame(1, BLACK, miou=0.5), frame(2, BLACK, miou=0.5),
              frame(3, BACK, miou=0.6), frame(4, miou=0.8)]  # fmt: skip
    (found,) = find_outages(frames, SENSORS)
    assert (found.sensor, found.start_s, found.end_s) == ('camera', 0.1, 0.4)
    assert found.cause.startswith('black: 98 %')  # not that it recovered
    assert found.kind == 'black'
    assert (found.instead, found.masks, found.frames) == ('thermal', 3, 3)
    assert found.middle_ns == 2 * PERIOD
    assert found.miou == pytest.approx(160 / 300)
    assert found.miou_else == pytest.approx(0.8)
    assert found.cost == pytest.approx(0.8 - 160 / 300)
    assert not found.same_frames


def test_the_cost_is_that_of_the_same_frames_where_they_were_made_without_the_fault() -> None:
    frames = [frame(0, miou=0.9), frame(1, BLACK, miou=0.5)]
    twin = ConfusionMatrix(1)
    twin.counts[0] = [70, 30]
    (found,) = find_outages(frames, SENSORS, {PERIOD: twin})
    assert found.cost == pytest.approx(0.2)
    assert found.same_frames


def test_light_that_no_whole_frame_has_is_not_compared() -> None:
    frames = [frame(0, miou=0.9), frame(1, BLACK, miou=0.5, condition='night')]
    (found,) = find_outages(frames, SENSORS)
    assert found.cost is None


def test_a_frame_without_mask_and_without_a_named_sensor_is_an_outage_of_the_mask() -> None:
    (found,) = find_outages([frame(0), frame(1, dropped='too late'), frame(2)], SENSORS)
    assert (found.sensor, found.cause, found.instead) == ('mask', 'no mask: too late', '')
    assert (found.masks, found.frames) == (0, 1)


def test_the_sentence_says_what_failed_and_whose_time_a_figure_is() -> None:
    gone = {'thermal': 'no frame within 50 ms of the reference, the last came 2 s ago'}
    frames = [frame(i, BLACK if 2 <= i < 4 else gone if 6 <= i < 8 else None) for i in range(10)]
    frames[9] = frame(9, latency=410.0)
    said = say_summary(DriveLog(tuple(frames)), find_outages(frames, SENSORS))
    assert said == (
        'Camera black 0.2 to 0.4 s, thermal missing 0.6 to 0.8 s; 10 of 10 masks, 4 without a '
        'sensor; longest gap 100 ms of bag time, slowest mask 410 ms on the machine that made it.'
    )
    well = [frame(i) for i in range(3)]
    assert say_summary(DriveLog(tuple(well)), []).startswith(
        'Every sensor in every mask; 3 of 3 masks; longest gap 100 ms of bag time'
    )
    many = [frame(i, BLACK if i % 2 else None) for i in range(20)]
    assert ', 6 more outages; ' in say_summary(DriveLog(tuple(many)), find_outages(many, SENSORS))


def test_the_known_faults_of_a_simulated_drive_are_found(run) -> None:  # type: ignore[no-untyped-def]
    space = LABEL_SPACES['cityscapes']
    log = read_drive_log(run.inputs, run.outputs, space)
    found = {each.sensor: each for each in find_outages(log.frames, ('camera', 'lidar'))}
    assert set(found) == {'camera', 'lidar'}
    assert (found['camera'].start_s, found['camera'].end_s) == (
        pytest.approx(0.3, abs=0.02), pytest.approx(0.4, abs=0.02))  # fmt: skip
    assert found['lidar'].frames == 1
    judged = sum(int((truth != space.ignore_id).sum()) for truth in run.truths.values())
    pixels = sum(truth.size for truth in run.truths.values())
    assert judged_share(log.frames) == pytest.approx(judged / pixels)
    assert np.isfinite(found['camera'].miou)
