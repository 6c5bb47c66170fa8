"""Runs every compiled kernel of `core` and `modeling` on hostile input; started by its test.

With NUMBA_BOUNDSCHECK=1 an index out of range raises IndexError instead of reading foreign memory.
Refusing input with ValueError, or by OpenCV, is fine; anything else is a fault. Prints the number
of calls.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from sam_ad_perception.core.events import codecs
from sam_ad_perception.core.events.representations import (
    accumulate_counts,
    event_image,
    time_surface,
    voxel_grid,
)
from sam_ad_perception.core.geometry.cameras import project_points, unproject_pixels
from sam_ad_perception.core.health.measures import event_density, measure_cloud, measure_image
from sam_ad_perception.core.images.alignment import estimate_surface, surface_map, warp_to_camera
from sam_ad_perception.core.images.area_resize import shrink_picture
from sam_ad_perception.core.images.thermal import apply_range, measure_range
from sam_ad_perception.core.lidar.densification import fill_edge_aware, fill_nearest
from sam_ad_perception.core.lidar.depth_image import (
    DepthConfig,
    project_depth,
    rasterize,
    render_depth,
)
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig, cull_occluded
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    PointMotion,
    SensorFrame,
)
from sam_ad_perception.modeling.inference.label_upsampling import upsample_labels
from sam_ad_perception.modeling.inference.upsampling import upsample_argmax

VALUES = (0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 1e38, -1e38, 1e-300)
INTEGERS = (0, 1, 255, 65535, 2**31 - 1, 2**32 - 1)
calls = 0


def attempt(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function; a ValueError is a refusal, everything else passes through."""
    global calls
    calls += 1
    try:
        function(*arguments)
    except (ValueError, cv2.error):  # OpenCV checks what it is given, too
        pass
    except Exception as error:
        shapes = [getattr(a, 'shape', a) for a in arguments]
        raise AssertionError(f'{function.__name__}{shapes}: {error!r}') from error


def cameras() -> list[CameraModel]:
    """Small, one row, one column, off centre, with lenses that fold."""
    made = []
    for (width, height), D in itertools.product(
        ((64, 48), (1, 40), (40, 1), (1, 1)),
        ([], [5.0, -3, 1, 1, 9], [-0.5, 0.1, 0, 0, 0]),
    ):
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        made.append(CameraModel(width, height, K, np.array(D)))
        shifted = K.copy()
        shifted[0, 2] = -1e6
        made.append(CameraModel(width, height, shifted, np.array(D)))
    return made


def clouds(rng: np.random.Generator) -> list[np.ndarray]:
    """Empty, one point, special values, and points in a normal scene among which these stand."""
    special = np.array(list(itertools.product(VALUES, repeat=3)), np.float64)
    scene = rng.normal(0, 10, (400, 3))
    scene[::7] = special[rng.integers(0, len(special), len(scene[::7]))]
    made = [np.zeros((0, 3)), np.zeros((1, 3)), special, scene, scene[:1]]
    return [points.astype(kind) for points in made for kind in (np.float32, np.float64)]


def images(rng: np.random.Generator) -> list[np.ndarray]:
    """All dtypes of pictures, empty, single rows and columns, special values."""
    made: list[np.ndarray] = []
    for shape in ((0, 0), (1, 1), (1, 50), (50, 1), (33, 47)):
        made += [rng.integers(0, 256, shape).astype(np.uint8)]
        made += [rng.integers(0, 65536, shape).astype(np.uint16)]
        made += [np.resize(np.array(VALUES, np.float32), shape)]
        made += [rng.integers(0, 256, (*shape, 3)).astype(np.uint8)]
    return made


