"""How fast lidar points become a depth image, beside Open3D, careful numpy and OpenCV in one run.

Run from the repository root: `python -m benchmarks.sensors.depth_projection`. Every candidate
takes points in the lidar's frame and a transform, and returns a 1920x1080 depth image. First on
one core (processor time, the best of the rounds, in which the candidates take turns), then on all
cores: there Open3D uses its own threads, and the others work on several clouds at once in a thread
pool, as the nodes do; wall time per cloud. Open3D is measured where it can be imported, from any
folder on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    if '--all-cores' not in sys.argv:
        os.environ[_name] = '1'

import cv2  # noqa: E402  (after the settings above)
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.result_files import compare, save_results  # noqa: E402
from sam_ad_perception.core.lidar.depth_image import (  # noqa: E402
    DepthConfig,
    rasterize,
    render_depth,
)
from sam_ad_perception.core.lidar.deskew import deskew_points, exp_twist  # noqa: E402
from sam_ad_perception.core.lidar.ego_motion import sample_motion  # noqa: E402
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig  # noqa: E402
from sam_ad_perception.core.sensors import (  # noqa: E402
    CameraModel,
    Modality,
    PointCloud,
    SensorFrame,
)

K = np.array([[1100.0, 0, 960], [0, 1100, 540], [0, 0, 1]])
PLAIN = CameraModel(1920, 1080, K)
BROWN = CameraModel(1920, 1080, K, np.array([-0.12, 0.05, 0.0005, -0.0004, -0.01]))
FISHEYE = CameraModel(1920, 1080, K, np.array([0.02, -0.005, 0.001, 0.0]), 'equidistant')
T = np.eye(4)
T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
T[:3, 3] = 0.0, -0.3, -0.4
SWEEP_NS = 100_000_000
BARE = DepthConfig(OcclusionConfig(enabled=False))


def sweep(count: int) -> NDArray[np.float32]:
    """A 128-beam sweep of a street, lidar frame: ground, and walls between 5 and 60 m.

    Ring by ring, as an organised cloud comes: the time of neighbouring points differs.
    """
    rng = np.random.default_rng(0)
    azimuth = np.tile(np.linspace(-np.pi, np.pi, count // 128, endpoint=False), 128)
    elevation = np.repeat(np.linspace(-0.43, 0.26, 128), count // 128)
    to_wall = rng.uniform(5, 60, 64)[((azimuth + np.pi) / (2 * np.pi) * 64).astype(int) % 64]
    to_ground = 1.7 / np.maximum(np.sin(-elevation), 1e-3)
    distance = np.minimum(to_wall, to_ground) + rng.normal(0, 0.02, azimuth.size)
    direction = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)]
    direction.append(np.sin(elevation))
    return np.ascontiguousarray((distance * direction).T, np.float32)


def ahead(count: int) -> NDArray[np.float32]:
    """The same street as a lidar sees it that looks forward only: every point is in the view."""
    rng = np.random.default_rng(0)
    width = count // 128
    azimuth = np.tile(np.linspace(-0.6, 0.6, width, endpoint=False), 128)
    elevation = np.repeat(np.linspace(-0.35, 0.35, 128), width)
    to_wall = rng.uniform(5, 60, 16)[((azimuth + 0.6) / 1.2 * 16).astype(int) % 16]
    to_ground = 1.7 / np.maximum(np.sin(-elevation), 1e-3)
    distance = np.minimum(to_wall, to_ground) + rng.normal(0, 0.02, azimuth.size)
    points = np.stack([np.ones_like(azimuth), np.tan(azimuth), np.tan(elevation)], axis=1)
    return (distance[:, None] * points).astype(np.float32)


def moving(points: NDArray[np.float32]) -> SensorFrame:
    """The sweep of a car that drives at 20 m/s in a bend, with the time of each point."""
    width = len(points) // 128
    times = np.tile(np.linspace(-SWEEP_NS, 0, width).astype(np.int64), 128)
    twist = np.array([20.0, 0, 0, 0, 0, 0.3]) * 1e-9
    motion = sample_motion(lambda t: exp_twist(twist * t), -SWEEP_NS, 0, 30_000_000)
    return SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points, None, times), motion=motion)


def write_nearest(
    uv: NDArray[np.float32], z: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Z-buffer in numpy: far points first, so that the nearest is written last."""
    height, width = size
    pixel = np.floor(uv + 0.5).astype(np.int32)
    inside = (
        (pixel[:, 0] >= 0) & (pixel[:, 0] < width) & (pixel[:, 1] >= 0) & (pixel[:, 1] < height)
    )
    pixel, z = pixel[inside], z[inside]
    order = np.argsort(-z)
    depth = np.full(size, np.nan, np.float32)
    depth[pixel[order, 1], pixel[order, 0]] = z[order]
    return depth


