"""Per-frame status message: sensors used, sensors missing, network, latency.

One record, and its form as the key/value pairs of a `diagnostic_msgs/DiagnosticStatus`, so that
the node which writes `semantic/status` and the report which reads it cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.core.sensors import Segmentation

_FIGURE = re.compile(r'(?<![\w/.\'"])[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?![\w/\'"])')
STATUS_NAME = 'semantic'
"""`DiagnosticStatus.name` of the per-frame status."""

OK, WARN = 0, 1
"""Levels of `diagnostic_msgs/DiagnosticStatus` that a frame can have."""


@dataclass(frozen=True)
class FrameStatus:
    """The outcome of one reference frame.

    Attributes:
        stamp_ns: Stamp of the reference frame and of its mask, nanoseconds.
        expert: Zoo key of the network; empty when the frame was dropped.
        used: Sensors that entered the network.
        missing: The other sensors, each with the reason.
        gate: Weight of each used sensor in the network's gate.
        time_error_ms: Stamp of each used frame minus the reference's.
        latency_ms: Time spent per stage.
        dropped: Why there is no mask; None when there is one.
        notes: For used sensors with a shortcoming, which.
        reason: Why this network and these sensors, in one sentence.
        on_ground: Lidar returns on pixels called road or sidewalk, and how many of them stand
            above the ground that the sweep shows; None where that was not looked at.
        unlike_training: See `sensors.Segmentation`.
    """

    stamp_ns: int
    expert: str = ''
    used: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, float] = field(default_factory=dict)
    time_error_ms: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    dropped: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    reason: str = ''
    on_ground: tuple[int, int] | None = None
    unlike_training: float | None = None

    @property
    def level(self) -> int:
        """WARN when the frame was dropped, a sensor is missing or has a shortcoming, else OK."""
        return WARN if self.dropped is not None or self.missing or self.notes else OK

    @property
    def message(self) -> str:
        """The outcome in one sentence."""
        if self.dropped is not None:
            return f'no mask: {self.dropped}'
        sentence = f'{self.expert} on {" + ".join(self.used)}'
        if self.missing:
            sentence += '; ' + '; '.join(f'{s} missing: {why}' for s, why in self.missing.items())
        if self.notes:
            sentence += '; ' + '; '.join(f'{s}: {note}' for s, note in self.notes.items())
        return sentence


def summarize_segmentation(segmentation: Segmentation) -> FrameStatus:
    """The status of a frame that has a mask."""
    return FrameStatus(
        stamp_ns=segmentation.stamp_ns,
        expert=segmentation.expert,
        used=tuple(str(m) for m in segmentation.used),
        missing={str(m): why for m, why in segmentation.missing.items()},
        gate={str(m): weight for m, weight in segmentation.gate.items()},
        time_error_ms={str(m): 1e-6 * dt for m, dt in segmentation.time_error_ns.items()},
        latency_ms={stage: 1e3 * s for stage, s in segmentation.latency_s.items()},
        notes={str(m): note for m, note in segmentation.notes.items()},
        reason=segmentation.reason,
        on_ground=segmentation.on_ground,
        unlike_training=segmentation.unlike_training,
    )


def without_figures(reason: str) -> str:
    """What a reason says whatever its figures, so that reasons can be counted.

    Digits of names (`cam0`, `/robot2/points`, `'link 1'`) are no figures. For counting alone: what
    people read keeps its figures, see `ReasonTally`.

    Args:
        reason: In words, for example `black: 98 % of the pixels are at most 3 of 255`.

    Returns:
        The same with `#` for each number, at most 200 characters.
    """
    return _FIGURE.sub('#', reason)[:200]


class ReasonTally:
    """Counts reasons that differ in their figures alone as one, told with the newest figures."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[str, int]] = {}

    def add(self, reason: str) -> None:
        """Count one.

        Args:
            reason: In words.
        """
        kind = without_figures(reason)
        self._counts[kind] = reason, self._counts.get(kind, ('', 0))[1] + 1

    @property
    def counts(self) -> dict[str, int]:
        """Count by reason, the most frequent first, each reason as it was told last."""
        ordered = sorted(self._counts.values(), key=lambda each: -each[1])
        counts: dict[str, int] = {}
        for reason, count in ordered:
            counts[reason] = counts.get(reason, 0) + count
        return counts


