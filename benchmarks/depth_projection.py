"""How fast lidar points become a depth image, beside careful numpy and OpenCV in the same run.

Run from the repository root: `python -m benchmarks.depth_projection`. One thread everywhere.
Each figure is the median over the rounds, in which the candidates take turns.
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

from sam_ad_perception.core.depth import project_depth, rasterize  # noqa: E402
from sam_ad_perception.core.geometry import transform_points  # noqa: E402
from sam_ad_perception.core.sensors import CameraModel  # noqa: E402

K = np.array([[1100.0, 0, 960], [0, 1100, 540], [0, 0, 1]])
PLAIN = CameraModel(1920, 1080, K)
BROWN = CameraModel(1920, 1080, K, np.array([-0.12, 0.05, 0.0005, -0.0004, -0.01]))
FISHEYE = CameraModel(1920, 1080, K, np.array([0.02, -0.005, 0.001, 0.0]), 'equidistant')


def sweep(count: int) -> NDArray[np.float32]:
    """A 128-beam sweep of a street, camera frame: ground, and walls between 5 and 60 m."""
    rng = np.random.default_rng(0)
    azimuth = np.tile(np.linspace(-np.pi, np.pi, count // 128, endpoint=False), 128)
    elevation = np.repeat(np.linspace(-0.43, 0.26, 128), count // 128)
    to_wall = rng.uniform(5, 60, 64)[((azimuth + np.pi) / (2 * np.pi) * 64).astype(int) % 64]
    to_ground = 1.7 / np.maximum(np.sin(-elevation), 1e-3)
    distance = np.minimum(to_wall, to_ground) + rng.normal(0, 0.02, azimuth.size)
    direction = [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation)]
    direction.append(np.cos(azimuth) * np.cos(elevation))
    return (distance * direction).T.astype(np.float32)


def crowd(count: int) -> NDArray[np.float32]:
    """Points that all lie in the view, as from a lidar that looks forward only."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.6, -0.33, 1], [0.6, 0.33, 1], (count, 3))
    return (points * rng.uniform(3, 80, (count, 1))).astype(np.float32)


def write_nearest(
    uv: NDArray[np.floating], z: NDArray[np.floating], size: tuple[int, int]
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
    x, y, z = points.T
    keep = (z > 0) & (np.abs(x) < z) & (np.abs(y) < z)
    x, y, z = x[keep], y[keep], z[keep]
    scale = 1 / z
    fx, fy, cx, cy = camera.K[[0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float32)
    return write_nearest(np.stack([x * scale * fx + cx, y * scale * fy + cy], 1), z, camera.size)


def opencv_depth(points: NDArray[np.float32], camera: CameraModel) -> NDArray[np.float32]:
    """OpenCV's projection of the points in front, and the numpy z-buffer."""
    x, y, z = points.T
    front = points[(z > 0) & (np.abs(x) < 1.5 * z) & (np.abs(y) < 1.5 * z)]
    zero = np.zeros(3)
    if camera.distortion_model == 'equidistant':
        rows = front[:, None].astype(np.float64)
        uv = cv2.fisheye.projectPoints(rows, zero, zero, camera.K, camera.D)[0][:, 0]
    else:
        D = camera.D if camera.D.size else None
        uv = cv2.projectPoints(front[:, None], zero, zero, camera.K, D)[0][:, 0]
    return write_nearest(uv, front[:, 2], camera.size)


def medians_ms(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * float(np.median(values[1:])) for name, values in seconds.items()}


def measure(points: NDArray[np.float32], rounds: int) -> None:
    """Print the table for one cloud, and how far the results agree."""
    times = medians_ms(
        {
            'ours, pinhole': lambda: project_depth(points, PLAIN),
            'numpy, pinhole': lambda: numpy_depth(points, PLAIN),
            'OpenCV, pinhole': lambda: opencv_depth(points, PLAIN),
            'ours, plumb_bob': lambda: project_depth(points, BROWN),
            'OpenCV, plumb_bob': lambda: opencv_depth(points, BROWN),
            'ours, equidistant': lambda: project_depth(points, FISHEYE),
            'OpenCV, equidistant': lambda: opencv_depth(points, FISHEYE),
            'ours, 3 values into 270x480': lambda: rasterize(points, points, BROWN, (270, 480)),
            'ours, rigid transform': lambda: transform_points(np.eye(4), points),
        },
        rounds,
    )
    for name, value in times.items():
        ours = times.get(f'ours, {name.rsplit(" ", 1)[-1]}')
        ratio = '' if ours is None or name.startswith('ours') else f'{value / ours:5.1f} x ours'
        print(f'  {name:28s} {value:7.2f} ms  {ratio}')
    for name, camera in (('pinhole', PLAIN), ('plumb_bob', BROWN), ('equidistant', FISHEYE)):
        mine, theirs = project_depth(points, camera), opencv_depth(points, camera)
        either = np.isfinite(mine) | np.isfinite(theirs)
        same = np.mean(np.abs(mine - theirs)[either] < 1e-3)
        print(f'  {name}: {100 * same:.3f} % of {either.sum()} pixels as OpenCV')


def main() -> None:
    """Measure both clouds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--points', type=int, default=131_072)
    parser.add_argument('--rounds', type=int, default=50)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f'{arguments.points} points into 1920x1080, one thread')
    for title, points in (
        ('360 degree sweep, a quarter of it in view', sweep(arguments.points)),
        ('every point in view', crowd(arguments.points)),
    ):
        print(f'{title}, median of {arguments.rounds} rounds:')
        measure(points, arguments.rounds)


if __name__ == '__main__':
    main()
