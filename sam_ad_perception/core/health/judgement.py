"""Findings from the measures of one frame, each with its reason in words.

Pure functions of the figures, the running levels and the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sam_ad_perception.core.health.camera_thresholds import CameraHealthConfig
from sam_ad_perception.core.health.depth_thresholds import DepthHealthConfig
from sam_ad_perception.core.health.event_thresholds import EventHealthConfig
from sam_ad_perception.core.health.lidar_thresholds import LidarHealthConfig
from sam_ad_perception.core.health.measures import CloudStatistics, ImageStatistics
from sam_ad_perception.core.health.thermal_thresholds import ThermalHealthConfig


class HealthKind(StrEnum):
    """What can be wrong with a frame."""

    BLACK = 'black'
    SATURATED = 'saturated'
    LOW_CONTRAST = 'low_contrast'
    BLURRED = 'blurred'
    NOISY = 'noisy'
    FROZEN = 'frozen'
    REPEATED = 'repeated'
    SHUTTER = 'shutter'
    EMPTY = 'empty'
    SPARSE = 'sparse'
    NOT_FINITE = 'not_finite'
    SHORT_RANGE = 'short_range'
    BURST = 'burst'
    SILENT = 'silent'
    RECOVERING = 'recovering'


class Severity(IntEnum):
    """What follows from a finding."""

    DEGRADED = 1
    UNUSABLE = 2


@dataclass(frozen=True)
class HealthFinding:
    """One thing that is wrong with a frame.

    Attributes:
        kind: What: a `HealthKind`, or a word of the sensor's own record.
        reason: The same in words, with the figures.
        severity: Whether the frame is used nevertheless.
        value: What was measured.
        threshold: What it was held against, in the unit of `value`.
    """

    kind: str
    reason: str
    severity: Severity
    value: float
    threshold: float


Levels = Mapping[str, float]
"""Running level of each figure; empty while a sensor is new."""
Judgement = tuple[list[HealthFinding], dict[str, float]]
"""Findings, and the figures that make up the running levels."""

UNUSABLE, DEGRADED = Severity.UNUSABLE, Severity.DEGRADED


def check_camera(m: ImageStatistics, levels: Levels, config: CameraHealthConfig) -> Judgement:
    """Judge a colour image.

    Args:
        m: Its figures, in grey levels.
        levels: Running levels of the figures `contrast`, `saturated`, `noise`, `sharpness_u` and
            `sharpness_v`.
        config: Thresholds.

    Returns:
        The findings: at most one of black, overexposed and low contrast; without them, noisy or
        blurred.
    """
    # The lowest contrast of late: falls as quickly as levels move, and rises slowly.
    floor = min(m.contrast, 1.02 * levels.get('contrast_floor', m.contrast))
    figures = {
        'contrast': m.contrast,
        'contrast_floor': floor,
        'saturated': m.saturated,
        'noise': m.noise,
    }
    if m.high <= config.black_level:
        reason = f'black: 98 % of the pixels are at most {m.high:.0f} of 255'
        return _one(HealthKind.BLACK, reason, UNUSABLE, m.high, config.black_level), figures
    risen = min(1.0, levels.get('saturated', 1.0) + config.saturated_rise)
    most = min(config.clipped_share, risen, config.saturated_share)
    if m.saturated >= most:
        severity = UNUSABLE if m.saturated >= config.saturated_share else DEGRADED
        reason = f'overexposed: {100 * m.saturated:.0f} % of the pixels are white'
        if 'saturated' in levels:
            reason += f', usually {100 * levels["saturated"]:.0f} %'
        return _one(HealthKind.SATURATED, reason, severity, m.saturated, most), figures
    usual = min(levels.get('contrast', 0.0), 1.7 * levels.get('contrast_floor', 0.0))
    least = max(config.min_contrast, config.contrast_ratio * usual)
    if m.contrast < least:
        reason = f'low contrast: {m.contrast:.0f} of 255{_usual(levels, "contrast", ".0f")}'
        return _one(HealthKind.LOW_CONTRAST, reason, DEGRADED, m.contrast, least), figures
    loudest = max(config.max_noise, config.noise_ratio * levels.get('noise', 255.0))
    loudest = min(loudest, max(config.loud_noise, 1.5 * levels.get('noise', 0.0)))
    if m.noise > loudest:
        reason = f'noisy: {m.noise:.0f} of 255{_usual(levels, "noise", ".0f")}'
        severity = UNUSABLE if m.noise > config.ruinous_noise else DEGRADED
        return _one(HealthKind.NOISY, reason, severity, m.noise, loudest), figures
    return _blur(m, levels, config.min_sharpness, config.sharpness_ratio, figures), figures


def check_thermal(m: ImageStatistics, levels: Levels, config: ThermalHealthConfig) -> Judgement:
    """Judge a thermal image; a closed shutter shows the camera's own uniform warmth.

    A scene may lose much of its contrast at once: a tunnel hides the cold sky, a short integration
    time scales picture and noise alike. A shutter leaves almost nothing, and half of it noise.

    Args:
        m: Its figures, in counts, or kelvin of a float image.
        levels: Running levels of the figures `contrast`, `noise_share` and those of sharpness.
        config: Thresholds.

    Returns:
        At most one finding: shutter, low contrast, overexposed, noisy or blurred.
    """
    form = m.samples.dtype.name
    floor = {'uint8': config.min_contrast_8bit, 'uint16': config.min_contrast_16bit}.get(
        form, config.min_contrast_k
    )
    running = levels.get('contrast', 0.0)
    least = max(floor, config.contrast_ratio * running)
    share = m.noise / max(m.contrast, least)
    figures = {'contrast': m.contrast, 'noise_share': share}
    contrast = f'contrast {m.contrast:.3g}{_usual(levels, "contrast", ".3g")}'
    shut = config.shutter_ratio * running
    if m.contrast < floor or (m.contrast < shut and m.noise > config.max_noise_share * m.contrast):
        reason = f'uniform, the shutter is closed or nothing is seen: {contrast}'
        return _one(HealthKind.SHUTTER, reason, UNUSABLE, m.contrast, max(floor, shut)), figures
    usual = levels.get('noise_share', 1.0)
    loudest = max(config.shutter_noise_share, 2.0 * usual)
    if share >= loudest:
        reason = f'nothing but noise, {100 * share:.0f} % of the contrast: the shutter is closed'
        return _one(HealthKind.SHUTTER, reason, UNUSABLE, share, loudest), figures
    if m.contrast < least:
        reason = f'low {contrast}'
        return _one(HealthKind.LOW_CONTRAST, reason, DEGRADED, m.contrast, least), figures
    if m.clipped >= config.clipped_share:
        reason = f'overexposed: {100 * m.clipped:.0f} % of the pixels have the highest value'
        severity = UNUSABLE if m.clipped >= config.saturated_share else DEGRADED
        kind = HealthKind.SATURATED
        return _one(kind, reason, severity, m.clipped, config.clipped_share), figures
    loudest = max(config.max_noise_share, config.noise_ratio * usual)
    if share > loudest:
        before = f'usually {100 * levels["noise_share"]:.0f} %'
        reason = f'noisy: {100 * share:.0f} % of the contrast, {before}'
        return _one(HealthKind.NOISY, reason, DEGRADED, share, loudest), figures
    return _blur(m, levels, config.min_sharpness, config.sharpness_ratio, figures), figures


def check_depth(m: ImageStatistics, levels: Levels, config: DepthHealthConfig) -> Judgement:
    """Judge a depth image.

    Args:
        m: Its figures, metres.
        levels: Running level of the figure `valid`.
        config: Thresholds.

    Returns:
        The findings: empty, or sparse.
    """
    figures = {'valid': m.valid}
    if m.valid < config.min_valid_share:
        reason = f'empty: {100 * m.valid:.1f} % of the pixels have a value'
        return _one(HealthKind.EMPTY, reason, UNUSABLE, m.valid, config.min_valid_share), figures
    least = config.sparse_ratio * levels.get('valid', 0.0)
    if m.valid < least:
        usual = 100 * levels['valid']
        reason = f'sparse: {100 * m.valid:.0f} % of the pixels have a value, usually {usual:.0f} %'
        return _one(HealthKind.SPARSE, reason, DEGRADED, m.valid, least), figures
    return [], figures


def check_cloud(m: CloudStatistics, levels: Levels, config: LidarHealthConfig) -> Judgement:
    """Judge a sweep.

    Args:
        m: Its figures.
        levels: Running levels of the figures `count` and `reach`.
        config: Thresholds.

    Returns:
        The findings: not finite, empty, or sparse; and short of range.
    """
    figures = {'count': m.count, 'reach': m.reach_m}
    if len(m.samples) and m.finite == 0:
        reason = 'no point has finite coordinates'
        return _one(HealthKind.NOT_FINITE, reason, UNUSABLE, 0.0, 0.0), figures
    if m.count < config.min_points:
        reason = f'empty: {m.count:.0f} points'
        return _one(HealthKind.EMPTY, reason, UNUSABLE, m.count, config.min_points), figures
    found: list[HealthFinding] = []
    usual = levels.get('count', 0.0)
    if m.count < config.sparse_ratio * usual:
        lost = m.count < config.lost_ratio * usual
        limit = (config.lost_ratio if lost else config.sparse_ratio) * usual
        reason = f'sparse: {m.count:.0f} points{_usual(levels, "count", ".0f")}'
        severity = UNUSABLE if lost else DEGRADED
        found += _one(HealthKind.SPARSE, reason, severity, m.count, limit)
    near = config.reach_ratio * levels.get('reach', 0.0)
    if m.reach_m < max(config.min_reach_m, near):
        covered = m.reach_m < config.min_reach_m
        reason = f'90 % of the points within {m.reach_m:.1f} m{_usual(levels, "reach", ".0f")}'
        limit = config.min_reach_m if covered else near
        severity = UNUSABLE if covered else DEGRADED
        found += _one(HealthKind.SHORT_RANGE, reason, severity, m.reach_m, limit)
    return found, figures


def check_events(
    density: float, moving: bool | None, levels: Levels, config: EventHealthConfig
) -> Judgement:
    """Judge a window of events.

    Args:
        density: Events per pixel in the window.
        moving: Whether the camera sees motion; None where no camera can tell.
        levels: Running level of the figure `density`.
        config: Thresholds.

    Returns:
        The findings: burst or silent. What is silent is no figure of the level: a standing vehicle
        is not the normal that a moving one is held against.
    """
    usual = levels.get('density', 0.0)
    most = max(config.burst_density, config.burst_ratio * usual)
    if density > most and usual > 0:
        reason = f'burst: {density:.2f} events per pixel{_usual(levels, "density", ".2f")}'
        return _one(HealthKind.BURST, reason, UNUSABLE, density, most), {'density': density}
    least = config.silence_ratio * usual if moving else 0.0
    if usual >= config.min_density and density <= least:
        count = f'{density:.4f} events per pixel while the camera sees motion'
        reason = f'silent: {count if density else "no events"}{_usual(levels, "density", ".2f")}'
        return _one(HealthKind.SILENT, reason, UNUSABLE, density, least), {}
    return [], {'density': density} if density > 0 else {}


def _blur(
    m: ImageStatistics, levels: Levels, least: float, ratio: float, figures: dict[str, float]
) -> list[HealthFinding]:
    """Judge sharpness, and note it: both directions against fixed bounds, each against its own."""
    if m.sharpness is None:
        return []
    figures |= {'sharpness_u': m.sharpness[0], 'sharpness_v': m.sharpness[1]}
    mean = sum(m.sharpness) / 2
    if mean < least:
        reason = f'blurred: sharpness {mean:.2f}'
        return _one(HealthKind.BLURRED, reason, DEGRADED, mean, least)
    for name, value, where in (
        ('sharpness_u', m.sharpness[0], 'along rows'),
        ('sharpness_v', m.sharpness[1], 'along columns'),
    ):
        limit = ratio * levels.get(name, 0.0)
        if value < limit:
            reason = f'blurred {where}: sharpness {value:.2f}{_usual(levels, name, ".2f")}'
            return _one(HealthKind.BLURRED, reason, DEGRADED, value, limit)
    return []


def _one(
    kind: HealthKind, reason: str, severity: Severity, value: float, threshold: float
) -> list[HealthFinding]:
    return [HealthFinding(kind, reason, severity, float(value), float(threshold))]


def _usual(levels: Levels, name: str, form: str) -> str:
    return f', usually {levels[name]:{form}}' if name in levels else ''