def total_latency_ms(latency_ms: Mapping[str, float]) -> float:
    """The time from a frame's arrival to its mask.

    Args:
        latency_ms: Of one frame, per stage.

    Returns:
        The stage `total` where the writer measured it, else the sum of the stages; milliseconds.
    """
    return latency_ms['total'] if 'total' in latency_ms else sum(latency_ms.values())


def to_key_values(status: FrameStatus) -> list[tuple[str, str]]:
    """The status as `diagnostic_msgs/KeyValue` pairs, in a fixed order.

    Args:
        status: The frame's outcome. Its stamp travels in the message's header instead.

    Returns:
        `expert`, `used` (comma separated), then `missing/<sensor>`, `gate/<sensor>`,
        `time_error_ms/<sensor>`, `latency_ms/<stage>`, `notes/<sensor>`, `reason` where a network
        was chosen, `ground/returns` and `ground/above` where lidar returns were held against the
        mask, `unlike_training` where the network knows frames of its training, and `dropped` for
        a dropped frame.
    """
    pairs = [('expert', status.expert), ('used', ','.join(status.used))]
    pairs += [(f'missing/{sensor}', why) for sensor, why in status.missing.items()]
    pairs += [(f'gate/{sensor}', f'{weight:.4f}') for sensor, weight in status.gate.items()]
    pairs += [
        (f'time_error_ms/{sensor}', f'{dt:.3f}') for sensor, dt in status.time_error_ms.items()
    ]
    pairs += [(f'latency_ms/{stage}', f'{ms:.3f}') for stage, ms in status.latency_ms.items()]
    pairs += [(f'notes/{sensor}', note) for sensor, note in status.notes.items()]
    if status.reason:
        pairs.append(('reason', status.reason))
    if status.on_ground is not None:
        pairs.append(('ground/returns', str(status.on_ground[0])))
        pairs.append(('ground/above', str(status.on_ground[1])))
    if status.unlike_training is not None:
        pairs.append(('unlike_training', f'{status.unlike_training:.3f}'))
    if status.dropped is not None:
        pairs.append(('dropped', status.dropped))
    return pairs


def from_key_values(stamp_ns: int, pairs: Sequence[tuple[str, str]]) -> FrameStatus:
    """Reads back what `to_key_values` wrote.

    Args:
        stamp_ns: Stamp of the message's header.
        pairs: Keys and values of the `DiagnosticStatus` named `semantic`.

    Returns:
        The frame's outcome.

    Raises:
        ValueError: A key is unknown, or a number does not parse.
    """
    grouped: dict[str, dict[str, str]] = {
        group: {}
        for group in ('missing', 'gate', 'time_error_ms', 'latency_ms', 'notes', 'ground')
    }
    plain: dict[str, str] = {}
    for key, value in pairs:
        group, slash, name = key.partition('/')
        if slash and group in grouped:
            grouped[group][name] = value
        elif key in ('expert', 'used', 'reason', 'unlike_training', 'dropped'):
            plain[key] = value
        else:
            raise ValueError(f'semantic/status has the unknown key {key!r}')
    used = plain.get('used', '')
    return FrameStatus(
        stamp_ns=stamp_ns,
        expert=plain.get('expert', ''),
        used=tuple(used.split(',')) if used else (),
        missing=grouped['missing'],
        gate={k: float(v) for k, v in grouped['gate'].items()},
        time_error_ms={k: float(v) for k, v in grouped['time_error_ms'].items()},
        latency_ms={k: float(v) for k, v in grouped['latency_ms'].items()},
        dropped=plain.get('dropped'),
        notes=grouped['notes'],
        reason=plain.get('reason', ''),
        on_ground=_counts(grouped['ground']),
        unlike_training=float(plain['unlike_training']) if 'unlike_training' in plain else None,
    )


def _counts(ground: Mapping[str, str]) -> tuple[int, int] | None:
    if not ground:
        return None
    return int(ground.get('returns', 0)), int(ground.get('above', 0))
