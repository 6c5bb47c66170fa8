"""How far an aligned thermal image is off, by the way it is aligned, on simulated rigs.

Run from the repository root: `python -m benchmarks.sensors.alignment`. Camera (seen at 512x320)
and thermal camera (640x512) stand 20 cm apart, turned by 1.5 degrees. Both are ray-cast, so where
each pixel's point really is in the thermal image, and whether the thermal camera sees it, is known
exactly. The residual is the distance of the map from there, in thermal pixels, over the pixels
that both see. The homographies are timed with `cv2.warpPerspective`. One thread.
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
from sam_ad_perception.core.geometry.cameras import (  # noqa: E402
    project_points,
    sampling_map,
    unproject_pixels,
)
from sam_ad_perception.core.geometry.transforms import (  # noqa: E402
    invert_transform,
    make_transform,
    transform_points,
)
from sam_ad_perception.core.images.alignment import (  # noqa: E402
    SamplingMap,
    estimate_surface,
    surface_map,
    warp_by_map,
    warp_to_camera,
)
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud  # noqa: E402
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig  # noqa: E402
from sam_ad_perception.simulation.raycasting.rays import cast  # noqa: E402
from sam_ad_perception.simulation.sensors.lidar import ring_of  # noqa: E402

VIEW = CameraModel(512, 320, np.array([[336.0, 0, 255.5], [0, 336.0, 159.5], [0, 0, 1]]))
THERMAL = CameraModel(640, 512, np.array([[380.0, 0, 319.5], [0, 380.0, 255.5], [0, 0, 1]]))
TURN = np.asarray(cv2.Rodrigues(np.array([0.01, -0.02, 0.015]))[0])
BASELINES = {'beside': (0.2, 0.0, 0.0), 'above': (0.0, -0.2, 0.0), 'oblique': (0.14, 0.14, 0.02)}
PLANE_M = 20.0


def rays_of(camera: CameraModel) -> NDArray[np.float64]:
    """(H W, 3) rays of all pixels."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    return unproject_pixels(camera, np.column_stack([u.ravel(), v.ravel()]))


class Rig:
    """Two cameras and a lidar in a street at one moment."""

    def __init__(self, seed: int, baseline: tuple[float, float, float]) -> None:
        """Cast the rays.

        Args:
            seed: Of the street.
            baseline: From the camera to the thermal camera, camera frame, metres.
        """
        drive = Drive(DriveConfig(seed=seed, duration_s=3.0))
        stamp = drive.config.start_ns + 1_200_000_000
        T_base_view, T_base_lidar = drive.T_base[Modality.CAMERA], drive.T_base[Modality.LIDAR]
        self.T_view_thermal = make_transform(TURN, baseline)
        T_world_view = drive.pose(stamp) @ T_base_view
        x, y = drive.pose(stamp)[:2, 3]
        solids = drive.scene.primitives(1.2, x, y)
        depth = cast(solids, VIEW, T_world_view).depth.ravel()
        met = cast(solids, THERMAL, T_world_view @ self.T_view_thermal).depth
        cloud = drive.measure(Modality.LIDAR, stamp).data
        assert isinstance(cloud, PointCloud)
        self.rings = ring_of(cloud.points)
        T_view_lidar = invert_transform(T_base_view) @ T_base_lidar
        self.points = transform_points(T_view_lidar, cloud.points)
        surface = np.isfinite(depth)
        points = rays_of(VIEW) * np.where(surface, depth, 1.0)[:, None]
        uv, z = project_points(
            THERMAL, transform_points(invert_transform(self.T_view_thermal), points)
        )
        limit = (THERMAL.width - 1, THERMAL.height - 1)
        inside = surface & np.all((uv >= 0) & (uv <= limit), axis=1)
        nearest = np.rint(np.where(inside[:, None], uv, 0)).astype(np.int64)
        found = met[nearest[:, 1], nearest[:, 0]]
        self.uv = uv.reshape(*VIEW.size, 2)
        self.seen = (inside & (np.abs(found - z) < 0.03 * z)).reshape(VIEW.size)

    def residual(self, maps: SamplingMap) -> NDArray[np.float64]:
        """Pixels off, of each pixel that both see."""
        off = np.hypot(maps[0] - self.uv[..., 0], maps[1] - self.uv[..., 1])
        return np.asarray(off[self.seen & maps[2]])

    def by_depth(self, beams: int) -> SamplingMap:
        """The map by the depth of a lidar with fewer beams than the simulated one's 64."""
        surface = estimate_surface(self.points[self.rings % (64 // beams) == 0], VIEW)
        assert surface is not None
        return surface_map(THERMAL, VIEW, self.T_view_thermal, surface)


def best_ms(run: Callable[[], object], rounds: int = 15) -> float:
    """Least processor time of some runs, milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return 1e3 * min(times)


def measure_times(rig: Rig, image: NDArray[np.float32]) -> dict[str, float]:
    """Milliseconds from the sensors' data to the aligned image."""
    T = invert_transform(rig.T_view_thermal)
    homography = np.asarray(THERMAL.K @ T[:3, :3] @ np.linalg.inv(VIEW.K))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (VIEW.width, VIEW.height)
    return {
        'rotation (OpenCV homography)': best_ms(
            lambda: cv2.warpPerspective(image, homography, size, flags=flags)
        ),
        f'plane at {PLANE_M:g} m': best_ms(
            lambda: warp_to_camera(image, THERMAL, VIEW, rig.T_view_thermal, distance_m=PLANE_M)
        ),
        'lidar depth, 64 beams': best_ms(lambda: warp_by_map(image, THERMAL, rig.by_depth(64))),
        'lidar depth, 16 beams': best_ms(lambda: warp_by_map(image, THERMAL, rig.by_depth(16))),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=4, help='number of streets')
    seeds = parser.parse_args().seeds
    residuals: dict[str, list[NDArray[np.float64]]] = {}
    for seed in range(seeds):
        for baseline in BASELINES.values():
            rig = Rig(seed, baseline)
            T = rig.T_view_thermal
            maps = {
                'rotation (OpenCV homography)': sampling_map(THERMAL, VIEW, T),
                f'plane at {PLANE_M:g} m': sampling_map(THERMAL, VIEW, T, PLANE_M),
                'lidar depth, 64 beams': rig.by_depth(64),
                'lidar depth, 16 beams': rig.by_depth(16),
            }
            for name, each in maps.items():
                residuals.setdefault(name, []).append(rig.residual(each))
    image = np.random.default_rng(0).random(THERMAL.size, dtype=np.float32)
    times = measure_times(rig, image)
    print(f'{seeds} streets x {len(BASELINES)} rigs with a baseline of 20 cm; pixels of 640x512')
    print(f'{"":32}{"median":>10}{"worst rig":>12}{"mean":>8}{"p95":>8}{"ms":>8}')
    rows = []
    for name, parts in residuals.items():
        both = np.concatenate(parts)
        worst = max(float(np.median(part)) for part in parts)
        print(
            f'{name:32}{np.median(both):>10.2f}{worst:>12.2f}{both.mean():>8.2f}'
            f'{np.percentile(both, 95):>8.2f}{times[name]:>8.2f}'
        )
        rows.append(
            {
                'way': name,
                'median_px': float(np.median(both)),
                'worst_rig_px': worst,
                'p95_px': float(np.percentile(both, 95)),
                'ms': times[name],
            }
        )
    save_results('alignment', rows)


if __name__ == '__main__':
    main()
