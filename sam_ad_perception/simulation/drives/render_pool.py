"""Rendering a whole drive, in one process or in several, always to the same bytes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.delivery import Slot, TimedFrame, deliver, plan_frames
from sam_ad_perception.simulation.drives.drive import Drive, GroundTruth
from sam_ad_perception.simulation.sensors.lidar import Sweep

EXTRA_TRUTH = ('depth', 'flow', 'points')
"""Ground truth beside the labels: depth and optical flow of each camera frame (until one period
later), the label of each lidar point."""
_CHUNK_NS = 500_000_000
_process_drive: Drive | None = None


@dataclass(frozen=True, eq=False)
class TrueFrame:
    """What is true at the time of a frame that is due, whether or not the frame arrives.

    Attributes:
        sensor: Name of the sensor.
        stamp_ns: The time by the sensor's clock, nanoseconds; without clock jumps.
        arrival_ns: When the frame arrives if nothing hinders it, nanoseconds.
        truth: Of a camera frame, else None.
        depth: Whether its depth is wanted.
        flow: (H, W, 2) float32 until the camera's next frame, pixels; None unless wanted.
        sweep: Of a lidar, without faults, with the labels of its points; else None.
    """

    sensor: str
    stamp_ns: int
    arrival_ns: int
    truth: GroundTruth | None = None
    depth: bool = False
    flow: NDArray[np.float32] | None = None
    sweep: Sweep | None = None


Rendered = TimedFrame | TrueFrame
_TRUE_RANK = 1000
"""Added to the rank of slots of truth: they come after the frames of the same time."""


def render(drive: Drive, *, workers: int = 1, extra: Sequence[str] = ()) -> Iterator[Rendered]:
    """Renders all frames of a drive.

    Args:
        drive: The drive.
        workers: Number of processes that render; 1: this one.
        extra: Which of `EXTRA_TRUTH` is wanted.

    Yields:
        Frames and truth in the order of arrival, whatever the number of workers: the truth of
        each camera frame, and of each sweep if `points` are wanted.

    Raises:
        ValueError: Another truth is wanted, or the number of workers is not positive.
    """
    unknown = set(extra) - set(EXTRA_TRUTH)
    if unknown:
        raise ValueError(f'truth must be of {list(EXTRA_TRUTH)}, got {sorted(unknown)}')
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    slots = sorted([*plan_frames(drive), *_plan_truth(drive, extra)])
    if workers == 1:
        yield from _render_slots(drive, slots, extra)
        return
    context = multiprocessing.get_context('spawn')  # forks of threaded processes may hang
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_open_drive, initargs=(drive.config,)
    ) as pool:
        pending: deque[Future[list[Rendered]]] = deque()
        chunks = deque(_split(slots))
        try:
            while chunks or pending:
                # A few chunks ahead, so that memory stays bounded.
                while chunks and len(pending) < workers + 2:
                    pending.append(pool.submit(_render_chunk, chunks.popleft(), tuple(extra)))
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _split(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    """Cuts a plan into stretches of time; neighbours share renderings within one."""
    chunk: list[Slot] = []
    for slot in slots:
        if chunk and slot.arrival_ns - chunk[0].arrival_ns >= _CHUNK_NS:
            yield chunk
            chunk = []
        chunk.append(slot)
    if chunk:
        yield chunk


def _open_drive(config: DriveConfig) -> None:
    global _process_drive
    _process_drive = Drive(config)


def _render_chunk(slots: Sequence[Slot], extra: tuple[str, ...]) -> list[Rendered]:
    assert _process_drive is not None
    return list(_render_slots(_process_drive, slots, extra))


def _plan_truth(drive: Drive, extra: Sequence[str]) -> Iterator[Slot]:
    for rank, (name, rig) in enumerate(drive.sensors.items()):
        is_sweep = not rig.has_lens and 'points' in extra
        if rig.modality is Modality.VIEW or is_sweep:
            for stamp_ns in drive.frame_stamps(name):
                arrival_ns = stamp_ns + round(rig.latency_s * 1e9)
                yield Slot(arrival_ns, _TRUE_RANK + rank, stamp_ns, name)


def _render_slots(drive: Drive, slots: Sequence[Slot], extra: Sequence[str]) -> Iterator[Rendered]:
    for slot in slots:
        if slot.rank < _TRUE_RANK:
            yield from deliver(drive, [slot])
        else:
            yield _find_truth(drive, slot, extra)


def _find_truth(drive: Drive, slot: Slot, extra: Sequence[str]) -> TrueFrame:
    name, time_ns, rig = slot.sensor, slot.true_ns, drive.sensors[slot.sensor]
    made = TrueFrame(name, time_ns + rig.offset_ns, slot.arrival_ns)
    if not rig.has_lens:
        return replace(made, sweep=drive.measure_sweep(time_ns, name))
    flow = drive.flow(time_ns, time_ns + rig.period_ns, name) if 'flow' in extra else None
    return replace(made, truth=drive.truth(time_ns, name), depth='depth' in extra, flow=flow)
