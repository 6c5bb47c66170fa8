"""Several sensors of a kind on one vehicle, and which of them feeds which input of the network.

A network takes kinds of sensors; a vehicle may have two thermal cameras. Each is named by the
parameter `sensors.<name>.kind`, has topics, clock offset and health of its own, and feeds the
input of its kind (or another one): the healthy sensor with the lowest rank does, so that the
second takes over when the first fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.settings.parameters import parameter

_OWN_RANK = 1


@dataclass(frozen=True)
class VehicleSensorConfig:
    """One of several sensors of a kind."""

    kind: str = parameter('', 'What it is: gives its messages, its health and its form.')
    feeds: str = parameter('', 'Network input that it may feed; empty for that of its kind.')
    rank: int = parameter(
        2,
        'Of the healthy sensors that may feed an input, that of the lowest rank does; the sensor '
        'that is named as its kind has rank 1.',
        ge=0,
        le=100,
    )


def declared_sensors() -> dict[str, VehicleSensorConfig]:
    """The sensors that were declared in this process beside those named as their kind."""
    return {str(m): VehicleSensorConfig(str(m.kind)) for m in Modality if m.kind is not m}


def order_feeds(
    sensors: Mapping[str, VehicleSensorConfig],
) -> dict[Modality, tuple[Modality, ...]]:
    """List which sensors may feed each input of the network that has more than its own.

    Args:
        sensors: The vehicle's sensors by name.

    Returns:
        For each input, its sensors, first choice first.

    Raises:
        ValueError: A sensor feeds an input that no network can have.
    """
    ranked: dict[Modality, list[tuple[int, str]]] = {}
    for name, each in sensors.items():
        wanted = each.feeds or each.kind
        if wanted not in Modality:
            raise ValueError(
                f'sensors.{name}.feeds must be one of {[*map(str, Modality)]}, got {wanted!r}'
            )
        ranked.setdefault(Modality(wanted), [(_OWN_RANK, wanted)]).append((each.rank, name))
    return {
        wanted: tuple(Modality(name) for _, name in sorted(found))
        for wanted, found in ranked.items()
    }


def feed_inputs(
    bundle: SensorBundle, feeds: Mapping[Modality, tuple[Modality, ...]]
) -> SensorBundle:
    """Put the first sensor that is there into each input of the network.

    Args:
        bundle: Frames by the names of the sensors, without those that are not to be used.
        feeds: Of `order_feeds`.

    Returns:
        The bundle by inputs. A frame keeps the name of its sensor in `modality`, and a note says
        that it stands in for another; an input that nobody feeds is missing, with every reason.
    """
    if not feeds:
        return bundle
    frames, missing = dict(bundle.frames), dict(bundle.missing)
    notes, T_camera = dict(bundle.notes), dict(bundle.T_camera)
    for wanted, sensors in feeds.items():
        there = [m for m in sensors if m in bundle.frames]
        reasons = [f'{m}: {bundle.missing[m]}' for m in sensors if m in bundle.missing]
        for table in (frames, missing, notes, T_camera):
            for sensor in sensors:
                table.pop(sensor, None)
        if not there:
            if reasons:
                missing[wanted] = '; '.join(reasons)
            continue
        used = there[0]
        frames[wanted] = bundle.frames[used]
        if used in bundle.T_camera:
            T_camera[wanted] = bundle.T_camera[used]
        told = [bundle.notes[used]] if used in bundle.notes else []
        if used is not wanted:
            before = sensors[: sensors.index(used)]
            why = [f'{m}: {bundle.missing[m]}' for m in before if m in bundle.missing]
            told.insert(0, f'from {used}' + (f' ({"; ".join(why)})' if why else ''))
        if told:
            notes[wanted] = '; '.join(told)
    return replace(bundle, frames=frames, missing=missing, notes=notes, T_camera=T_camera)
