"""Arrival order, transport delay and clock offset of simulated measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sam_ad_perception.core.sensors import Events, SensorFrame
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.faults.effects import Fault


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A frame and when it reaches the computer.

    Attributes:
        frame: The measurement, stamped by its sensor's clock. An event frame holds one packet;
            its stamp is its start.
        arrival_ns: Host time of its arrival, nanoseconds.
        sensor: Name of the sensor.
        true_ns: True time of the measurement, nanoseconds.
        faults: What is wrong with it.
    """

    frame: SensorFrame
    arrival_ns: int
    sensor: str
    true_ns: int
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, order=True)
class Slot:
    """One frame that is due, in the order of arrival.

    Attributes:
        arrival_ns: Host time of its arrival, nanoseconds.
        rank: Place of the sensor in the rig, which decides between equal times.
        true_ns: True time of the measurement, nanoseconds.
        sensor: Name of the sensor.
    """

    arrival_ns: int
    rank: int
    true_ns: int
    sensor: str


def plan_frames(drive: Drive) -> list[Slot]:
    """All frames of a drive that arrive, in the order of arrival.

    `dropout`, `late` and `double_rate` decide here; what the frames look like does not.
    """
    slots = []
    for rank, (name, rig) in enumerate(drive.sensors.items()):
        duration_ns = rig.packet_ns
        latency_ns = round(rig.latency_s * 1e9)
        for stamp_ns in drive.frame_stamps(name):
            active = {fault.kind: fault for fault in drive.faults(name, stamp_ns)}
            if 'dropout' in active:
                continue
            delay_ns = round(active['late'].amount * 1e9) if 'late' in active else 0
            times = [stamp_ns]
            if 'double_rate' in active:
                times.append(stamp_ns + rig.period_ns // 2)
            slots += [Slot(t + duration_ns + latency_ns + delay_ns, rank, t, name) for t in times]
    return sorted(slots)


def deliver(drive: Drive, slots: Sequence[Slot]) -> Iterator[TimedFrame]:
    """Measures what is due.

    Args:
        drive: The drive.
        slots: Of `plan_frames`, all or some.

    Yields:
        The frames, stamped by their sensors' clocks.
    """
    for slot in slots:
        rig = drive.sensors[slot.sensor]
        active = drive.faults(slot.sensor, slot.true_ns)
        frame = drive.observe(slot.sensor, slot.true_ns, rig.packet_ns)
        if frame is None:  # the second frame of a doubled rate may fall into a dropout
            continue
        jump_s = sum(fault.amount for fault in active if fault.kind == 'clock_jump')
        shifted = _shift(frame, rig.offset_ns + round(jump_s * 1e9))
        yield TimedFrame(shifted, slot.arrival_ns, slot.sensor, slot.true_ns, active)


def _shift(frame: SensorFrame, offset_ns: int) -> SensorFrame:
    """A frame by a clock that is ahead."""
    if offset_ns == 0:
        return frame
    data = frame.data
    if isinstance(data, Events):
        data = replace(data, t_ns=data.t_ns + offset_ns)
    return replace(frame, stamp_ns=frame.stamp_ns + offset_ns, data=data)
