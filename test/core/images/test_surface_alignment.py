"""Alignment by depth against the simulator: rays of both cameras into the same street."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import project_points, sampling_map, unproject_pixels
from sam_ad_perception.core.geometry.transforms import (
    invert_transform,
    make_transform,
    transform_points,
)
from sam_ad_perception.core.images.alignment import (
    estimate_surface,
    surface_map,
    warp_by_map,
    warp_to_camera,
)
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.raycasting.rays import cast
from sam_ad_perception.simulation.sensors.lidar import ring_of

SIZE = (320, 512)
ROTATION = cv2.Rodrigues(np.array([0.01, -0.02, 0.015]))[0]
BASELINES = {'beside': (0.2, 0.0, 0.0), 'above': (0.0, -0.2, 0.0), 'oblique': (0.14, 0.14, 0.02)}
BENT = np.array([-0.25, 0.06, 0.001, -0.0005])


VIEW = CameraModel(512, 320, np.array([[336.0, 0, 255.5], [0, 336.0, 159.5], [0, 0, 1]]))
THERMAL = CameraModel(640, 512, np.array([[380.0, 0, 319.5], [0, 380.0, 255.5], [0, 0, 1]]))


def covered(uv):
    return np.all((uv >= 0) & (uv <= (THERMAL.width - 1, THERMAL.height - 1)), axis=1)


@dataclass(frozen=True, eq=False)
class Rig:
    """A camera and a thermal camera 20 cm apart in a street, and where each sees the other."""

    view: CameraModel
    thermal: CameraModel
    T_view_thermal: np.ndarray
    points: np.ndarray
    rings: np.ndarray
    depth: np.ndarray
    image: np.ndarray
    uv: np.ndarray
    seen: np.ndarray
    hidden: np.ndarray

    def residual(self, maps):
        """Distance in thermal pixels from where each pixel that both see really is."""
        miss = np.hypot(maps[0] - self.uv[..., 0], maps[1] - self.uv[..., 1])
        return miss[self.seen & maps[2]]


def texture(points):
    """Temperatures painted on the street: smooth, (N, 3) world points to (N,)."""
    x, y, z = np.where(np.isfinite(points), points, 0).T
    return 300 + 10 * np.sin(1.5 * x) * np.cos(1.1 * y) + 5 * np.sin(2 * z)


def look(drive, stamp, camera, T_world_camera):
    """Exact depth (H, W) that an undistorted camera sees, inf where nothing is; the texture."""
    x, y = drive.pose(stamp)[:2, 3]
    elapsed_s = (stamp - drive.config.start_ns) * 1e-9
    depth = cast(drive.scene.primitives(elapsed_s, x, y), camera, T_world_camera).depth
    points = rays_of(camera) * depth.reshape(-1, 1)
    return depth, texture(transform_points(T_world_camera, points)).reshape(camera.size)


def rays_of(camera):
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    return unproject_pixels(camera, np.column_stack([u.ravel(), v.ravel()]))


@pytest.fixture(scope='module', params=[*BASELINES, 'lenses'])
def rig(request):
    drive = Drive(DriveConfig(seed=2, duration_s=3.0))
    stamp = drive.config.start_ns + 1_200_000_000
    T_view_thermal = make_transform(ROTATION, BASELINES.get(request.param, (0.2, 0, 0)))
    T_world_view = drive.pose(stamp) @ drive.T_base[Modality.CAMERA]
    depth, _ = look(drive, stamp, VIEW, T_world_view)
    depth_thermal, image = look(drive, stamp, THERMAL, T_world_view @ T_view_thermal)
    T_view_lidar = invert_transform(drive.T_base[Modality.CAMERA]) @ drive.T_base[Modality.LIDAR]
    sweep = drive.measure(Modality.LIDAR, stamp).data
    # where the thermal camera sees the point of each pixel, and whether nothing is before it
    surface = np.isfinite(depth.ravel())
    points = rays_of(VIEW) * np.where(surface, depth.ravel(), 1.0)[:, None]
    there = transform_points(invert_transform(T_view_thermal), points)
    uv, z = project_points(THERMAL, there)
    inside = surface & covered(uv)
    nearest = np.rint(np.where(inside[:, None], uv, 0)).astype(int)
    met = depth_thermal[nearest[:, 1], nearest[:, 0]]
    seen, hidden = inside & (np.abs(met - z) < 0.03 * z), inside & (met < 0.85 * z)
    thermal = THERMAL
    if request.param == 'lenses':  # the same rays through a lens that bends them
        thermal = replace(THERMAL, D=BENT)
        uv, _ = project_points(thermal, there)
        seen, hidden = seen & covered(uv), hidden & covered(uv)
        map_uv, _ = project_points(THERMAL, rays_of(thermal))
        map_uv = map_uv.astype(np.float32).reshape(*THERMAL.size, 2)
        image = cv2.remap(image, map_uv[..., 0], map_uv[..., 1], cv2.INTER_LINEAR)
    return Rig(
        VIEW, thermal, T_view_thermal, transform_points(T_view_lidar, sweep.points),
        ring_of(sweep.points), depth.astype(np.float32), image.astype(np.float32),
        uv.reshape(*SIZE, 2), seen.reshape(SIZE), hidden.reshape(SIZE),
    )  # fmt: skip


def test_exact_depth_finds_exactly_what_both_see(rig):
    maps = surface_map(rig.thermal, rig.view, rig.T_view_thermal, rig.depth)
    assert rig.residual(maps).max() < 1e-3
    assert maps[2][rig.seen].mean() > 0.99
    assert maps[2][rig.hidden].mean() < 0.35  # the rest lies within a pixel of its edge
    assert rig.hidden.sum() > 100


@pytest.mark.parametrize('every', [1, 4])
def test_lidar_depth_aligns_a_baseline_of_20_cm(rig, every):
    surface = estimate_surface(rig.points[rig.rings % every == 0], rig.view)  # 64 or 16 beams
    residual = rig.residual(surface_map(rig.thermal, rig.view, rig.T_view_thermal, surface))
    plane = rig.residual(sampling_map(rig.thermal, rig.view, rig.T_view_thermal, 20.0))
    far = rig.residual(sampling_map(rig.thermal, rig.view, rig.T_view_thermal))
    assert np.median(residual) < 0.5
    assert residual.mean() < 1.5
    assert np.median(residual) < 0.2 * np.median(plane) < 0.2 * np.median(far)
    assert len(residual) > 0.97 * rig.seen.sum()


def test_a_coarse_grid_of_a_plane_is_exact(rig):
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    inverse = 0.0008 * v + 0.0002 * u + 0.01  # 1 / depth of a plane is linear
    exact = surface_map(rig.thermal, rig.view, rig.T_view_thermal, f32(1 / inverse))
    coarse = cv2.resize(inverse, (128, 80), interpolation=cv2.INTER_AREA)
    got = surface_map(rig.thermal, rig.view, rig.T_view_thermal, f32(1 / coarse))
    both = exact[2] & got[2]
    both[:2] = both[-2:] = both[:, :2] = both[:, -2:] = False  # beyond the centres of the cells
    assert both.mean() > 0.7
    for axis in (0, 1):
        assert np.abs(exact[axis] - got[axis])[both].max() < 1e-2


def f32(array):
    return array.astype(np.float32)


def test_infinite_depth_is_the_rotation(rig):
    away = np.full((3, 4), np.inf, np.float32)
    got = surface_map(rig.thermal, rig.view, rig.T_view_thermal, away)
    expected = sampling_map(rig.thermal, rig.view, rig.T_view_thermal)
    np.testing.assert_array_equal(got[2], expected[2])
    for axis in (0, 1):
        np.testing.assert_allclose(got[axis][got[2]], expected[axis][got[2]], atol=1e-3)


def test_the_warped_image_shows_what_is_there(rig):
    """Temperatures, not only coordinates."""
    maps = surface_map(
        rig.thermal, rig.view, rig.T_view_thermal, estimate_surface(rig.points, rig.view)
    )
    got = warp_by_map(rig.image, rig.thermal, maps)
    plane, _ = warp_to_camera(rig.image, rig.thermal, rig.view, rig.T_view_thermal, distance_m=20)
    u, v = rig.uv[..., 0].astype(np.float32), rig.uv[..., 1].astype(np.float32)
    exact = cv2.remap(rig.image, u, v, cv2.INTER_LINEAR)
    both = rig.seen & maps[2]
    assert np.abs(got - exact)[both].mean() < 0.5 * np.abs(plane - exact)[both].mean()
    assert np.all(got[~maps[2]] == 0)


def test_the_ground_goes_on_below_the_lowest_beam():
    camera = CameraModel(160, 120, np.array([[100.0, 0, 79.5], [0, 100, 40], [0, 0, 1]]))
    x, z = np.meshgrid(np.linspace(-30, 30, 200), np.linspace(6, 40, 200))
    points = np.column_stack([x.ravel(), np.full(x.size, 1.5), z.ravel()])
    surface = estimate_surface(points, camera, cell=4)
    rows = (np.arange(30) + 0.5) * 4 - 0.5
    for row in range(17, 30):  # the lowest beam is at row 65 of the image
        expected = 1.5 * 100 / (rows[row] - 40)
        assert expected < 6
        np.testing.assert_allclose(surface[row], expected, rtol=0.1)


def test_no_point_in_view_gives_no_surface(rig):
    assert estimate_surface(-rig.points[:0], rig.view) is None
    assert estimate_surface(np.array([[0.0, 0, -5]]), rig.view) is None


def test_wrong_input_is_named(rig):
    for wrong in (np.zeros((0, 4), np.float32), np.zeros(4, np.float32)):
        with pytest.raises(ValueError, match=r'depth must be \(h, w\), got'):
            surface_map(rig.thermal, rig.view, rig.T_view_thermal, wrong)
    with pytest.raises(ValueError, match='T_target_source'):
        surface_map(rig.thermal, rig.view, np.eye(3), rig.depth)
    maps = surface_map(rig.thermal, rig.view, rig.T_view_thermal, rig.depth)
    with pytest.raises(ValueError, match=r'image must be \(512, 640\)'):
        warp_by_map(rig.image[:-1], rig.thermal, maps)
