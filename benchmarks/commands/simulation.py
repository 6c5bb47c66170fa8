"""How fast a drive is simulated and recorded: camera, thermal, events at 100 Hz, lidar, truth.

Run from the repository root: `python -m benchmarks.commands.simulation`. Each row records the same
drive of 640x400 camera frames at 10 Hz into a compressed bag, as `sam_ad simulate` does, and
counts camera frames. Wall time holds the start of the processes; processor time over all processes
tells what the machine could do if nothing else ran on it.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.result_files import save_results
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record


def processor_seconds() -> float:
    """Time that this process and its finished children have computed."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(each) for each in who]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(config: DriveConfig, workers: int) -> tuple[int, float, float]:
    """Record once.

    Args:
        config: The drive.
        workers: Number of processes that render.

    Returns:
        Camera frames, wall time and processor time, seconds.
    """
    with tempfile.TemporaryDirectory() as folder, BagWriter(Path(folder) / 'bag') as writer:
        wall, used = time.perf_counter(), processor_seconds()
        counts = record(Drive(config), writer, workers=workers)
        return (
            counts['/camera/image_rect'],
            time.perf_counter() - wall,
            processor_seconds() - used,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--duration', type=float, default=10.0, help='seconds of each drive')
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    measure(DriveConfig(seed=3, duration_s=0.2, condition='night+rain'), 1)  # compiles
    print(f'camera frames per second, recorded; {cores} cores, target 5 on 2 cores')
    print(f'{"condition":12} {"processes":>9} {"frames/s":>9} {"frames/s of processor time":>27}')
    rows = []
    for condition in ('day', 'night+rain'):
        for workers in sorted({1, cores}):
            config = DriveConfig(seed=3, duration_s=options.duration, condition=condition)
            frames, wall_s, used_s = measure(config, workers)
            print(f'{condition:12} {workers:9d} {frames / wall_s:9.1f} {frames / used_s:27.1f}')
            rows.append(
                {
                    'condition': condition,
                    'processes': workers,
                    'frames_per_s': frames / wall_s,
                    'frames_per_processor_s': frames / used_s,
                }
            )
    save_results('simulation', rows)


if __name__ == '__main__':
    main()
