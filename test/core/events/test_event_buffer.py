"""The event buffer against a plain list of all events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.events.buffer import EventBuffer
from sam_ad_perception.core.events.decoding import empty_events
from sam_ad_perception.core.sensors import Events

SIZE = (48, 64)


def events_at(times: list[int], size: tuple[int, int] = SIZE) -> Events:
    """Events whose column tells them apart."""
    n = len(times)
    return Events(
        np.array([t % 64 for t in times], np.uint16),
        np.zeros(n, np.uint16),
        np.ones(n, np.bool_),
        np.array(times, np.int64),
        size,
    )


@given(
    steps=st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=1, max_size=12),
    end=st.integers(-20, 600),
    duration=st.integers(1, 300),
)
def test_window_is_what_a_list_would_give(steps: list[list[int]], end: int, duration: int) -> None:
    buffer = EventBuffer(max_duration_ns=10_000)
    everything: list[int] = []
    now = 0
    for chunk in steps:
        times = (now + np.cumsum(chunk, dtype=np.int64)).tolist()
        now = times[-1] if times else now
        everything += times
        buffer.add(events_at(times))
    window = buffer.window(end, duration)
    if not everything:
        assert window is None
        return
    assert window is not None
    wanted = [t for t in everything if end - duration <= t < end]
    assert window.t_ns.tolist() == wanted
    assert window.x.tolist() == [t % 64 for t in wanted]
    assert window.start_ns == end - duration
    assert len(buffer) == len(everything)


def test_an_event_exactly_at_the_start_of_the_window_is_in_it_and_one_at_its_end_is_not() -> None:
    buffer = EventBuffer(max_duration_ns=10_000)
    buffer.add(events_at([99, 100, 200]))
    window = buffer.window(200, 100)
    assert window is not None
    assert window.t_ns.tolist() == [100]


def test_a_window_that_ends_with_a_packet_is_complete_without_the_next() -> None:
    buffer = EventBuffer(max_duration_ns=10_000)
    buffer.add(events_at([250, 299]))
    before = buffer.window(300, 100)
    buffer.add(events_at([300, 301]))  # the packet of [300, 400)
    after = buffer.window(300, 100)
    assert before is not None
    assert after is not None
    assert before.t_ns.tolist() == after.t_ns.tolist() == [250, 299]


def test_time_bound() -> None:
    buffer = EventBuffer(max_duration_ns=100)
    for start in range(0, 1000, 10):
        buffer.add(events_at([start, start + 9]))
    assert len(buffer) <= 24
    window = buffer.window(999, 100)
    assert window is not None
    assert window.t_ns.size == 20
    assert buffer.dropped == 0


def test_count_bound_counts_what_it_drops() -> None:
    buffer = EventBuffer(max_duration_ns=10**9, max_events=50)
    for start in range(0, 100, 20):
        buffer.add(events_at(list(range(start, start + 20))))
    assert len(buffer) == 40
    assert buffer.dropped == 60
    buffer.add(events_at(list(range(100, 180))))
    assert len(buffer) == 50
    assert buffer.dropped == 130
    window = buffer.window(1000, 1000)
    assert window is not None
    assert window.t_ns.tolist() == list(range(130, 180))


def test_backward_jump_and_new_size_start_anew() -> None:
    buffer = EventBuffer()
    buffer.add(events_at([100, 200]))
    buffer.add(events_at([50]))
    assert len(buffer) == 1
    buffer.add(events_at([60], size=(10, 64)))
    assert len(buffer) == 1
    assert buffer.restarts == 2
    buffer.add(empty_events(SIZE))
    assert len(buffer) == 1, 'a packet without events changes nothing'


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match='positive, got 0'):
        EventBuffer(max_duration_ns=0)
