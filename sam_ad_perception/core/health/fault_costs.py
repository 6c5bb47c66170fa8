"""Severity by what a fault costs: a camera that costs more than its absence is left out.

`measured_costs.CAMERA` has, by kind of finding, the points of pixel accuracy that a mask of all
sensors loses with such a camera, and what it loses without a camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.measured_costs import CAMERA, FaultCost
from sam_ad_perception.core.health.monitor import CheckedBundle
from sam_ad_perception.core.sensors import Modality, remove_sensors

MARGIN_POINTS = 1.0
"""A camera is left out where it costs so many points more than its absence: what was measured of
few faults is not exact."""
FEWEST = 2
"""A kind counts where so many faults were measured."""
OF_A_STANDING_VEHICLE = frozenset({HealthKind.FROZEN})
"""Kinds that a vehicle which stops shows, too, to a slow camera: it must keep its eyes while it
stands, whatever such a fault costs one that drives."""


def leave_out_costly(
    checked: CheckedBundle,
    runs_with: Callable[[frozenset[str]], bool],
    costs: Mapping[str, FaultCost] = CAMERA,
) -> CheckedBundle:
    """Take a camera out that costs a mask more than its absence, where a network runs without it.

    Args:
        checked: What health left, and found.
        runs_with: Whether a network can run with exactly these sensors.
        costs: By kind of finding of the camera.

    Returns:
        The same, or without the camera, with the reason; the finding is unusable then.
    """
    camera = Modality.CAMERA
    found = checked.findings.get(camera, ())
    worst = _costliest(found, costs)
    if worst is None or camera not in checked.bundle.frames:
        return checked
    if not runs_with(frozenset(str(m) for m in checked.bundle.frames if m != camera)):
        return checked
    index, cost = worst
    finding = found[index]
    points = f'{cost.lost:.1f} points of accuracy, its absence {cost.absent:.1f}'
    reason = f'{finding.reason} (such a camera costs {points})'
    told = replace(finding, reason=reason, severity=Severity.UNUSABLE)
    findings = {**checked.findings, camera: (*found[:index], told, *found[index + 1 :])}
    return CheckedBundle(remove_sensors(checked.bundle, {camera: reason}), findings)


def is_costly(kind: str, cost: FaultCost) -> bool:
    """Whether a camera with such a finding is better left out.

    Args:
        kind: Of the finding.
        cost: What was measured of its faults.

    Returns:
        True where it costs more than the absence, and cannot come of a vehicle that stands.
    """
    enough = cost.faults >= FEWEST and cost.lost >= cost.absent + MARGIN_POINTS
    return enough and kind not in OF_A_STANDING_VEHICLE


def _costliest(
    found: Sequence[HealthFinding], costs: Mapping[str, FaultCost]
) -> tuple[int, FaultCost] | None:
    """The finding that costs most, of those that cost more than the absence of the sensor."""
    worst: tuple[int, FaultCost] | None = None
    for index, finding in enumerate(found):
        cost = costs.get(str(finding.kind))
        if cost is None or not is_costly(str(finding.kind), cost):
            continue
        if worst is None or cost.lost > worst[1].lost:
            worst = index, cost
    return worst
