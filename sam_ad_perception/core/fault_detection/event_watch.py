"""Events over time: pixels that fire by themselves, dead parts, one polarity, lost packets.

The events of a few windows are counted by pixel; rows, columns, tiles and pixels are then held
against their neighbours and against what the sensor usually does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.health.event_thresholds import EventHealthConfig
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind
from sam_ad_perception.core.health.watch import (
    Circumstances,
    RunningLevels,
    Standing,
    make_finding,
)
from sam_ad_perception.core.sensors import EVENT_WINDOW_NS, Events, SensorFrame

BLOCK = 5
"""So many windows are counted together."""
MOST_EVENTS, RUN = 12_000, 8
"""At most about so many of a window are counted, in runs of so many, which lie evenly."""
DENSE, MOST_OF_DENSE = 48_000, 4_000
"""Of windows with more events fewer tell as much."""
HOT_HZ = 300.0
"""A pixel that fires more often, ten times as often as those around it, does so by itself."""
HOT_COUNT = round(BLOCK * EVENT_WINDOW_NS * 1e-9 * HOT_HZ)
MOST_HOT, LEAST_HITS = 4096, 6
"""At most so many pixels of a block are looked at for that, which were counted at least so often.
"""
TILES = (8, 8)
BINS = 30
"""Parts of a window in which packets may be missing."""
LEAST_EVENTS = 300
"""A block with fewer events tells nothing, of which `LEAST_IN_TILE` are to be in a tile that does.
"""
LEAST_IN_TILE, LEAST_IN_LINE, LEAST_IN_BIN = 5, 12, 8
BEFORE = 5
"""A collapse is held against the least of so many windows before it."""
MOST_ELAPSED_S = 0.6
"""Windows further apart are not compared with each other."""


class EventFault(StrEnum):
    """What can be wrong with events beside `judgement.HealthKind`."""

    ONE_POLARITY = 'one_polarity'
    HOT_PIXELS = 'hot_pixels'
    STUCK_LINES = 'stuck_lines'
    DEAD_LINES = 'dead_lines'
    DEAD_REGION = 'dead_region'
    RATE_COLLAPSE = 'rate_collapse'
    LOST_PACKETS = 'lost_packets'


@dataclass(frozen=True, eq=False)
class _Block:
    """What some windows showed together.

    Attributes:
        events: How many events were counted.
        on: Share of ON among them.
        tiles: (8, 8) events by tile.
        hot: Pixels that fire by themselves.
        hot_share: Their share of the events.
        dead: Rows and columns without an event between others with many.
        stuck: Rows and columns all of whose pixels fire while their neighbours' do not.
    """

    events: int
    on: float
    tiles: NDArray[np.float64]
    hot: int
    hot_share: float
    dead: int
    stuck: int


@dataclass
class EventWatch:
    """See `watch.Watch`."""

    _levels: RunningLevels = field(default_factory=RunningLevels)
    _standing: Standing = field(default_factory=Standing)
    _pixels: NDArray[np.uint16] | None = None
    _rows: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 0)))
    _columns: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 0)))
    _tiles: NDArray[np.float64] = field(default_factory=lambda: np.zeros(TILES))
    _candidates: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    _judged: bool = False
    _windows: int = 0
    _on: int = 0
    _counted: int = 0
    _block: _Block | None = None
    _blocks: deque[_Block] = field(default_factory=lambda: deque(maxlen=2))
    _in_block: list[HealthFinding] = field(default_factory=list)
    _odd_blocks: int = 0
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=BEFORE))
    _count: int = 0
    _empty: float | None = None
    _collapsed_from: float | None = None
    _collapsed_s: float = 0.0

    @staticmethod
    def warm_up() -> None:
        """See `watch.Watch`."""
        place, on = np.zeros(4, np.uint16), np.zeros(4, np.bool_)
        watch = EventWatch()
        watch._take(Events(place, place, on, np.arange(4), (8, 8)), 0, 4)
        watch._close()

    def look(
        self, frame: SensorFrame, around: Circumstances, thresholds: EventHealthConfig
    ) -> list[HealthFinding]:
        """See `watch.Watch`."""
        events = frame.data
        if not isinstance(events, Events):  # a picture that a renderer drew
            return []
        self._judged = bool(around.kinds)
        if HealthKind.BURST in around.kinds:
            # Neither these windows nor a block that has some of them tells of the sensor.
            self._clear(events.size)
            self._standing.keep([])
            return []
        end_ns = frame.stamp_ns
        edges = np.linspace(end_ns - EVENT_WINDOW_NS, end_ns, BINS + 1).astype(np.int64)
        places = np.searchsorted(events.t_ns, edges, side='right')
        found = self._find_lost(np.diff(places), thresholds)
        found += self._find_collapse(int(places[-1] - places[0]), around, thresholds)
        self._take(events, int(places[0]), int(places[-1]))
        if self._windows == BLOCK:
            self._block = self._close()
            self._in_block = self._judge(self._block, thresholds)
        if not found:
            found = list(self._in_block)
        found = [
            replace(f, reason=f.reason + self._standing.since(f.kind, frame.stamp_ns))
            for f in found
        ]
        self._standing.keep([f.kind for f in found])
        return found

    def learn(self, weight: float) -> None:
        """See `watch.Watch`."""
        if self._judged:
            return
        if self._standing.is_empty and not self._odd_blocks:
            self._recent.append(self._count)
        if self._empty is not None:
            self._levels.move('empty', self._empty, weight)
        if self._block is None:
            return
        block, self._block = self._block, None
        share = 1.0 - (1.0 - weight) ** BLOCK
        if self._standing.is_empty and not self._odd_blocks:
            self._blocks.append(block)
            if len(self._blocks) == 2:  # a block is learnt once the next is healthy, too
                self._learn_tiles(self._blocks[0].tiles, share)
        for name in ('hot', 'hot_share', 'dead', 'stuck', 'on'):
            if name != 'on' or not self._odd_blocks:
                self._levels.move(name, getattr(block, name), share)

    def _learn_tiles(self, tiles: NDArray[np.float64], share: float) -> None:
        """The mean of each tile, and the least that it ever had."""
        self._levels.move('tiles', tiles, share)
        least = self._levels.get('least', tiles)
        slowly = least + 0.02 * (tiles - least)
        self._levels.move('least', np.where(tiles < least, tiles, slowly), 1.0)

    def _find_lost(self, counts: NDArray[np.int64], t: EventHealthConfig) -> list[HealthFinding]:
        """Milliseconds without an event between others with many."""
        some = counts[counts > 0]
        self._empty = None
        if len(some) == 0 or some.mean() < LEAST_IN_BIN:
            return []
        self._empty = empty = float(np.mean(counts == 0))
        least = self._levels.number('empty', 1.0) + t.lost_packets_share
        if empty < least:
            return []
        reason = (
            f'{100 * empty:.0f} % of the time no event comes, between parts with '
            f'{some.mean():.0f} events a millisecond: packets are lost on the way'
        )
        return [make_finding(EventFault.LOST_PACKETS, reason, empty, least)]

    def _find_collapse(
        self, count: int, around: Circumstances, t: EventHealthConfig
    ) -> list[HealthFinding]:
        """A rate that falls to a fraction from one window to the next, which no motion does."""
        self._count = count
        if len(self._recent) == BEFORE and around.elapsed_s <= MOST_ELAPSED_S:
            least = min(self._recent)
            if self._collapsed_from is None and least >= LEAST_EVENTS and (
                count < t.collapse_ratio * least):  # fmt: skip
                self._collapsed_from, self._collapsed_s = float(least), 0.0
        if self._collapsed_from is None:
            return []
        self._collapsed_s += around.elapsed_s
        back = count > 0.4 * self._collapsed_from or around.moving is False
        if HealthKind.SILENT in around.kinds:
            return []
        if back or self._collapsed_s > t.collapse_holds_s:
            self._collapsed_from = None
            return []
        ratio = count / self._collapsed_from
        reason = (
            f'only {count} events in the window, {100 * ratio:.1f} % of what came just before: '
            'events are lost'
        )
        return [make_finding(EventFault.RATE_COLLAPSE, reason, ratio, t.collapse_ratio)]

    def _take(self, events: Events, first: int, last: int) -> None:
        """Count a window by pixel."""
        if self._pixels is None or self._pixels.shape != events.size:
            self._clear(events.size)
        assert self._pixels is not None
        most = MOST_EVENTS if last - first < DENSE else MOST_OF_DENSE
        step = max(1, -(-(last - first) // most))
        self._on += _count_events(
            _readable(events.x), _readable(events.y), _readable(events.polarity),
            first, last, step,
            self._pixels, self._rows, self._columns, self._tiles, self._candidates,
        )  # fmt: skip
        self._counted += last - first
        self._windows += 1

    def _clear(self, size: tuple[int, int]) -> None:
        """Start to count anew."""
        height, width = size
        if self._pixels is None or self._pixels.shape != size:
            self._pixels = np.zeros(size, np.uint16)
        self._pixels[:] = 0
        self._rows, self._columns = np.zeros((2, height)), np.zeros((2, width))
        self._tiles = np.zeros(TILES)
        self._candidates = np.zeros((MOST_HOT, 2), np.int32)
        self._windows = self._on = self._counted = 0

    def _close(self) -> _Block:
        """What the windows since the last block showed; their counts start anew."""
        assert self._pixels is not None
        hot, hot_events = _count_hot(self._pixels, self._candidates)
        rows, columns, count = self._rows, self._columns, self._counted
        dead = _count_dead(rows[0]) + _count_dead(columns[0])
        height, width = self._pixels.shape
        stuck = _count_stuck(rows[1] / width) + _count_stuck(columns[1] / height)
        share = hot_events / max(count, 1)
        block = _Block(count, self._on / max(count, 1), self._tiles, hot, share, dead, stuck)
        self._clear((height, width))
        return block

    def _judge(self, block: _Block, t: EventHealthConfig) -> list[HealthFinding]:
        """What is wrong with a block."""
        if block.events < LEAST_EVENTS:
            return []
        found = self._judge_polarity(block, t)
        usual = self._levels.number('hot', t.hot_pixels_new)
        most = 1.5 * usual + t.hot_pixels
        if block.hot >= most:
            reason = (
                f'{block.hot} pixels fire by themselves more than {HOT_HZ:.0f} times a second, '
                f'{100 * block.hot_share:.0f} % of all events'
            ) + (f', usually {usual:.0f} pixels' if 'hot' in self._levels else '')
            found.append(make_finding(EventFault.HOT_PIXELS, reason, block.hot, most))
        for kind, count, words in (
            (EventFault.STUCK_LINES, block.stuck, 'fire as a whole while those beside do not'),
            (EventFault.DEAD_LINES, block.dead, 'have no event while those beside have many'),
        ):
            name = 'stuck' if kind is EventFault.STUCK_LINES else 'dead'
            least = self._levels.number(name, 0.0) + (
                t.stuck_lines if name == 'stuck' else t.dead_lines)  # fmt: skip
            if count >= least:
                found.append(make_finding(kind, f'{count} rows or columns {words}', count, least))
        return found + self._judge_tiles(block, t)

    def _judge_polarity(self, block: _Block, t: EventHealthConfig) -> list[HealthFinding]:
        """Nearly all events are ON, or OFF, and usually are not; a flash is over by then."""
        on = min(max(block.on, 1e-3), 1 - 1e-3)
        usual = min(max(self._levels.number('on', on), 1e-2), 1 - 1e-2)
        odds, before = on / (1 - on), usual / (1 - usual)
        factor = max(odds / before, before / odds)
        one = min(block.on, 1 - block.on) < t.polarity_share
        if not one and factor < t.polarity_change:
            self._odd_blocks = 0
            return []
        self._odd_blocks += 1
        if self._odd_blocks < 2:
            return []
        known = f', usually {100 * usual:.0f} %' if 'on' in self._levels else ''
        reason = f'{100 * block.on:.0f} % of the events are ON{known}: one polarity is dead'
        return [make_finding(EventFault.ONE_POLARITY, reason, block.on, t.polarity_share)]

    def _judge_tiles(self, block: _Block, t: EventHealthConfig) -> list[HealthFinding]:
        """Parts without an event that never were without, while the others are as usual."""
        if 'least' not in self._levels:
            return []
        known = self._levels['least'] >= LEAST_IN_TILE
        dead = known & (block.tiles == 0)
        share = float(dead.sum() / max(known.sum(), 1))
        if dead.sum() < t.dead_tiles or known.sum() == dead.sum():
            return []
        live = known & ~dead
        if block.tiles[live].sum() < 0.3 * self._levels['tiles'][live].sum():
            return []  # all have become silent: the vehicle stands
        reason = (
            f'{100 * share:.0f} % of the sensor has no event at all, while the rest is as usual: '
            'that part is dead'
        )
        return [make_finding(EventFault.DEAD_REGION, reason, share, t.dead_tiles / known.sum())]


def _readable(column: NDArray[Any]) -> NDArray[Any]:
    """A column in the one form for which `_count_events` is compiled."""
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def _count_dead(counts: NDArray[np.float64]) -> int:
    """Lines without an event where the lines around have some."""
    dead = 0
    for i in np.flatnonzero(counts == 0):
        before, after = counts[max(i - 4, 0) : i], counts[i + 1 : i + 5]
        live = np.count_nonzero(before), np.count_nonzero(after)
        if all(live) and before.sum() + after.sum() >= LEAST_IN_LINE * sum(live):
            dead += 1
    return dead


def _count_stuck(active: NDArray[np.float64]) -> int:
    """Lines nearly all of whose pixels fire, unlike those of the lines around."""
    last, stuck = len(active) - 1, 0
    for i in np.flatnonzero(active > 0.7):
        around = active[np.clip(np.arange(i - 3, i + 4), 0, last)]
        stuck += bool(active[i] > 2.5 * np.sort(around)[3])
    return stuck


@njit(cache=True, nogil=True)
def _count_events(  # type: ignore[no-untyped-def]
    x, y, on, first, last, step, pixels, rows, columns, tiles, candidates
):
    """Count by pixel, row, column and tile; how many were ON. A candidate is noted once."""
    height, width = pixels.shape
    tile_rows = np.arange(height) * TILES[0] // height
    tile_columns = np.arange(width) * TILES[1] // width
    hot = max(HOT_COUNT, LEAST_HITS * step)
    lit, noted = 0, 0
    while noted < len(candidates) and candidates[noted, 1] > 0:
        noted += 1
    # Neighbours in memory cost nothing: of `step` runs one is looked at.
    for begin in range(first, last, RUN * step):
        for i in range(begin, min(begin + RUN, last)):
            u, v = x[i], y[i]
            before = pixels[v, u]
            now = min(before + step, 65000)
            pixels[v, u] = now
            rows[0, v] += step
            columns[0, u] += step
            if before == 0:
                rows[1, v] += 1
                columns[1, u] += 1
            tiles[tile_rows[v], tile_columns[u]] += step
            if before < hot <= now and noted < len(candidates):
                candidates[noted, 0], candidates[noted, 1] = v, u + 1
                noted += 1
            lit += step * on[i]
    return lit


@njit(cache=True, nogil=True)
def _count_hot(pixels, candidates):  # type: ignore[no-untyped-def]
    """Candidates that fire far more often than those around them, and their events."""
    height, width = pixels.shape
    hot, events = 0, 0
    for i in range(len(candidates)):
        if candidates[i, 1] == 0:
            break
        v, u = candidates[i, 0], candidates[i, 1] - 1
        n = pixels[v, u]
        around, number = 0.0, 0
        for b in range(max(v - 2, 0), min(v + 3, height)):
            for a in range(max(u - 2, 0), min(u + 3, width)):
                around += pixels[b, a]
                number += 1
        if n > 10.0 * ((around - n) / (number - 1) + 0.5):
            hot += 1
            events += n
    return hot, events
