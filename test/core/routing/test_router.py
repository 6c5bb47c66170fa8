"""The router against a table of cases, and against its promises on random situations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_ad_perception.core.routing.router import (
    ExpertSpec,
    Route,
    RouterState,
    RoutingConfig,
    RoutingDecision,
    RoutingInput,
    route,
)
from sam_ad_perception.core.routing.table import (
    RoutingRow,
    RoutingTable,
    load_routing_table,
    save_routing_table,
)

SENSORS = ('camera', 'thermal', 'event', 'lidar')
AD = ExpertSpec('ad_sam', ('camera',), ('camera',))
FUSION = ExpertSpec('fusion_sam', ('camera', 'thermal'), ('camera', 'thermal'))
MLE = ExpertSpec('mle_sam', SENSORS)
AT_ONCE = RoutingConfig(recovery_frames=1, min_gain=0.4)


ALL = 'mle_sam on camera+thermal+event+lidar'
NO_EVENT = 'mle_sam on camera+thermal+lidar'


def row(expert: str, subset: str, miou: float, **more: object) -> RoutingRow:
    names = {'c': 'camera', 't': 'thermal', 'e': 'event', 'l': 'lidar'}
    return RoutingRow(expert, tuple(names[letter] for letter in subset), miou, **more)


TABLE = RoutingTable(
    'drives',
    'val',
    'cityscapes',
    (400, 640),
    (
        row('ad_sam', 'c', 68.0, conditions={'day': 72.0, 'night': 30.0}, latency_ms=40.0),
        row('fusion_sam', 'ct', 70.0, conditions={'day': 71.0, 'night': 66.0}, latency_ms=60.0),
        row('mle_sam', 'ctel', 73.0, conditions={'day': 74.0, 'night': 70.0}, latency_ms=200.0),
        row('mle_sam', 'ctl', 73.5, conditions={'day': 73.0, 'night': 71.0}, latency_ms=150.0),
        row('mle_sam', 'c', 55.0, conditions={'day': 60.0, 'night': 25.0}, latency_ms=50.0),
        row('mle_sam', 'tl', 50.0, conditions={'day': 50.0, 'night': 51.0}, latency_ms=90.0),
        row('mle_sam', 'l', 30.0, conditions={'day': 31.0, 'night': 31.0}, latency_ms=50.0),
    ),
)


def routing_input(present: str, **more: object) -> RoutingInput:
    names = {'c': 'camera', 't': 'thermal', 'e': 'event', 'l': 'lidar'}
    there = frozenset(names[letter] for letter in present)
    missing = {name: 'unplugged' for name in SENSORS if name not in there}
    return RoutingInput(there, missing, **more)


@pytest.mark.parametrize(
    ('present', 'more', 'config', 'expected'),
    [
        # a sensor is left out where the mask was measured to be better without it
        ('ctel', {}, AT_ONCE, NO_EVENT),
        ('ctel', {}, replace(AT_ONCE, choose_subsets=False), ALL),
        # but not for a gain that may be chance
        ('ctel', {}, replace(AT_ONCE, min_gain=0.6), ALL),
        ('ct', {}, AT_ONCE, 'fusion_sam on camera+thermal'),
        ('c', {}, AT_ONCE, 'ad_sam on camera'),
        ('tel', {}, AT_ONCE, 'mle_sam on thermal+lidar'),
        ('cl', {}, AT_ONCE, 'ad_sam on camera'),
        # the condition decides where it is sure
        ('ctel', {'condition': 'day', 'confidence': 0.9}, AT_ONCE, ALL),
        ('ctel', {'condition': 'day', 'confidence': 0.7}, AT_ONCE, NO_EVENT),
        ('ctel', {'condition': 'fog', 'confidence': 1.0}, AT_ONCE, NO_EVENT),
        ('c', {'condition': 'night', 'confidence': 1.0}, AT_ONCE, 'ad_sam on camera'),
        # the budget
        ('ctel', {}, replace(AT_ONCE, latency_budget_ms=100.0), 'fusion_sam on camera+thermal'),
        ('tl', {}, replace(AT_ONCE, latency_budget_ms=80.0), 'mle_sam on lidar'),
        (
            'ct',
            {'latency_ms': {Route('fusion_sam', ('camera', 'thermal')): 101.0}},
            replace(AT_ONCE, latency_budget_ms=100.0),
            'ad_sam on camera',
        ),
        # nothing measured for events alone: the network runs all the same, and says so
        ('e', {}, AT_ONCE, 'mle_sam on event'),
    ],
)  # fmt: skip
def test_best_possible_choice_is_taken(
    present: str, more: dict, config: RoutingConfig, expected: str
) -> None:
    decision, _ = route(
        routing_input(present, **more), RouterState(), (AD, FUSION, MLE), TABLE, config
    )
    assert str(decision.choice) == expected
    assert decision.reason.startswith(expected)


def test_reason_tells_figure_and_what_is_missing() -> None:
    decision, _ = route(routing_input('ct'), RouterState(), (AD, FUSION, MLE), TABLE, AT_ONCE)
    assert decision.reason == (
        'fusion_sam on camera+thermal: 70.0 mIoU measured (drives), best of 3 possible; '
        'missing: event unplugged, lidar unplugged'
    )


def test_nothing_possible_gives_the_reason_of_each_network() -> None:
    broken = replace(MLE, unusable='has no checkpoint')
    decision, state = route(
        routing_input('tl'), RouterState(), (AD, FUSION, broken), TABLE, AT_ONCE
    )
    assert decision == RoutingDecision(
        None,
        'no network can run: ad_sam needs camera (camera: unplugged); '
        'fusion_sam needs camera (camera: unplugged); mle_sam has no checkpoint',
    )
    assert state == RouterState()
    decision, _ = route(routing_input(''), RouterState(), (MLE,), None, AT_ONCE)
    assert decision.choice is None
    assert (
        'mle_sam needs one of camera, thermal, event, lidar (camera: unplugged;' in decision.reason
    )


def decider(
    experts: tuple[ExpertSpec, ...], table: RoutingTable | None, config: RoutingConfig
) -> Callable[[str], RoutingDecision]:
    """Decides frame by frame, by the letters of the sensors that are there."""
    state = RouterState()

    def decide(letters: str) -> RoutingDecision:
        nonlocal state
        decision, state = route(routing_input(letters), state, experts, table, config)
        return decision

    return decide


def test_single_network_without_table_takes_all_that_is_there() -> None:
    decide = decider((MLE,), None, RoutingConfig(recovery_frames=2))
    chosen = [decide(p).choice for p in ('ctel', 'tel', 'ctel', 'ctel', 'ctel')]
    letters = [''.join(name[0] for name in choice.subset) for choice in chosen if choice]
    assert letters == ['ctel', 'tel', 'tel', 'ctel', 'ctel']


def test_flapping_sensor_is_not_taken_back() -> None:
    decide = decider((AD, FUSION), TABLE, RoutingConfig(recovery_frames=3))
    chosen = [decide(p).choice for p in ['ct'] + ['c', 'ct', 'ct'] * 5]
    assert {choice.expert for choice in chosen[1:] if choice} == {'ad_sam'}
    for _ in range(3):
        decision = decide('ct')
    assert decision.choice == Route('fusion_sam', ('camera', 'thermal'))


def test_waiting_for_a_better_choice_is_told() -> None:
    decide = decider((AD, FUSION), TABLE, RoutingConfig(recovery_frames=3))
    decide('c')
    assert 'until fusion_sam on camera+thermal has been possible' in decide('ct').reason


ALL_SUBSETS = list(chain.from_iterable(combinations(SENSORS, n) for n in range(5)))


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable | None:
    options = [
        (expert.key, subset)
        for expert in (AD, FUSION, MLE)
        for subset in ALL_SUBSETS
        if subset and set(expert.required) <= set(subset) <= set(expert.modalities)
    ]
    chosen = draw(st.lists(st.sampled_from(options), unique=True, max_size=12))
    if not chosen:
        return None
    miou = st.floats(0, 100)
    rows = tuple(
        RoutingRow(expert, subset, draw(miou), {'night': draw(miou)}, draw(st.floats(0, 200)))
        for expert, subset in chosen
    )
    return RoutingTable('drives', 'val', 'cityscapes', (400, 640), rows)


@given(
    table=tables(),
    frames=st.lists(
        st.tuples(st.sampled_from(ALL_SUBSETS), st.sampled_from(['', 'night']), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    recovery_frames=st.integers(1, 5),
    budget_ms=st.sampled_from([0.0, 100.0]),
)
@settings(max_examples=150, deadline=None)
def test_router_keeps_its_promises(table, frames, recovery_frames, budget_ms) -> None:
    """Never ineligible, never oscillating, always a decision or a reason."""
    config = RoutingConfig(recovery_frames=recovery_frames, latency_budget_ms=budget_ms)
    state, last, since_switch = RouterState(), None, 10**6
    for present, condition, ad_broken in frames:
        experts = (replace(AD, unusable='broken' if ad_broken else ''), FUSION, MLE)
        now = RoutingInput(frozenset(present), {}, condition, 1.0)
        decision, state = route(now, state, experts, table, config)
        assert decision.reason

        def can_run(choice: Route, experts=experts, present=present) -> bool:
            expert = {e.key: e for e in experts}[choice.expert]
            measured = {
                (r.expert, frozenset(r.subset)): r for r in (table.rows if table else ())
            }.get((choice.expert, frozenset(choice.subset)))
            in_time = not budget_ms or measured is None or measured.latency_ms <= budget_ms
            inside = set(expert.required) <= set(choice.subset) <= set(present)
            return bool(not expert.unusable and inside and choice.subset and in_time)

        if decision.choice is None:
            # brute force: no measured row and no whole set of sensors could have run
            runnable = [
                r for r in (table.rows if table else ()) if can_run(Route(r.expert, r.subset))
            ]
            assert not runnable
        else:
            assert can_run(decision.choice)
        if decision.choice != last:
            forced = last is None or decision.choice is None or not can_run(last)
            assert forced or since_switch >= recovery_frames
            since_switch = 0
        since_switch += 1
        last = decision.choice


def test_table_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'routing' / 'drives.yaml'
    save_routing_table(TABLE, path)
    assert load_routing_table(path) == TABLE


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ('label_space: cityscapes', 'label_space: mars', 'label_space must be one of'),
        ('miou: 68.0', 'miou: 168.0', 'miou must be from 0 to 100 percent, got 168.0'),
        ('miou: 68.0', 'miou: high', "rows[0].miou must be float, got 'high'"),
        ('latency_ms: 40.0', 'latency_ms: -1.0', 'latency_ms must not be negative'),
        ('expert: fusion_sam', 'export: fusion_sam', "unknown fields ['export']"),
        ('night: 30.0', 'night: -1.0', 'night must be from 0 to 100'),
    ],
)
def test_wrong_table_is_refused_by_name(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / 'drives.yaml'
    save_routing_table(TABLE, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        load_routing_table(path)
    assert str(path) in str(caught.value)


def test_table_must_not_repeat_itself() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\] repeats mle_sam on \['camera', 'lidar'\]"):
        replace(TABLE, rows=(row('mle_sam', 'cl', 1.0), row('mle_sam', 'lc', 2.0)))
    with pytest.raises(ValueError, match='subset must name sensors, each once'):
        row('mle_sam', 'cc', 1.0)


@pytest.mark.parametrize(
    ('gain', 'chosen'),
    [(0.9, 'ctel'), (1.1, 'tl'), (0.95, 'ctel'), (1.05, 'tl')],
)
def test_the_gain_is_asked_for_each_sensor_that_is_left_out(gain: float, chosen: str) -> None:
    """Two sensors are left out: 0.5 for each is 1.0 in all, not 0.5 and not 2.0."""
    rows = (row('mle_sam', 'ctel', 50.0), row('mle_sam', 'tl', 50.0 + gain))
    config = RoutingConfig(recovery_frames=1, min_gain=0.5)
    decision, _ = route(
        routing_input('ctel'), RouterState(), (MLE,), replace(TABLE, rows=rows), config
    )
    assert decision.choice is not None
    assert ''.join(name[0] for name in decision.choice.subset) == chosen


def test_a_sensor_that_is_not_there_is_not_one_left_out() -> None:
    """Without event and camera anyhow, thermal and lidar leave nothing out."""
    rows = (row('mle_sam', 'tl', 50.0), row('mle_sam', 'l', 50.4))
    config = RoutingConfig(recovery_frames=1, min_gain=0.5)
    table = replace(TABLE, rows=rows)
    decision, _ = route(routing_input('tl'), RouterState(), (MLE,), table, config)
    assert decision.choice == Route('mle_sam', ('thermal', 'lidar'))