def numpy_depth(points: NDArray[np.float32], camera: CameraModel) -> NDArray[np.float32]:
    """Careful numpy: float32, cull what is outside the view's pyramid before dividing."""
    x, y, z = (points @ T[:3, :3].T.astype(np.float32) + T[:3, 3].astype(np.float32)).T
    keep = (z > 0) & (np.abs(x) < z) & (np.abs(y) < z)
    x, y, z = x[keep], y[keep], z[keep]
    scale = 1 / z
    fx, fy, cx, cy = camera.K[[0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float32)
    return write_nearest(np.stack([x * scale * fx + cx, y * scale * fy + cy], 1), z, camera.size)


def opencv_depth(points: NDArray[np.float32], camera: CameraModel) -> NDArray[np.float32]:
    """OpenCV's projection of the points in front, and the numpy z-buffer."""
    points = points @ T[:3, :3].T.astype(np.float32) + T[:3, 3].astype(np.float32)
    x, y, z = points.T
    front = points[(z > 0) & (np.abs(x) < 1.5 * z) & (np.abs(y) < 1.5 * z)]
    zero = np.zeros(3)
    if camera.distortion_model == 'equidistant':
        rows = front[:, None].astype(np.float64)
        uv = cv2.fisheye.projectPoints(rows, zero, zero, camera.K, camera.D)[0][:, 0]
    else:
        D = camera.D if camera.D.size else None
        uv = cv2.projectPoints(front[:, None], zero, zero, camera.K, D)[0][:, 0]
    return write_nearest(np.asarray(uv, np.float32), front[:, 2], camera.size)


def open3d_depth(points: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]] | None:
    """Open3D's `project_to_depth_image`, its cloud made beforehand; None where not installed."""
    try:
        core = importlib.import_module('open3d.core')
        geometry = importlib.import_module('open3d.t.geometry')
    except ImportError:
        return None
    cloud = geometry.PointCloud(core.Tensor.from_numpy(points))
    intrinsics, extrinsics = core.Tensor(PLAIN.K), core.Tensor(T)

    held: list[object] = []

    def project() -> NDArray[np.float32]:
        image = cloud.project_to_depth_image(1920, 1080, intrinsics, extrinsics, 1.0, 1000.0)
        held.append(image)  # numpy sees memory that Open3D owns
        del held[:-1]
        return np.asarray(image.as_tensor().numpy()[..., 0])  # 0 where nothing falls

    return project


def candidates(points: NDArray[np.float32]) -> dict[str, Callable[[], object]]:
    """What is measured on one cloud."""
    still = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points))
    driven = moving(points)
    calls: dict[str, Callable[[], object]] = {
        'ours': lambda: render_depth(still, T, PLAIN, BARE),
        'numpy': lambda: numpy_depth(points, PLAIN),
        'OpenCV': lambda: opencv_depth(points, PLAIN),
        'ours, deskewed': lambda: render_depth(driven, T, PLAIN, BARE),
        'ours, plumb_bob': lambda: render_depth(still, T, BROWN, BARE),
        'OpenCV, plumb_bob': lambda: opencv_depth(points, BROWN),
        'ours, plumb_bob, deskewed': lambda: render_depth(driven, T, BROWN, BARE),
        'ours, equidistant, deskewed': lambda: render_depth(driven, T, FISHEYE, BARE),
        'ours, occlusion too': lambda: render_depth(driven, T, BROWN, DepthConfig()),
        'ours, 3 values into 270x480': lambda: rasterize(
            deskew_points(driven, T), points, BROWN, (270, 480)
        ),
    }
    theirs = open3d_depth(points)
    return calls if theirs is None else {'Open3D': theirs, **calls}


