"""Clocks held against each other: which of them cannot be right, by how much, and why.

Where at least one sensor's stamps agree with their arrivals, the arrivals' clock is right, and the
others are held against it. Where none does (a simulator's time in a recording with log times of
the wall, a host whose own clock is wrong) the largest group that agrees is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.plausibility.clock import ClockEstimate, ClockStep
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.sensors import Modality

_GROUP_S = 0.5
"""Clocks that differ by less than ways may differ: one and the same."""
_RELATIVE_MARGIN_S = 0.3
"""Without a right clock among them, two differ where no transport explains it."""
_KNOWN = (
    (37.0, 'TAI, which is 37 s ahead of UTC'),
    (18.0, 'GPS time, which is 18 s ahead of UTC'),
    (19.0, 'TAI where the others have GPS time'),
)
_KNOWN_SLACK_S = 0.5
_ZONE_S = 900.0
_UPTIME_BEFORE_S = 1e9
_MAX_PPM = 50_000.0
_STEP_LASTS_S = 30.0
_STEP_SETTLES_S = 2.0
_STEP_TOLD_S = 1.0
_MIN_DRIFT_S = 0.05


@dataclass(frozen=True)
class ClockOffset:
    """How a clock is off: subtract `offset_s` from its stamps.

    Attributes:
        offset_s: At `at_s`, seconds.
        drift_ppm: How fast it grows, parts per million.
        at_s: Stamp at which it was so, seconds.
    """

    offset_s: float
    drift_ppm: float
    at_s: float

    def at(self, stamp_ns: int) -> int:
        """The offset of one stamp, nanoseconds."""
        drifted = 1e-6 * self.drift_ppm * (1e-9 * stamp_ns - self.at_s)
        return round(1e9 * (self.offset_s + drifted))


@dataclass(frozen=True)
class ClockJudgement:
    """What was found about all clocks.

    Attributes:
        findings: For each sensor whose clock cannot be right.
        offsets: For each of these whose stamps could be corrected.
        common_s: What the arrivals' clock itself is off against the stamps, seconds: 0 on a
            vehicle; None while nothing is known.
    """

    findings: Mapping[Modality, Finding]
    offsets: Mapping[Modality, ClockOffset]
    common_s: float | None = None


def judge_clocks(
    estimates: Mapping[Modality, ClockEstimate],
    steps: Mapping[Modality, ClockStep],
    config: PlausibilityConfig,
    *,
    start_ns: int = 0,
) -> ClockJudgement:
    """Hold the clocks of all sensors against arrival and against each other.

    Args:
        estimates: What is known of each.
        steps: The newest step of each clock that was set.
        config: Margins.
        start_ns: Arrival of the first message of all, to tell when a step was, nanoseconds.

    Returns:
        The clocks that cannot be right. A single sensor is never judged by its offset alone: there
        is nothing with which it could be paired wrongly.
    """
    findings: dict[Modality, Finding] = {}
    offsets: dict[Modality, ClockOffset] = {}
    for sensor, each in estimates.items():
        if _is_stuck(each):
            findings[sensor] = _stuck(sensor, each)
    known = {
        m: e for m, e in estimates.items() if m not in findings and e.follows and _is_steady(e)
    }
    if len(estimates) < 2 or not known:
        return ClockJudgement(findings, offsets)
    common, leaders = _common(known, config)
    if not leaders:
        return ClockJudgement(findings, offsets)
    usual = min(known[m].least_s for m in leaders) - common
    pace = min((known[m].drift_ppm for m in leaders), key=abs)
    for sensor, each in known.items():
        found = None
        if sensor not in leaders:
            found = _judge_offset(sensor, each, common, max(usual, 0.0), config, leaders)
        drift = each.drift_ppm - pace
        if max(abs(drift), abs(pace)) < _MAX_PPM and _matters(each, drift, config):
            late = max(each.first_s, each.last_s) - common > config.max_behind_s
            if found is None or not late:
                found = _drifts(sensor, each, common, max(usual, 0.0), drift)
        if found is not None:
            findings[sensor], offsets[sensor] = found
    for sensor, step in steps.items():
        if sensor in estimates and not _is_common(step, sensor, steps, estimates):
            told = _stepped(sensor, step, estimates[sensor], findings.get(sensor), start_ns)
            if told is not None:
                findings[sensor] = told
    return ClockJudgement(findings, offsets, common)


def _matters(each: ClockEstimate, drift: float, config: PlausibilityConfig) -> bool:
    """Whether a drift is more than ways that grow a little longer: or leads below zero."""
    change = abs(drift) * 1e-6 * each.span_s
    impossible = min(each.first_s, each.last_s) < -config.max_ahead_s
    return change > (0.5 * _MIN_DRIFT_S if impossible else _MIN_DRIFT_S)


def _is_stuck(each: ClockEstimate) -> bool:
    """Whether the driver sets no stamp, or one and the same."""
    return each.unstamped or (each.drift_ppm <= -0.99e6 and each.span_s > 0)


def _stuck(sensor: Modality, each: ClockEstimate) -> Finding:
    what = 'are 0' if each.unstamped else f'are always {each.stamp_s:.3f} s'
    return Finding(
        'clock.none',
        str(sensor),
        f'its stamps {what}: its driver sets none',
        'let the driver stamp its messages',
        out=True,
        figure=each.stamp_s,
    )


def _is_steady(each: ClockEstimate) -> bool:
    """Whether most messages arrive as the first ones do, against what is to be told of them."""
    off = max(abs(each.first_s), abs(each.last_s))
    return each.spread_s <= max(_GROUP_S, 0.6 * off)


def _common(
    known: Mapping[Modality, ClockEstimate], config: PlausibilityConfig
) -> tuple[float, list[Modality]]:
    """What the arrivals' clock is off, seconds, and the sensors whose clocks tell it."""
    ahead, behind = -config.max_ahead_s, config.max_behind_s
    right = [
        m for m, e in known.items() if ahead <= min(e.first_s, e.last_s) and e.least_s <= behind
    ]
    if right:
        return 0.0, right
    best: list[Modality] = []
    for base in sorted(known, key=list(Modality).index):
        group = [m for m, e in known.items() if abs(e.first_s - known[base].first_s) < _GROUP_S]
        if len(group) > len(best):
            best = group
    return min(known[m].least_s for m in best), best


