"""What one selection costs a frame: processor time of one core, part by part.

Run from the repository root: `python -m benchmarks.sensors.selections`. A 1920x1080 mask of
blocks, a depth image and a sweep of 131072 points of 32 bytes; the selection is the eight moving
classes of Cityscapes grown by 5 pixels. Best of the rounds, of what is computed
(`core.selections`): what copies it into a message stands apart. Beside it what a script with numpy
and OpenCV takes. The depth image has projected the points already where it is wanted; else they
are projected anew.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    os.environ[_name] = '1'

import cv2  # noqa: E402  (after the settings above)
import numpy as np  # noqa: E402

from benchmarks.result_files import compare, save_results  # noqa: E402
from sam_ad_perception.core.labels import LABEL_SPACES  # noqa: E402
from sam_ad_perception.core.lidar.depth_image import DepthConfig, render_depth  # noqa: E402
from sam_ad_perception.core.lidar.visibility import locate, visible_pixels  # noqa: E402
from sam_ad_perception.core.messages.from_ros import array_to_image  # noqa: E402
from sam_ad_perception.core.selections.clouds import filter_cloud, select_points  # noqa: E402
from sam_ad_perception.core.selections.config import SelectionConfig, resolve  # noqa: E402
from sam_ad_perception.core.selections.pixels import select_depth, select_pixels  # noqa: E402
from sam_ad_perception.core.sensors import (  # noqa: E402
    CameraModel,
    CloudSource,
    Modality,
    PointCloud,
    SensorFrame,
)

SIZE = 1080, 1920
POINTS = 131_072
STEP = 32
DYNAMIC = ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')


def best_ms(run: Callable[[], object], rounds: int) -> float:
    """Least processor time of some runs, milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return 1e3 * min(times)


def make_sweep() -> PointCloud:
    """A sweep around the vehicle, as a driver sends it: 32 bytes a point."""
    rng = np.random.default_rng(0)
    azimuth = rng.uniform(-np.pi, np.pi, POINTS)
    distance, height = rng.uniform(3, 60, POINTS), rng.uniform(-2, 3, POINTS)
    points = np.column_stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height])
    data = np.zeros((POINTS, STEP), np.uint8)
    data[:, :12] = points.astype('<f4').view(np.uint8).reshape(POINTS, 12)
    fields = (('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('intensity', 16, 7, 1))
    source = CloudSource(data.reshape(-1), fields, STEP, STEP * POINTS, 1, POINTS)
    return PointCloud(points.astype(np.float32), source=source)


def measure(rounds: int) -> list[dict[str, Any]]:
    """Time each part of a selection beside what a script takes.

    Args:
        rounds: Rounds of which the best counts.

    Returns:
        A row per part.
    """
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

    blocks = np.random.default_rng(0).integers(0, 19, (45, 80), dtype=np.uint8)
    mask = np.asarray(cv2.resize(blocks, SIZE[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    config = {'dynamic': SelectionConfig(DYNAMIC, dilate_px=5)}
    chosen = resolve(config, LABEL_SPACES['cityscapes'])['dynamic']
    K = np.array([[1200.0, 0, 960], [0, 1200, 540], [0, 0, 1]])
    camera = CameraModel(SIZE[1], SIZE[0], K)
    T = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0.1], [1, 0, 0, 0], [0, 0, 0, 1]])
    sweep = SensorFrame(Modality.LIDAR, 0, 'lidar', make_sweep())
    rendered = render_depth(sweep, T, camera, DepthConfig())
    depth = rendered.depth
    selected = select_pixels(mask, chosen)
    pixels = visible_pixels(sweep, T, camera, depth)
    left = ~select_points(pixels, selected)
    ids = np.flatnonzero(chosen.chosen)
    kernel = np.ones((11, 11), np.uint8)

    def by_hand() -> object:
        return cv2.dilate(np.isin(mask, ids).astype(np.uint8) * 255, kernel)

    np.testing.assert_array_equal(by_hand(), selected)
    assert isinstance(sweep.data, PointCloud)
    cloud = sweep.data

    def masked() -> object:
        return np.where(selected > 0, np.float32(np.nan), depth)

    timed: list[tuple[str, Callable[[], object], str, Callable[[], object] | None]] = [
        ('mask', lambda: select_pixels(mask, chosen), 'np.isin, dilate', by_hand),
        ('depth', lambda: select_depth(depth, selected, keep=False), 'np.where', masked),
        (
            'pixel of each point, once for all selections',
            lambda: locate(rendered.projected, camera, depth),
            'without the depth image',
            lambda: visible_pixels(sweep, T, camera, depth),
        ),
        ('points of the selection', lambda: ~select_points(pixels, selected), '', None),
        (
            'cloud message of what is left',
            lambda: filter_cloud(message_type, cloud, left, 0, 'lidar'),
            '',
            None,
        ),
        (
            'image message of the mask',
            lambda: array_to_image(message_type, selected, 'mono8', 0, 'camera'),
            '',
            None,
        ),
        (
            'image message of the depth',
            lambda: array_to_image(message_type, depth, '32FC1', 0, 'camera'),
            '',
            None,
        ),
    ]
    return [
        compare(what, 'ms', best_ms(run, rounds), peer, best_ms(theirs, rounds) if theirs else 0.0)
        for what, run, peer, theirs in timed
    ]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=30)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    from sam_ad_perception.nodes.ros.process import keep_memory

    keep_memory()
    rows = measure(rounds)
    for row in rows:
        peer = f'{row["peer"]}: {row["theirs"]:.2f}' if 'peer' in row else ''
        print(f'{row["what"]:46} {row["ours"]:6.2f} ms  {peer}')
    save_results('selections', rows)


if __name__ == '__main__':
    main()
