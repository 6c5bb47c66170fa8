"""How the cost of a frame grows with pixels, points, sensors and cameras.

python -m benchmarks.networks.scale [--repeats 5] [--threads 1] [--input 96 160]
One thing grows at a time; the rest is a simulated frame of 640x400. The demo network runs at a
small input, so that it does not hide the rest. `power` is the slope of the logarithms over the
larger half: 1 is linear, and what grows is paid for once where it is less. Cameras run as one
batch in one process, with one network. Writes benchmarks/results/scale.json and scale.html.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.networks.backends import find_spec, make_expert
from benchmarks.result_files import RESULTS, save_results
from sam_ad_perception.core.benchmarking import describe_machine
from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.depth import DepthImage
from sam_ad_perception.modeling.zoo.entries import CheckpointSpec
from sam_ad_perception.reporting.drawing.growth_plot import curve_colors, draw_growth
from sam_ad_perception.reporting.sheets_page import Sheet, render_sheets
from sam_ad_perception.simulation.drives.drive import DriveConfig
from sam_ad_perception.simulation.drives.sample_frames import sample_frames, spread_points

SIZES = ((480, 640), (720, 1280), (1080, 1920), (1536, 2048), (2160, 3840))
POINTS = (16_384, 65_536, 131_072, 262_144, 1_048_576)
CAMERAS = (1, 2, 4, 8)
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
FIVE = (*SENSORS, Modality.DEPTH)
NOTE = (
    'Both axes are logarithmic: a straight line is a power of the size, and its slope is the '
    'column power of the tables, over the larger half. Each point is the least time of several '
    'frames, wall clock.'
)


@dataclass(frozen=True)
class Point:
    """One size of one thing.

    Attributes:
        grows: What grows.
        size: To how much.
        stages_ms: Least time of each stage, summed over the cameras, and of the whole `frame`.
    """

    grows: str
    size: float
    stages_ms: dict[str, float]


def grow_pixels(bundle: SensorBundle) -> Iterator[tuple[float, list[SensorBundle]]]:
    """Camera images from 0.3 to 8 megapixels."""
    frame = bundle.frames[Modality.CAMERA]
    for height, width in SIZES:
        view = scale_camera(bundle.camera, (height, width))
        image = cv2.resize(np.asarray(frame.data), (width, height))
        larger = replace(frame, data=image, camera=view)
        frames = {**bundle.frames, Modality.CAMERA: larger}
        yield height * width / 1e6, [replace(bundle, camera=view, frames=frames)]


def grow_points(bundle: SensorBundle) -> Iterator[tuple[float, list[SensorBundle]]]:
    """Sweeps of 16 thousand to a million points."""
    frame = bundle.frames[Modality.LIDAR]
    assert isinstance(frame.data, PointCloud)
    for count in POINTS:
        larger = replace(frame, data=spread_points(frame.data, count))
        frames = {**bundle.frames, Modality.LIDAR: larger}
        yield count / 1e3, [replace(bundle, frames=frames)]


def grow_sensors(bundle: SensorBundle) -> Iterator[tuple[float, list[SensorBundle]]]:
    """One sensor, two, and so on; the fifth is a depth sensor that sees a wall at the camera."""
    wall = np.full(bundle.camera.size, 10.0, np.float32)
    depth = replace(
        bundle.frames[Modality.CAMERA], modality=Modality.DEPTH, data=wall, camera=bundle.camera
    )
    every = {**bundle.frames, Modality.DEPTH: depth}
    T_camera = {**bundle.T_camera, Modality.DEPTH: np.eye(4)}
    for count in range(1, len(FIVE) + 1):
        frames = {m: every[m] for m in FIVE[:count]}
        missing = dict.fromkeys(FIVE[count:], 'not asked for')
        yield count, [replace(bundle, frames=frames, missing=missing, T_camera=T_camera)]


def grow_cameras(bundle: SensorBundle) -> Iterator[tuple[float, list[SensorBundle]]]:
    """One camera, two, and so on, each with its own thermal camera, events and lidar."""
    for count in CAMERAS:
        views = [replace(bundle.camera, frame_id=f'camera{i}') for i in range(count)]
        yield count, [replace(bundle, camera=view) for view in views]


GROWTHS: dict[str, Callable[[SensorBundle], Iterator[tuple[float, list[SensorBundle]]]]] = {
    'camera, megapixels': grow_pixels,
    'sweep, thousand points': grow_points,
    'sensors': grow_sensors,
    'cameras': grow_cameras,
}


def make_segmenter(height: int, width: int, *, depth: bool) -> Segmenter:
    """The demo network; with a fifth input its weights are random, which costs the same."""
    spec = find_spec(f'mle_sam_demo@{height}x{width}')
    if depth:
        inputs = {**spec.inputs, str(Modality.DEPTH): DepthImage()}
        spec = replace(spec, inputs=inputs, checkpoint=CheckpointSpec())
    return Segmenter([make_expert(spec, 'torch', None)])


def measure(segmenter: Segmenter, bundles: Sequence[SensorBundle], repeats: int) -> dict:
    """Least milliseconds of each stage and of all."""
    stages: dict[str, float] = {}
    for number in range(repeats + 1):  # the first one warms up
        segmenter.reset()  # else the same frame again is that of a frozen sensor
        start = time.perf_counter()
        results = segmenter.segment(bundles)
        spent = {'frame': 1e3 * (time.perf_counter() - start)}
        for result in results:
            for stage, seconds in result.latency_s.items():
                share = 1 if stage != 'network' else len(results)
                spent[stage] = spent.get(stage, 0.0) + 1e3 * seconds / share
        if number:
            stages = {s: min(ms, stages.get(s, ms)) for s, ms in spent.items()}
    return stages


def power(points: Sequence[Point], stage: str) -> float:
    """Slope of the logarithms from the middle to the largest."""
    first, last = points[len(points) // 2 - 1], points[-1]
    if stage not in first.stages_ms:
        return float('nan')
    ratio = last.stages_ms[stage] / max(first.stages_ms[stage], 1e-6)
    return float(np.log(ratio) / np.log(last.size / first.size))


def make_table(grows: str, points: Sequence[Point]) -> Table:
    """One row per stage, one column per size."""
    sizes = [f'{point.size:.3g}' for point in points]
    table = Table('ms', *sizes, 'power', title=f'what a frame takes by {grows}')
    for stage in points[-1].stages_ms:
        cells = (f'{point.stages_ms.get(stage, 0):.1f}' for point in points)
        table.add_row(stage, *cells, f'{power(points, stage):.2f}')
    return table


def make_page(points: Sequence[Point], facts: Mapping[str, str]) -> str:
    """Draw every growth on one page.

    Args:
        points: Measured.
        facts: Name -> short fact of the measurement.

    Returns:
        HTML.
    """
    series = [[p for p in points if p.grows == g] for g in dict.fromkeys(p.grows for p in points)]
    colors = curve_colors(list(dict.fromkeys(s for point in points for s in point.stages_ms)))
    plots = [
        draw_growth(
            f'{each[0].grows} (log)',
            'ms per frame (log)',
            [point.size for point in each],
            {name: [point.stages_ms.get(name) for point in each] for name in each[-1].stages_ms},
            colors,
        )
        for each in series
    ]
    curves = Sheet('Time of a frame by what grows', drawings=plots, legend=colors, note=NOTE)
    return render_sheets('Cost against size', [curves, *map(_table, series)], facts)


def _table(points: Sequence[Point]) -> Sheet:
    columns = ['stage, ms', *(f'{point.size:.3g}' for point in points), 'power']
    if max(point.size for point in points) >= 1000:
        columns[1:-1] = [f'{point.size:.0f}' for point in points]
    rows = [
        [
            stage,
            *(f'{p.stages_ms[stage]:.1f}' if stage in p.stages_ms else '-' for p in points),
            f'{power(points, stage):.2f}',
        ]
        for stage in points[-1].stages_ms
    ]
    return Sheet(points[0].grows, columns, rows)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--input', type=int, nargs=2, default=(96, 160), metavar=('H', 'W'))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = arguments.input
    (bundle,) = sample_frames(DriveConfig(duration_s=1.0), 1, SENSORS)
    console, series = Console(), {}
    for grows, grow in GROWTHS.items():
        segmenter = make_segmenter(height, width, depth=grow is grow_sensors)
        with console.status(grows):
            series[grows] = [
                Point(grows, size, measure(segmenter, bundles, arguments.repeats))
                for size, bundles in grow(bundle)
            ]
        console.print(make_table(grows, series[grows]))
    save_results('scale', [point for points in series.values() for point in points])
    page = RESULTS / 'scale.html'
    measured = [point for points in series.values() for point in points]
    facts = {
        'machine': str(describe_machine()),
        'threads': str(arguments.threads),
        'network': f'mle_sam_demo at {height}x{width}',
    }
    page.write_text(make_page(measured, facts), encoding='utf-8')
    console.print(f'plots in {page}', highlight=False, soft_wrap=True)


if __name__ == '__main__':
    main()