def _judge_offset(
    sensor: Modality,
    each: ClockEstimate,
    common: float,
    usual: float,
    config: PlausibilityConfig,
    leaders: list[Modality],
) -> tuple[Finding, ClockOffset] | None:
    """Say what is with a clock that has an offset of its own."""
    level = each.last_s - common
    margin = config.max_ahead_s if common == 0 else _RELATIVE_MARGIN_S
    if -margin <= level <= config.max_behind_s:
        return None
    offset = usual - level
    against = 'their arrival' if common == 0 else f"the {leaders[0]}'s"
    if each.stamp_s < _UPTIME_BEFORE_S < each.arrival_s - common:
        code, why = 'clock.uptime', 'it counts from its start'
        text = f'its stamps are {each.stamp_s:.1f} s, {against} {each.arrival_s:.1f} s: {why}'
    else:
        offset, why = _known_offset(offset, level)
        code = 'clock.ahead' if level < 0 else 'clock.behind'
        side = 'later' if level < 0 else 'earlier'
        text = f'its stamps are {_seconds(abs(level))} s {side} than {against}'
        text += f', its clock is {why}' if why else ''
    remedy = f'bundler.sync.{sensor}.offset_s: {_digits(offset)}, or let PTP or NTP set it'
    found = Finding(code, str(sensor), text, remedy, out=True, figure=-level)
    return found, ClockOffset(offset, each.drift_ppm, each.stamp_s)


def _known_offset(offset: float, level: float) -> tuple[float, str]:
    """The exact offset of a well-known clock, and its name; the way of messages is not known."""
    for size, name in _KNOWN:
        if abs(-level - size) < _KNOWN_SLACK_S:
            return size, name
    zones = round(-level / _ZONE_S) * _ZONE_S
    if zones and abs(-level - zones) < _KNOWN_SLACK_S and abs(zones) <= 14 * 3600:
        return zones, f'{zones / 3600:+g} h off, a time zone'
    return offset, ''


def _drifts(
    sensor: Modality, each: ClockEstimate, common: float, usual: float, drift: float
) -> tuple[Finding, ClockOffset]:
    """Tell of a clock that runs fast or slow."""
    first, last = 1e3 * (each.first_s - common), 1e3 * (each.last_s - common)
    pace = 'fast' if drift > 0 else 'slow'
    start_s = each.stamp_s - each.span_s
    text = (
        f'its clock runs {abs(drift):.0f} ppm ({abs(drift) * 1e-3:.2g} ms/s) {pace}: arrival '
        f'minus stamp goes from {first:+.0f} to {last:+.0f} ms in {each.span_s:.0f} s'
    )
    offset = usual - first * 1e-3
    remedy = (
        'plausibility.clock: correct takes it off, a fixed '
        f'bundler.sync.{sensor}.offset_s: {_digits(offset)} only at the start; let PTP set it'
    )
    found = Finding('clock.drift', str(sensor), text, remedy, out=True, figure=drift)
    return found, ClockOffset(offset, drift, start_s)


def _is_common(
    step: ClockStep,
    sensor: Modality,
    steps: Mapping[Modality, ClockStep],
    estimates: Mapping[Modality, ClockEstimate],
) -> bool:
    """Whether the clock of the arrivals was set, or a recording begins anew: all step alike."""
    others = [m for m in estimates if m is not sensor]
    return any(
        m in steps
        and abs(steps[m].arrival_ns - step.arrival_ns) < 3e9
        and abs(steps[m].size_s - step.size_s) < max(0.1, 0.1 * abs(step.size_s))
        for m in others
    )


def _stepped(
    sensor: Modality,
    step: ClockStep,
    each: ClockEstimate,
    known: Finding | None,
    start_ns: int,
) -> Finding | None:
    """Tell of a clock that was set: while it is still wrong, or for a while after it.

    A clock that is right again takes its sensor out only for a moment, in which frames of before
    and after could meet; and a small leap to a right clock may be a way that became shorter.
    """
    if known is None and (each.span_s > _STEP_LASTS_S or abs(step.size_s) < _STEP_TOLD_S):
        return None
    out = known is not None or each.span_s < _STEP_SETTLES_S
    when = 1e-9 * (step.arrival_ns - start_ns)
    text = f'its clock was set {"forward" if step.size_s > 0 else "back"} by '
    text += f'{_seconds(abs(step.size_s))} s, {when:.1f} s after the start'
    text += f', and {known.text}' if known else ''
    remedy = known.remedy if known else 'let PTP or NTP set it before the start'
    return Finding('clock.step', str(sensor), text, remedy, out=out, figure=step.size_s)


def _seconds(value: float) -> str:
    return f'{value:.3g}' if value < 1 else f'{value:.2f}' if value < 100 else f'{value:.1f}'


def _digits(offset: float) -> str:
    """An offset as it is pasted: milliseconds, and no more zeros than needed."""
    text = f'{offset:.3f}'.rstrip('0')
    return text + '0' if text.endswith('.') else text
