"""Runs of a drive side by side: masks, rate, what was dropped."""

from __future__ import annotations

import pytest

from sam_ad_perception.nodes.replay.summary import ReplayStats
from sam_ad_perception.reporting.drive_page import PageText, write_drive_page
from sam_ad_perception.reporting.run_rates import RunRate, head_rates, read_rate, say_rate

LOCKSTEP = RunRate('lockstep', 'waits', 140, 140, 28.0, 100.0, 190.0)
LIVE = RunRate('live', 'does not', 140, 29, 14.5, 500.0, 900.0)


def test_rate_and_share_are_those_of_the_run() -> None:
    assert LOCKSTEP.rate_hz == pytest.approx(5)
    assert LIVE.rate_hz == pytest.approx(2)
    assert LOCKSTEP.dropped == 0
    assert pytest.approx(111 / 140) == LIVE.dropped
    assert say_rate(LIVE) == (
        'live: 29 of 140 masks, 2.0 per second of wall-clock time, 79 % of the frames dropped, '
        'longest gap 500 ms of bag time'
    )
    assert RunRate('live', '', 0, 0, 0.0).rate_hz == 0


def test_what_a_replay_writes_is_read() -> None:
    ledger = ReplayStats()
    for k in range(10):
        ledger.send(k * 100_000_000, now=0.1 * k)
    for k in (2, 7):
        ledger.on_mask(k * 100_000_000, now=0.1 * k + 0.4)
    rate = read_rate('live', 'x', ledger.figures())
    assert (rate.frames, rate.masks, rate.dropped) == (10, 2, 0.8)
    assert rate.gap_ms == pytest.approx(500)
    assert rate.wall_s == pytest.approx(1.1)


def test_the_page_heads_with_both_rates(run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from sam_ad_perception.core.labels import LABEL_SPACES

    told: list[str] = []
    space = LABEL_SPACES['cityscapes']
    text = PageText('mine', runs=(LOCKSTEP, LIVE))
    page = write_drive_page(run.inputs, run.outputs, tmp_path, space, text, tell=told.append)
    content = page.read_text()
    for figure in ('140 / 140', '29 / 140', '5.0 per s', '2.0 per s', '79.3'):
        assert figure in content
    assert set(head_rates((LOCKSTEP, LIVE))) == {
        'masks, lockstep', 'lockstep, wall clock', 'masks, live', 'live, wall clock'}  # fmt: skip
    assert 'Live: 29 of 140 masks' not in told[0]
    assert 'Lockstep: 140 of 140 masks' in told[0]
    assert 'live: 29 of 140 masks, 2.0 per second' in told[0]
    assert 'needs ROS 2' not in content


def test_a_page_without_a_live_run_says_so(run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from sam_ad_perception.core.labels import LABEL_SPACES

    text = PageText('mine', runs=(RunRate('offline', 'one by one', 8, 8, 2.0),))
    page = write_drive_page(run.inputs, run.outputs, tmp_path, LABEL_SPACES['cityscapes'], text)
    assert 'No live run was made' in page.read_text()
