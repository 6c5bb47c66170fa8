"""Periods of the sensors of a recording, read from all its stamps."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.measurement_order import MeasuredTimes
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.plausibility.stamps import find_odd_stamps, find_restarts
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig
from sam_ad_perception.core.synchronization.config import SynchronizerConfig

_NEVER = np.iinfo(np.int64).max
LONGEST_PERIOD_S = 2.0
"""Of a sensor slower than this, not every next frame is waited for."""


def recorded_synchronizer(
    config: SynchronizerConfig, periods_s: Mapping[Modality, float | None]
) -> SynchronizerConfig:
    """Fit a synchronizer to what is known of a whole recording.

    Args:
        config: That of a vehicle, which knows a sensor only when it has heard it.
        periods_s: Of each sensor that was recorded, seconds; None where it has but one message.

    Returns:
        The same, where only recorded sensors lead, and where none is absent from one of its frames
        to the next.
    """
    changes: dict[str, Any] = {}
    sensors = dict(config.sensors)
    leading = tuple(name for name in config.reference if Modality(name) in periods_s)
    if leading:
        changes['reference'] = leading
    for modality, period_s in periods_s.items():
        each = config.sensors[modality]
        if period_s and 1.5 * period_s > each.max_age_s:
            sensors[modality] = replace(each, max_age_s=1.5 * period_s)
    return replace(config, sensors=sensors, **changes)


def first_stamp_ns(data: bytes) -> int | None:
    """Find the stamp of the first transform of a serialized `TFMessage`.

    Args:
        data: The message.

    Returns:
        Nanoseconds; None where it holds no transform.
    """
    if len(data) < 16:
        return None
    order = '<' if data[1] & 1 else '>'
    count, seconds, nanoseconds = struct.unpack_from(f'{order}IiI', data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds) if count else None


def longest_wait_s(
    config: SynchronizerConfig, periods_s: Mapping[Modality, float | None]
) -> float:
    """Find how long after a reference the last frame that may belong to it comes, by its stamp.

    Args:
        config: Of the synchronizer.
        periods_s: Of each sensor that was recorded, seconds; None where it has but one message.

    Returns:
        Seconds.
    """
    periods = [min(each, LONGEST_PERIOD_S) for each in periods_s.values() if each]
    tolerances = [config.sensors[modality].tolerance_s for modality in periods_s]
    return config.deadline_s + max(tolerances, default=0.0) + 2 * max(periods, default=0.0)


def period_s(times_ns: NDArray[np.int64] | None) -> float | None:
    """Find the median interval of times.

    Args:
        times_ns: In any order, nanoseconds; None for none.

    Returns:
        Seconds; None where there is no interval.
    """
    if times_ns is None or len(times_ns) < 2:
        return None
    return float(np.median(np.diff(np.sort(times_ns)))) * 1e-9


def recorded_bundler(
    config: BundlerConfig,
    periods_s: Mapping[Modality, float | None],
    event_decoder: EventDecoder | None = None,
) -> Bundler:
    """Make the bundler of a recording whose rhythms are known.

    Args:
        config: As for the node.
        periods_s: Of each sensor that is used, seconds; None where it has but one message.
        event_decoder: See `Bundler`.

    Returns:
        A bundler that has seen nothing.
    """
    sync = recorded_synchronizer(config.sync, periods_s)
    return Bundler(
        replace(config, sync=sync),
        wait_s=longest_wait_s(sync, periods_s),
        event_decoder=event_decoder,
    )


def parts_of(
    order: MeasuredTimes, sensors: Mapping[str, Modality], *, pauses: bool
) -> dict[str, NDArray[np.int64]]:
    """Tell in which part of a recording each message lies, where its time begins anew.

    Args:
        order: The recording's messages.
        sensors: Topic to sensor.
        pauses: See `find_restarts`.

    Returns:
        For each topic of `order`, a number from 0 on for each message.
    """
    sound, streams = {}, {}
    for topic in sensors.keys() & order.times_ns.keys():
        times, received = order.times_ns[topic], order.received_ns[topic]
        sound[topic] = np.flatnonzero(~find_odd_stamps(times, received))
        streams[topic] = times[sound[topic]], received[sound[topic]]
    restarts = find_restarts(streams, pauses=pauses)
    begins: list[list[int]] = []
    parts: dict[str, NDArray[np.int64]] = {}
    for topic, counts in restarts.items():
        places = np.append(sound[topic], len(order.times_ns[topic]))
        firsts = [int(places[count]) for count in counts]
        parts[topic] = np.searchsorted(firsts, np.arange(len(order.times_ns[topic])), 'right')
        received = order.received_ns[topic]
        begins.append([int(received[k]) if k < len(received) else _NEVER for k in firsts])
    first_ns = np.array(begins, np.int64).min(axis=0) if begins else np.zeros(0, np.int64)
    for topic, received in order.received_ns.items():
        if topic not in parts:
            parts[topic] = np.searchsorted(first_ns, received, 'right')
    return parts
