"""Events as images, against numpy event by event, and against tonic where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.events.representations import (
    accumulate_counts,
    event_image,
    time_surface,
    voxel_grid,
)
from sam_ad_perception.core.sensors import Events

MS = 1_000_000
END = 1_700_000_000_000_000_000
SIZE = (12, 16)


def make_events(count: int, seed: int, duration_ns: int = 30 * MS) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        rng.integers(0, SIZE[1], count).astype(np.uint16),
        rng.integers(0, SIZE[0], count).astype(np.uint16),
        rng.random(count) < 0.5,
        np.sort(rng.integers(END - duration_ns, END + 1, count)),
        SIZE,
    )


SEEDS = st.integers(0, 10_000)
COUNTS = st.integers(0, 300)


@given(seed=SEEDS, count=COUNTS)
def test_counts_against_numpy(seed: int, count: int) -> None:
    events = make_events(count, seed)
    wanted = np.zeros((2, *SIZE), np.uint16)
    np.add.at(wanted, (np.where(events.polarity, 0, 1), events.y, events.x), 1)
    np.testing.assert_array_equal(accumulate_counts(events), wanted)


def test_counts_saturate() -> None:
    n = 70_000
    zeros = np.zeros(n, np.uint16)
    events = Events(zeros, zeros, np.ones(n, np.bool_), np.zeros(n, np.int64), (1, 1))
    assert accumulate_counts(events).tolist() == [[[65535]], [[0]]]


@given(seed=SEEDS, count=COUNTS)
def test_image_shows_which_polarities_each_pixel_saw(seed: int, count: int) -> None:
    events = make_events(count, seed)
    channel = 2 * events.polarity.astype(int)  # ON is blue, OFF is red, their sum is both
    wanted = np.zeros((*SIZE, 3), np.uint8)
    wanted[events.y, events.x, channel] = 255
    np.testing.assert_array_equal(event_image(events), wanted)


def test_image_takes_other_colours_and_refuses_what_is_none() -> None:
    events = make_events(1, 0)
    white = event_image(events, ((255, 255, 255), (0, 0, 0), (1, 2, 3), (9, 9, 9)))
    seen = white[events.y[0], events.x[0]].tolist()
    assert seen == ([0, 0, 0] if events.polarity[0] else [1, 2, 3])
    assert (white == 255).all(axis=2).sum() == SIZE[0] * SIZE[1] - 1
    for colours in (((0, 0, 0),) * 3, ((0, 0, 256),) * 4):
        with pytest.raises(ValueError, match='colours must be four'):
            event_image(events, colours)


@given(seed=SEEDS, count=COUNTS, bins=st.integers(2, 9), shift_ms=st.integers(-5, 5))
def test_voxel_grid_is_the_published_sum(seed: int, count: int, bins: int, shift_ms: int) -> None:
    events = make_events(count, seed)
    start, end = END - 30 * MS + shift_ms * MS, END + shift_ms * MS
    scaled = (bins - 1) * (events.t_ns - start) / (end - start)
    inside = (scaled >= 0) & (scaled <= bins - 1)
    sign = np.where(events.polarity, 1.0, -1.0)
    wanted = np.zeros((bins, *SIZE))
    for b in range(bins):
        share = sign * np.maximum(0, 1 - np.abs(b - scaled))
        np.add.at(wanted[b], (events.y[inside], events.x[inside]), share[inside])
    got = voxel_grid(events, bins, start, end)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@given(seed=SEEDS, count=COUNTS)
def test_voxel_grid_loses_no_event(seed: int, count: int) -> None:
    events = make_events(count, seed)
    total = voxel_grid(events, 5, END - 30 * MS, END).sum(dtype=np.float64)
    assert total == pytest.approx(2 * events.polarity.sum() - count, abs=1e-3)


@given(seed=SEEDS, count=COUNTS, tau_ms=st.floats(0.5, 50))
def test_time_surface_decays_from_the_last_event(seed: int, count: int, tau_ms: float) -> None:
    events = make_events(count, seed)
    last = np.full((2, *SIZE), -np.inf)
    for x, y, on, t in zip(events.x, events.y, events.polarity, events.t_ns, strict=True):
        last[0 if on else 1, y, x] = t - END
    got = time_surface(events, END, tau_ms * MS)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.exp(last / (tau_ms * MS)), atol=1e-5)


def test_wrong_windows_are_refused() -> None:
    events = make_events(3, 0)
    with pytest.raises(ValueError, match='bins must be at least 2, got 1'):
        voxel_grid(events, 1, 0, 1)
    with pytest.raises(ValueError, match='end_ns must be after start_ns 5, got 5'):
        voxel_grid(events, 2, 5, 5)
    with pytest.raises(ValueError, match='tau_ns must be positive, got 0'):
        time_surface(events, END, 0)


def structured(events: Events) -> np.ndarray:
    """Events as tonic takes them, microseconds."""
    rows = np.empty(events.x.size, [('x', int), ('y', int), ('t', int), ('p', int)])
    rows['x'], rows['y'], rows['p'] = events.x, events.y, events.polarity
    rows['t'] = (events.t_ns - events.t_ns[0]) // 1000
    return rows


def test_voxel_grid_against_tonic() -> None:
    """tonic's scale has one bin more: its bins are all of ours but the last."""
    functional = pytest.importorskip('tonic.functional', reason='tonic is not installed')
    events = make_events(400, 3)
    sensor = (SIZE[1], SIZE[0], 2)
    theirs = functional.to_voxel_grid_numpy(structured(events), sensor, 5)[:, 0]
    ours = voxel_grid(events, 6, int(events.t_ns[0]), int(events.t_ns[-1]))[:5]
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # tonic has whole microseconds


def test_time_surface_against_tonic() -> None:
    functional = pytest.importorskip('tonic.functional', reason='tonic is not installed')
    events = make_events(400, 4)
    rows = structured(events)
    sensor, dt, tau = (SIZE[1], SIZE[0], 2), int(rows['t'][-1]) + 1, 8000
    (theirs,) = functional.to_timesurface_numpy(rows, sensor, dt, tau, include_incomplete=True)
    ours = time_surface(events, int(events.t_ns[0]) + dt * 1000, tau * 1000)
    np.testing.assert_allclose(ours, theirs[::-1], atol=1e-3)  # OFF comes first there
