"""Times of a sweep's points that cannot be: unit, origin, single wrapped ones.

A sweep's times span its period or a good part of it. What contradicts that is read in the unit
that makes it so; times of another clock than the stamp's are used for their span alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality, PointCloud

LIDAR = str(Modality.LIDAR)
FEW = 0.02
"""Times beyond those of all others are dropped up to this share."""
_SHORT, _LEAST, _MOST = 0.02, 0.05, 1.5
_SLACK_NS = 20_000_000
_AT_ONCE_NS = 5_000_000
_SAMPLES = 512


def find_usual(times: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """Tell the times of nearly all points from some that are far off.

    Args:
        times: (N,), any unit.

    Returns:
        (N,) True for the usual ones; None where all are, or more than a few are not.
    """
    values = times.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return None
    low, high = np.percentile(values[finite], (2, 98))
    reach = high - low
    usual: NDArray[np.bool_] = finite & (values >= low - reach) & (values <= high + reach)
    share = float(usual.mean())
    return usual if 1.0 - FEW <= share < 1.0 else None


def outliers(count: int, total: int) -> Finding:
    """The finding of points that were dropped for their times.

    Args:
        count: How many.
        total: Of how many.
    """
    return Finding(
        'point_time.outlier',
        LIDAR,
        f'{count} of {total} points have times far from those of all others: removed',
        figure=float(count),
    )


def constant(text: str) -> Finding:
    """The finding of times that do not tell anything.

    Args:
        text: Which, and what they are.
    """
    remedy = 'let the driver fill it in'
    return Finding('point_time.constant', LIDAR, text, remedy)


def other_clock(text: str) -> Finding:
    """The finding of times whose origin is not the stamp's clock.

    Args:
        text: What they are, and what is done.
    """
    remedy = 'let the stamp be of the clock that counts the points'
    return Finding('point_time.origin', LIDAR, text, remedy)


def check_point_times(
    cloud: PointCloud, stamp_ns: int, period_ns: int | None, arrival_ns: int | None
) -> PointCloud:
    """Hold the times of a sweep's points against its period and its arrival.

    Args:
        cloud: The sweep.
        stamp_ns: Its stamp, nanoseconds.
        period_ns: From sweep to sweep, nanoseconds; None while unknown.
        arrival_ns: When it arrived, on the clock of its stamp, nanoseconds; None where that is
            not known.

    Returns:
        The sweep, its times mended and the findings added where they could not be right.
    """
    if cloud.time_offset_ns is None or cloud.time_offset_ns.size < 2:
        return cloud
    foreign = any(f.code == 'point_time.origin' for f in cloud.findings)
    if period_ns is None or period_ns < _SLACK_NS:
        return cloud
    first, last = _ends(cloud.time_offset_ns)
    if last - first > _MOST * period_ns:
        cloud = _without_outliers(cloud)
        assert cloud.time_offset_ns is not None
        first, last = _ends(cloud.time_offset_ns)
    span = last - first
    if 0 < span < _SHORT * period_ns:
        for scale, unit in ((1_000, 'a thousand'), (1_000_000, 'a million')):
            if _LEAST * period_ns <= span * scale <= _MOST * period_ns:
                cloud = _scaled(cloud, scale, unit, span, period_ns)
                first, last, span = first * scale, last * scale, span * scale
                break
        else:
            cloud = replace(cloud, findings=(*cloud.findings, _short(span, period_ns)))
    limit = period_ns + period_ns // 10 + _SLACK_NS
    if span <= _MOST * period_ns and (foreign or first < -limit or last > limit):
        cloud = _anchored(cloud, stamp_ns, first, last, arrival_ns, told=foreign)
    return cloud


def _ends(offsets: NDArray[np.int64]) -> tuple[int, int]:
    """First and last of the times, nanoseconds; of a sample, with both ends of the array."""
    part = offsets[:: max(1, offsets.size // _SAMPLES)]
    first, last = int(part.min()), int(part.max())
    return min(first, int(offsets[-1])), max(last, int(offsets[-1]))


def _without_outliers(cloud: PointCloud) -> PointCloud:
    """Drop points whose times are far from those of all others."""
    assert cloud.time_offset_ns is not None
    usual = find_usual(cloud.time_offset_ns)
    if usual is None:
        return cloud
    found = outliers(int(np.count_nonzero(~usual)), usual.size)
    source = cloud.source
    if source is not None:
        kept = np.arange(usual.size) if source.kept is None else source.kept
        source = replace(source, kept=kept[usual])
    return replace(
        cloud,
        source=source,
        points=cloud.points[usual],
        intensity=None if cloud.intensity is None else cloud.intensity[usual],
        time_offset_ns=cloud.time_offset_ns[usual],
        findings=(*cloud.findings, found),
    )


def _scaled(cloud: PointCloud, scale: int, unit: str, span_ns: int, period_ns: int) -> PointCloud:
    """Read the times in a larger unit."""
    assert cloud.time_offset_ns is not None
    found = Finding(
        'point_time.unit',
        LIDAR,
        f'its point times span {1e-6 * span_ns:.3g} ms where a sweep takes '
        f'{1e-6 * period_ns:.0f} ms: taken as {unit} times that unit',
        'integers are nanoseconds, floats seconds',
        figure=1e-6 * span_ns,
    )
    offsets = cloud.time_offset_ns * scale
    return replace(cloud, time_offset_ns=offsets, findings=(*cloud.findings, found))


def _short(span_ns: int, period_ns: int) -> Finding:
    """The finding of times that span far less than a sweep, in whatever unit."""
    return Finding(
        'point_time.span',
        LIDAR,
        f'its point times span {1e-6 * span_ns:.3g} ms where a sweep comes every '
        f'{1e-6 * period_ns:.0f} ms: a flash lidar, or another unit',
        'integers are nanoseconds, floats seconds',
        figure=1e-6 * span_ns,
    )


def _anchored(
    cloud: PointCloud,
    stamp_ns: int,
    first_ns: int,
    last_ns: int,
    arrival_ns: int | None,
    *,
    told: bool,
) -> PointCloud:
    """Use the span of the times alone, from the stamp on, or up to it where it is of the end.

    A point cannot be measured after its sweep arrived: a stamp that leaves no time for the sweep
    before the arrival is one of its end.
    """
    assert cloud.time_offset_ns is not None
    span = last_ns - first_ns
    at_end = arrival_ns is not None and stamp_ns + span > arrival_ns + _AT_ONCE_NS
    shift = -last_ns if at_end else -first_ns
    where = 'up to its stamp' if at_end else 'from its stamp on'
    findings = tuple(f for f in cloud.findings if f.code != 'point_time.origin')
    if told:
        text = next(f.text for f in cloud.findings if f.code == 'point_time.origin')
        text = f'{text.partition(": their span")[0]}: their span is used, {where}'
    else:
        off = -1e-9 * shift
        text = f'its point times are {off:+.2f} s off its stamp: their span is used, {where}'
    offsets = cloud.time_offset_ns + shift if shift else cloud.time_offset_ns
    return replace(cloud, time_offset_ns=offsets, findings=(*findings, other_clock(text)))