def best_ms(
    calls: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Least milliseconds of each, right after an uncounted call, for the memory it left."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: 1e3 * min(values) for name, values in seconds.items()}


def spread(call: Callable[[], object], pool: ThreadPoolExecutor, cores: int) -> None:
    """Work on one cloud per core at a time, four times."""
    for future in [pool.submit(call) for _ in range(4 * cores)]:
        future.result()


def print_table(times: dict[str, float]) -> None:
    """One line per candidate, with its ratio to our plain projection."""
    for name, value in times.items():
        print(f'  {name:28s} {value:7.2f} ms  {value / times["ours"]:5.2f} x ours')
    if 'Open3D' not in times:
        print('  Open3D is not installed')


def rows_of(title: str, times: dict[str, float]) -> list[dict[str, object]]:
    """One row per candidate; ours are held against themselves."""
    ours = times['ours']
    return [compare(f'{title}: {n}', 'ms', ours, n, ms) for n, ms in times.items()]


def print_agreement(points: NDArray[np.float32]) -> None:
    """How far the results are those of OpenCV and Open3D."""
    still = SensorFrame(Modality.LIDAR, 0, 'lidar', PointCloud(points))
    pairs = [
        (f'OpenCV, {camera.distortion_model}', camera, opencv_depth(points, camera))
        for camera in (PLAIN, BROWN, FISHEYE)
    ]
    theirs = open3d_depth(points)
    if theirs is not None:
        image = theirs()
        pairs.append(('Open3D', PLAIN, np.where(image > 0, image, np.nan)))
    for name, camera, other in pairs:
        mine = render_depth(still, T, camera, BARE).depth
        either = np.isfinite(mine) | np.isfinite(other)
        same = np.mean(np.abs(mine - other)[either] < 1e-3)
        print(f'  {100 * same:.2f} % of {either.sum()} pixels as {name}')


def measure(arguments: argparse.Namespace) -> None:
    """Print the tables of one process: on one core, or on all."""
    cores = len(os.sched_getaffinity(0)) if arguments.all_cores else 1
    if not arguments.all_cores:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        cv2.setNumThreads(1)
    rows: list[dict[str, object]] = []
    print(f'{arguments.points} points into 1920x1080, {cores} core{"s" if cores > 1 else ""}')
    for title, points in (
        ('360 degree sweep, a quarter of it in view', sweep(arguments.points)),
        ('every point in view', ahead(arguments.points)),
    ):
        print(f'{title}, best of {arguments.rounds} rounds:')
        calls = candidates(points)
        if not arguments.all_cores:
            times = best_ms(calls, arguments.rounds, time.process_time)
            rows += rows_of(title, times)
            print_table(times)
            print_agreement(points)
            continue
        with ThreadPoolExecutor(cores) as pool:
            loaded: dict[str, Callable[[], object]] = {
                name: call if name == 'Open3D' else partial(spread, call, pool, cores)
                for name, call in calls.items()
            }
            times = best_ms(loaded, max(arguments.rounds // 4, 3), time.perf_counter)
        times = {n: ms if n == 'Open3D' else ms / (4 * cores) for n, ms in times.items()}
        rows += rows_of(title, times)
        print_table(times)
    save_results(f'depth_projection_{"all_cores" if arguments.all_cores else "one_core"}', rows)


def main() -> None:
    """Measure both clouds on one core, then on all, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--points', type=int, default=131_072)
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--one-core', action='store_true', help='only the first part')
    parser.add_argument('--all-cores', action='store_true', help='only the second part')
    arguments = parser.parse_args()
    if arguments.one_core or arguments.all_cores:
        measure(arguments)
        return
    for part in ('--one-core', '--all-cores'):
        command = [sys.executable, '-m', 'benchmarks.sensors.depth_projection', part]
        command += [f'--points={arguments.points}', f'--rounds={arguments.rounds}']
        subprocess.run(command, check=True)


if __name__ == '__main__':
    main()