def run_upsampling(rng: np.random.Generator) -> None:
    for (classes, h, w), size in itertools.product(
        ((1, 1, 1), (2, 1, 5), (19, 5, 1), (254, 3, 4), (19, 12, 20)),
        ((1, 1), (1, 70), (70, 1), (48, 64), (97, 131), (200, 10)),
    ):
        logits = rng.normal(0, 3, (classes, h, w)).astype(np.float32)
        spoilt = logits.copy()
        spoilt.flat[:: max(1, spoilt.size // 7)] = np.resize(
            np.array(VALUES, np.float32), len(spoilt.flat[:: max(1, spoilt.size // 7)])
        )
        for each in (logits, spoilt, np.full_like(logits, np.nan), np.full_like(logits, -np.inf)):
            mask, confidence = np.full(size, 255, np.uint8), np.zeros(size, np.uint8)
            attempt(upsample_argmax, each, np.float32(1), mask, confidence)
            assert mask.max() < classes, 'a mask must hold classes only'
            attempt(upsample_labels, each, mask)
            assert mask.max() < classes


def run_lidar(rng: np.random.Generator) -> None:
    for camera, points in itertools.product(cameras(), clouds(rng)):
        attempt(project_points, camera, points)
        attempt(project_depth, points, camera)
        attempt(rasterize, points, np.ones((len(points), 2), np.float32), camera, camera.size)
        attempt(estimate_surface, points, camera)
        times = np.linspace(-1e8, 0, len(points)).astype(np.int64)
        wrapped = times.copy()
        wrapped[::3] = np.iinfo(np.int64).min
        motion = PointMotion(-100_000_000, 25_000_000, np.stack([np.eye(4)] * 5))
        for point_times, moved in ((None, None), (times, motion), (wrapped, motion)):
            data = PointCloud(points.astype(np.float32), None, point_times)
            frame = SensorFrame(Modality.LIDAR, 5, 'lidar', data, motion=moved)
            attempt(deskew_points, frame, np.eye(4))
            attempt(project_sweep, frame, np.eye(4), camera)
            for fill in ('none', 'nearest', 'edge_aware'):
                attempt(render_depth, frame, np.eye(4), camera, DepthConfig(fill=fill))
            attempt(measure_cloud, data)
    for camera in cameras():
        uv = rng.uniform(-10, 70, (50, 2))
        uv[::5] = np.nan
        uv[1::5] = 1e300
        z = np.resize(np.array(VALUES), 50)
        attempt(cull_occluded, uv, z, camera, OcclusionConfig())
        attempt(cull_occluded, uv[:0], z[:0], camera, OcclusionConfig())
        attempt(unproject_pixels, camera, uv)


def run_pictures(rng: np.random.Generator) -> None:
    for image in images(rng):
        attempt(measure_image, image)
        for size in ((1, 1), (10, 20), (33, 47)):
            attempt(shrink_picture, image, size)
        attempt(measure_range, image, 1.0, 99.0)
        for low, high in ((0.0, 1.0), (np.nan, 1.0), (5.0, 5.0), (-np.inf, np.inf)):
            attempt(apply_range, image, low, high)
        if image.ndim == 2 and image.dtype == np.float32:
            attempt(fill_nearest, image, 8)
            attempt(fill_edge_aware, image, 8)
            guide = np.zeros((*image.shape, 3), np.uint8)
            attempt(fill_edge_aware, image, 8, guide)
        for target in cameras()[:4]:
            if image.size:
                height, width = image.shape[:2]
                K = np.array([[50.0, 0, width / 2], [0, 50, height / 2], [0, 0, 1]])
                source = CameraModel(width, height, K)
                attempt(warp_to_camera, image, source, target, np.eye(4))
                attempt(warp_to_camera, image, source, target, np.full((4, 4), np.nan))
                depth = np.resize(np.array(VALUES, np.float32), target.size)
                attempt(surface_map, source, target, np.eye(4), depth)


def run_events(rng: np.random.Generator) -> None:
    limit = np.iinfo(np.int64)
    for count, (height, width) in itertools.product((0, 1, 300), ((1, 1), (1, 40), (48, 64))):
        x = rng.integers(0, width, count).astype(np.uint16)
        y = rng.integers(0, height, count).astype(np.uint16)
        polarity = rng.integers(0, 2, count).astype(bool)
        steady = np.sort(rng.integers(0, 10**8, count)).astype(np.int64)
        wild = rng.integers(limit.min, limit.max, count)
        for t in (steady, wild):
            for columns in ((x, y), (np.full_like(x, 65535), np.full_like(y, 65535))):
                try:
                    events = Events(*columns, polarity, t, (height, width), 0)
                except (TypeError, ValueError):
                    continue
                attempt(accumulate_counts, events)
                attempt(event_image, events)
                attempt(voxel_grid, events, 5, 0, 10**8)
                attempt(voxel_grid, events, 1, 10**8, 10**8)
                attempt(time_surface, events, 10**8, 3e7)
                attempt(event_density, events, 10**8, 30_000_000)
    for size in (0, 1, 2, 3, 17, 2000):
        words = rng.integers(0, 65536, size).astype(np.uint16)
        for sensor in ((1, 1), (640, 480)):
            columns = codecs.new_columns(codecs.evt3_capacity(words) + 1)
            attempt(codecs.decode_evt3, words, codecs.new_evt3_state(), *sensor, columns)
            columns = codecs.new_columns(size + 1)
            words_32 = rng.integers(0, 2**32, 2 * size).astype(np.uint32)
            attempt(codecs.decode_libcaer, words_32, *sensor, columns)
            words_64 = rng.integers(0, 2**63, size).astype(np.uint64)
            attempt(codecs.decode_mono, words_64, *sensor, columns)


def main() -> None:
    """Run everything."""
    warnings.simplefilter('ignore')
    np.seterr(all='ignore')
    rng = np.random.default_rng(0)
    for part in (run_upsampling, run_lidar, run_pictures, run_events):
        before = calls
        part(rng)
        print(f'{part.__name__}: {calls - before} calls', file=sys.stderr)
    print(calls)


if __name__ == '__main__':
    main()
