"""Stamps of a whole recording: single damaged ones, and where its time begins anew.

Both are told from the order in which messages were recorded, and never from one sign alone: a
recorder writes late, in bursts, or all at one time, which says nothing of the stamps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality

_Name = TypeVar('_Name', bound=str)
_Times = tuple[NDArray[np.int64], NDArray[np.int64]]

_ODD_S = 1.0
_AROUND = 2
_SPREADS = 3.0
_FEW = 0.2
"""Where more stamps than this share are odd, they are how this recording is."""
_BACK_NS = 500_000_000
_FORWARD_NS = 60_000_000_000
_PAUSE_NS = 600_000_000_000
_RUN = 5
_TOGETHER_NS = 3_000_000_000
_MOST_BREAKS = 8


def find_odd_stamps(
    stamps_ns: NDArray[np.int64], received_ns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Find single stamps that belong neither among their neighbours nor to their arrival.

    Args:
        stamps_ns: (N,) stamps of one sensor, in the order of the recording, nanoseconds.
        received_ns: (N,) when they were recorded, nanoseconds.

    Returns:
        (N,) True for each of them: over a second from the middle of the five around it, and over
        a second more from its arrival than nearly all others are.
    """
    none = np.zeros(len(stamps_ns), bool)
    if len(stamps_ns) < 2 * _AROUND:
        return none
    padded = np.concatenate(
        [stamps_ns[_AROUND:0:-1], stamps_ns, stamps_ns[-2 : -2 - _AROUND : -1]]
    )
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1)
    leaps = np.abs(stamps_ns - np.sort(around, axis=1)[:, _AROUND])
    delays = received_ns - stamps_ns
    low, middle, high = (int(each) for each in np.percentile(delays, (10, 50, 90)))
    limit_ns = max(1e9 * _ODD_S, _SPREADS * (high - low))
    odd: NDArray[np.bool_] = (leaps > limit_ns) & (np.abs(delays - middle) > limit_ns)
    return odd if odd.mean() <= _FEW else none


def usual_gap_ns(stamps_ns: Collection[int]) -> int | None:
    """Find the median interval of stamps.

    Args:
        stamps_ns: In any order, nanoseconds.

    Returns:
        Nanoseconds; None with fewer than three.
    """
    if len(stamps_ns) < 3:
        return None
    gaps = sorted(b - a for a, b in pairwise(sorted(set(stamps_ns))))
    return gaps[len(gaps) // 2] if gaps else None


def odd_stamp(sensor: Modality, stamp_ns: int) -> Finding:
    """The finding of a message that is left out for its stamp.

    Args:
        sensor: Whose.
        stamp_ns: The stamp, nanoseconds.
    """
    text = f'one stamp of its messages, {1e-9 * stamp_ns:.3f} s, is far from those around it'
    return Finding('clock.stamp', str(sensor), text, 'such messages are left out', out=True)


@dataclass(frozen=True)
class _Break:
    """Where one sensor's stamps begin anew: behind message `index`."""

    index: int
    before_ns: int
    after_ns: int


def find_restarts(
    streams: Mapping[_Name, _Times], *, pauses: bool = True
) -> dict[_Name, list[int]]:
    """Find where the time of a recording begins anew, for all of its sensors at once.

    A bag that was played in a loop, a simulator that was reset, recordings that were put one
    behind the other: every sensor's stamps go back, leap by a minute or pause for ten, and run on
    evenly from there. One clock that is set is no restart.

    Args:
        streams: For each sensor its stamps, without damaged ones, and when they were recorded,
            both in the order of the recording, nanoseconds.
        pauses: Whether a pause counts: not where only parts of a recording are read.

    Returns:
        For each sensor, how many of its messages come before each restart: equally many numbers
        for all, empty lists where time never begins anew.
    """
    none: dict[_Name, list[int]] = {name: [] for name in streams}
    told = {name: each for name, each in streams.items() if len(each[0]) and np.ptp(each[0])}
    breaks = {name: _breaks(*each, pauses=pauses) for name, each in told.items()}
    longest = max(told, key=lambda name: len(told[name][0]), default=None)
    for mark in breaks[longest] if longest is not None else ():
        parts: dict[_Name, int] = {}
        for name, (_, received) in streams.items():
            near = [b for b in breaks.get(name, []) if _meet(b, mark)]
            if near:
                closest = min(near, key=lambda b: abs(b.after_ns - mark.after_ns))
                parts[name] = closest.index + 1
                continue
            before = int(np.searchsorted(received, mark.after_ns))
            if name in told and min(before, len(received) - before) >= _RUN:
                break  # it runs on evenly: not the recording begins anew
            parts[name] = before
        else:
            for name, count in parts.items():
                none[name].append(count)
    return none


def _meet(a: _Break, b: _Break) -> bool:
    """Whether two sensors begin anew at the same moment, as recorded."""
    return a.before_ns <= b.after_ns + _TOGETHER_NS and b.before_ns <= a.after_ns + _TOGETHER_NS


def _breaks(
    stamps_ns: NDArray[np.int64], received_ns: NDArray[np.int64], *, pauses: bool
) -> list[_Break]:
    """Where stamps of one sensor may begin anew; none where they are in no order at all."""
    if len(stamps_ns) < 2 * _RUN:
        return []
    passed, came = np.diff(stamps_ns), np.diff(received_ns)
    back = passed < -_BACK_NS
    apart = passed - came > _FORWARD_NS
    if pauses:
        apart |= (passed > _PAUSE_NS) & (came > _PAUSE_NS)
    found = np.flatnonzero(back | apart)
    if len(found) > _MOST_BREAKS + len(stamps_ns) // 50:
        return []
    kept = []
    for index in found.tolist():
        before = stamps_ns[max(0, index + 1 - _RUN) : index + 1]
        after = stamps_ns[index + 1 : index + 1 + _RUN]
        even = len(before) >= 3 and len(after) >= 3
        even = even and bool((np.diff(before) > 0).all() and (np.diff(after) > 0).all())
        if even and (apart[index] or bool((after < before[-1]).all())):
            kept.append(_Break(index, int(received_ns[index]), int(received_ns[index + 1])))
    return kept
