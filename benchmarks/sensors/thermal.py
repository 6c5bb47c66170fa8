"""How much a still street flickers when something hot comes in, by the way counts are scaled.

Run from the repository root: `python -m benchmarks.sensors.thermal`. The street and its
temperatures are simulated; something of 380 degrees Celsius moves in until it covers 5 % of the
image. The step is the largest change of the mean brightness between two frames, of the pixels that
it never covers, in percent of the full scale. Beside it the way of common drivers: each frame
between its own minimum and maximum (`cv2.normalize`), as flir_boson_usb publishes it. One thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    os.environ[_name] = '1'

import cv2  # noqa: E402  (after the settings above)
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.result_files import save_results  # noqa: E402
from sam_ad_perception.core.images.thermal import (  # noqa: E402
    FixedRange,
    RunningRange,
    ThermalRanges,
    apply_fixed_range,
    apply_range,
    measure_range,
)
from sam_ad_perception.core.sensors import Modality  # noqa: E402
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig  # noqa: E402

SIZE = (512, 640)
RATE_HZ = 9
FRAMES = 60
HOT = 65300

Scale = Callable[[int, NDArray[np.uint16]], NDArray[np.float32]]


def approach(seed: int) -> tuple[list[NDArray[np.uint16]], NDArray[np.bool_]]:
    """A still street with a hot object coming in, and the pixels that it never covers."""
    drive = Drive(DriveConfig(seed=seed, duration_s=2.0, thermal_size=SIZE))
    street = np.asarray(drive.measure(Modality.THERMAL, drive.config.start_ns).data)
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    frames, covered = [], np.zeros(SIZE, bool)
    for k in range(FRAMES):
        hot = np.hypot(u + 80 - 6.0 * max(0, k - 10), v - 300) < 72
        covered |= hot
        image = np.where(hot, HOT, street) + rng.normal(0, 8, SIZE)
        frames.append(np.clip(np.rint(image), 0, 65535).astype(np.uint16))
    return frames, ~covered


def ways() -> dict[str, Scale]:
    """Each way to scale the frame number k of a stream, from the beginning."""
    ranges, running = ThermalRanges(), RunningRange()
    fixed = FixedRange(-20.0, 60.0, 'celsius')

    def scale_minmax(_: int, image: NDArray[np.uint16]) -> NDArray[np.float32]:
        return np.asarray(cv2.normalize(image, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F))  # type: ignore[call-overload]

    def scale_percentile(_: int, image: NDArray[np.uint16]) -> NDArray[np.float32]:
        return apply_range(image, *measure_range(image, 1, 99))

    def scale_running(k: int, image: NDArray[np.uint16]) -> NDArray[np.float32]:
        stamp_ns = k * 1_000_000_000 // RATE_HZ
        return apply_range(image, *ranges.follow('thermal', stamp_ns, image, running))

    return {
        'min-max of the frame (OpenCV)': scale_minmax,
        'percentiles of the frame': scale_percentile,
        'running percentiles': scale_running,
        'fixed range, -20 to 60 degrees': lambda _, image: apply_fixed_range(image, fixed),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5, help='number of streets')
    seeds = parser.parse_args().seeds
    steps: dict[str, list[float]] = {name: [] for name in ways()}
    contrast: dict[str, list[float]] = {name: [] for name in steps}
    best: dict[str, float] = dict.fromkeys(steps, np.inf)
    for seed in range(seeds):
        frames, still = approach(seed)
        for name, scale in ways().items():
            means = []
            for k, image in enumerate(frames):
                start = time.thread_time()
                scaled = scale(k, image)
                best[name] = min(best[name], time.thread_time() - start)
                means.append(float(scaled[still].mean()))
            steps[name].append(100 * float(np.abs(np.diff(means)).max()))
            contrast[name].append(100 * float(scaled[still].std()))
    print(f'{seeds} streets, {SIZE[1]}x{SIZE[0]} at {RATE_HZ} Hz; percent of full scale')
    print(f'{"":32}{"largest step":>14}{"contrast after":>16}{"ms a frame":>12}')
    for name in steps:
        print(
            f'{name:32}{max(steps[name]):>12.2f} %{np.median(contrast[name]):>14.1f} %'
            f'{1e3 * best[name]:>12.2f}'
        )
    save_results(
        'thermal',
        [
            {
                'way': name,
                'largest_step_percent': max(steps[name]),
                'contrast_percent': float(np.median(contrast[name])),
                'ms': 1e3 * best[name],
            }
            for name in steps
        ],
    )


if __name__ == '__main__':
    main()
