"""Which frames a person is asked to look at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from training.annotation.picks import FrameFacts, parse_where, pick_frames
from training.frames.frame import DatasetError

DAY, NIGHT = 'day', 'night'


def drive(rng, count=200):
    facts = []
    for k in range(count):
        night = k >= 150
        missing = ('camera',) if 160 <= k < 170 else ()
        used = ('lidar',) if missing else ('camera', 'lidar')
        confidence = float(rng.uniform(0.3, 0.9))
        facts.append(
            FrameFacts(
                k * 10**8, k / 10, confidence, used, missing, 'mle', NIGHT if night else DAY
            )
        )
    return facts


@pytest.fixture
def facts(rng):
    return drive(rng)


@pytest.mark.parametrize(
    ('text', 'fits'),
    [
        ('condition=night and missing=camera', lambda f: f.condition == NIGHT and bool(f.missing)),
        ('missing!=camera', lambda f: not f.missing),
        ('used=camera', lambda f: 'camera' in f.used),
        ('missing=lidar', lambda f: False),
        ('confidence<0.5', lambda f: f.confidence < 0.5),
        ("condition='day' and seconds>=3 and seconds<4", lambda f: 3 <= f.seconds < 4),
        (
            'seconds<1 or condition=night and confidence>0.6',
            lambda f: f.seconds < 1 or (f.condition == NIGHT and f.confidence > 0.6),
        ),
    ],
)
def test_where(text, fits, facts):
    test = parse_where(text, facts)
    assert [f.stamp_ns for f in facts if test(f)] == [f.stamp_ns for f in facts if fits(f)]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('conditon=night', "did you mean 'condition'"),
        ('condition=dusk', r"no frame has 'dusk', they have \['day', 'night'\]"),
        ('missing=camra', "no frame has 'camra'"),
        ('confidence=0.5', 'by <, <=, > or >='),
        ('confidence<low', "needs a number, got 'low'"),
        ('condition<night', 'by = or !='),
        ('night', 'expected KEY=VALUE'),
        ('condition=night and', "no frame has 'night and'"),
    ],
)
def test_where_that_means_nothing(text, words, facts):
    with pytest.raises(DatasetError, match=words):
        parse_where(text, facts)


def test_every(facts):
    assert [f.stamp_ns for f in pick_frames(facts, every=7)] == [
        k * 10**8 for k in range(0, 200, 7)
    ]


def test_one_is_the_least_confident_of_all(facts):
    day = [f for f in facts if f.condition == DAY]
    (picked,) = pick_frames(day, least_confident=1)
    assert picked == min(day, key=lambda f: f.confidence)


def test_picks_are_spread_and_doubtful(facts):
    picked = pick_frames(facts, least_confident=20)
    assert len(picked) == 20
    assert [f.condition for f in picked].count(NIGHT) == 10  # a quarter of the drive
    chosen = np.array([f.confidence for f in picked])
    assert chosen.mean() < np.mean([f.confidence for f in facts]) - 0.1
    day = [f.stamp_ns for f in picked if f.condition == DAY]
    # of 10 picks in 15 s none is nearer than half a tenth of it to the next
    assert np.diff(day).min() > 150 * 10**8 / 20 - 10**8
    # a passage that is doubtful throughout does not take all
    worst = [
        f if f.stamp_ns > 2 * 10**9 else replace(f, confidence=0.01, disagreement=0.0)
        for f in facts
    ]
    inside = [f for f in pick_frames(worst, least_confident=20) if f.stamp_ns <= 2 * 10**9]
    assert 1 <= len(inside) <= 4


def test_all_are_taken_where_there_are_no_more(facts):
    few = facts[:5]
    assert pick_frames(few, least_confident=9) == few
    assert pick_frames([], least_confident=3) == []


def test_disagreement_counts(facts):
    same = [FrameFacts(k, confidence=0.8, disagreement=0.1) for k in range(30)]
    same[17] = FrameFacts(17, confidence=0.8, disagreement=0.4)
    assert pick_frames(same, least_confident=1) == [same[17]]
    assert math.isclose(same[17].doubt, 0.6)


def test_corrected_frames_are_not_asked_for_again(facts):
    worst = min(facts, key=lambda f: f.confidence)
    known = [f if f is not worst else FrameFacts(f.stamp_ns, confidence=0.0, corrected=True)
             for f in facts]  # fmt: skip
    assert worst.stamp_ns not in [f.stamp_ns for f in pick_frames(known, least_confident=20)]
    assert worst.stamp_ns in [f.stamp_ns for f in pick_frames(known)]


def test_numbers_and_recordings_without_confidence():
    with pytest.raises(DatasetError, match='--every must be 1 or more'):
        pick_frames([], every=0)
    with pytest.raises(DatasetError, match='needs semantic/confidence'):
        pick_frames([FrameFacts(1)], least_confident=1)
