from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import (
    camera_model_from_info,
    project_points,
    projection_offset,
    rectified_model,
    sampling_map,
    scale_camera,
    unproject_pixels,
)
from sam_ad_perception.core.geometry.transforms import make_transform
from sam_ad_perception.core.sensors import CameraModel

MODELS = [
    ('plumb_bob', 0),
    ('plumb_bob', 4),
    ('plumb_bob', 5),
    ('rational_polynomial', 8),
    ('rational_polynomial', 12),
    ('rational_polynomial', 14),
    ('equidistant', 4),
]
SPREAD = {
    'plumb_bob': [0.3, 0.1, 0.002, 0.002, 0.03],
    'rational_polynomial': [
        *(0.3, 0.1, 0.002, 0.002, 0.03, 0.3, 0.1, 0.03),
        *(0.004, 0.001, 0.004, 0.001),
        *(0.05, 0.05),
    ],
    'equidistant': [0.1, 0.03, 0.01, 0.003],
}


def random_camera(rng, model, count):
    width, height = int(rng.integers(300, 1500)), int(rng.integers(200, 1000))
    focal = width * rng.uniform(0.5, 1.2)
    K = [
        [focal, 0, width * rng.uniform(0.4, 0.6)],
        [0, focal * rng.uniform(0.95, 1.05), height * rng.uniform(0.4, 0.6)],
        [0, 0, 1],
    ]
    D = rng.uniform(-1, 1, count) * SPREAD[model][:count]
    return CameraModel(width, height, np.array(K), D, model)


def opencv_project(camera, points):
    points = np.asarray(points, np.float64).reshape(-1, 1, 3)
    zero = np.zeros(3)
    if camera.distortion_model == 'equidistant':
        return cv2.fisheye.projectPoints(points, zero, zero, camera.K, camera.D)[0].reshape(-1, 2)
    D = camera.D if camera.D.size else None
    return cv2.projectPoints(points, zero, zero, camera.K, D)[0].reshape(-1, 2)


def radial(camera, r):
    """Distorted radius of a ray at r = |(x, y)| / z, tangential terms left out, by OpenCV."""
    D = camera.D.copy()
    if camera.distortion_model != 'equidistant' and D.size:
        D[2:4] = 0
        D[8:] = 0
    plain = CameraModel(8, 8, np.eye(3), D, camera.distortion_model)
    points = np.column_stack([r, np.zeros_like(r), np.ones_like(r)])
    return opencv_project(plain, points)[:, 0]


@pytest.mark.parametrize(('model', 'count'), MODELS)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_projection_agrees_with_opencv_and_stops_where_the_lens_folds(rng, model, count, dtype):
    folded = 0
    for _ in range(20):
        camera = random_camera(rng, model, count)
        points = rng.uniform([-3, -3, 0.5], [3, 3, 3], (2000, 3)).astype(dtype)
        uv, z = project_points(camera, points)
        np.testing.assert_array_equal(z, points[:, 2])
        # the first radius, on a fine grid, at which OpenCV's radius stops growing
        grid = np.linspace(0, 9, 90_001)
        grown = np.diff(radial(camera, grid)) > 0
        limit = grid[np.argmin(grown)] if not grown.all() else np.inf
        r = np.hypot(points[:, 0], points[:, 1]).astype(np.float64) / points[:, 2]
        inside = ~np.isnan(uv[:, 0])
        before_sensor = radial(camera, np.append(r, 0))[:-1] < 4  # a tilted sensor's plane ends
        assert np.all(inside[(r < limit - 2e-3) & before_sensor])
        assert not np.any(inside[r > limit + 2e-3])
        folded += np.count_nonzero(~inside)
        np.testing.assert_allclose(uv[inside], opencv_project(camera, points)[inside], atol=1e-6)
    assert folded > 0 or count == 0  # the sample holds cameras whose lens folds


def test_point_beyond_the_turning_point_does_not_come_back_into_the_image():
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    camera = CameraModel(640, 480, K, np.array([-0.3, 0, 0, 0]))
    points = np.array([[1.0, 0, 1], [1.05, 0, 1], [1.06, 0, 1], [1.8, 0, 1]])
    # r (1 - 0.3 r^2) turns at r = 1 / sqrt(0.9) = 1.0541
    uv, _ = project_points(camera, points)
    assert opencv_project(camera, points)[3, 0] < 640  # OpenCV shows it inside the image
    np.testing.assert_array_equal(np.isnan(uv[:, 0]), [False, False, True, True])


@pytest.mark.parametrize(('model', 'count'), MODELS)
def test_points_without_a_pixel(rng, model, count):
    camera = random_camera(rng, model, count)
    points = np.array(
        [
            [0, 0, 1],
            [0, 0, 0],
            [0, 0, -1],
            [0.1, 0.1, -5],
            [np.nan, 0, 1],
            [0, np.inf, 1],
            [0, 0, np.inf],
            [0, 0, np.nan],
            [1, 1, 1e-310],
        ]
    )
    uv, z = project_points(camera, points)
    np.testing.assert_allclose(uv[0], camera.K[:2, 2])
    # without a fold a point just before the image plane has a pixel, at infinity
    assert not np.any(np.isfinite(uv[1:]))
    np.testing.assert_array_equal(z, points[:, 2])
    uv, z = project_points(camera, np.zeros((0, 3)))
    assert uv.shape == (0, 2)
    assert z.shape == (0,)


@pytest.mark.parametrize('points', [np.zeros(3), np.zeros((3, 2)), np.zeros((1, 2, 3))])
def test_wrong_shapes_and_skew_are_refused(points):
    camera = CameraModel(8, 8, np.eye(3))
    with pytest.raises(ValueError, match=r'points must be \(N, 3\), got'):
        project_points(camera, points)
    with pytest.raises(ValueError, match=r'uv must be \(N, 2\), got'):
        unproject_pixels(camera, np.zeros((1, 3)))
    skewed = CameraModel(8, 8, np.array([[5.0, 0.1, 4], [0, 5, 4], [0, 0, 1]]))
    with pytest.raises(ValueError, match='camera K must be'):
        project_points(skewed, np.zeros((1, 3)))


@pytest.mark.parametrize(('model', 'count'), MODELS)
def test_rays_are_the_inverse_of_projection(rng, model, count):
    for _ in range(20):
        camera = random_camera(rng, model, count)
        points = np.column_stack([rng.uniform(-1.5, 1.5, (2000, 2)), np.ones(2000)])
        uv, _ = project_points(camera, points)
        visible = ~np.isnan(uv[:, 0])
        rays = unproject_pixels(camera, uv)
        # close to the turning point a pixel's ray is ill-conditioned, and tangential terms blur it
        r = np.hypot(points[:, 0], points[:, 1])
        step = radial(camera, r + 1e-4) - radial(camera, r)
        well = visible & (step > (1e-5 if count < 12 else 3e-5)) & (radial(camera, r) < 2.5)
        assert np.count_nonzero(well) > 200
        np.testing.assert_allclose(rays[well], points[well], atol=1e-7)
        assert np.all(np.isnan(rays[~visible]))


@pytest.mark.parametrize(('model', 'count'), MODELS)
def test_rays_of_all_pixels_project_back_onto_them(rng, model, count):
    for _ in range(10):
        camera = random_camera(rng, model, count)
        uv = rng.uniform([-0.5, -0.5], [camera.width, camera.height], (500, 2))
        rays = unproject_pixels(camera, uv)
        seen = ~np.isnan(rays[:, 0])
        np.testing.assert_allclose(project_points(camera, rays)[0][seen], uv[seen], atol=1e-6)
        # no pixel near the principal point is without a ray
        near = np.hypot(*((uv - camera.K[:2, 2]) / camera.K[0, 0]).T) < 0.2
        assert np.all(seen[near])


def test_fisheye_pixels_at_or_beyond_ninety_degrees_have_no_ray():
    K = np.array([[200.0, 0, 400], [0, 200, 400], [0, 0, 1]])
    camera = CameraModel(800, 800, K, np.zeros(4), 'equidistant')
    edge = 200 * np.pi / 2
    rays = unproject_pixels(camera, np.array([[400 + edge - 1, 400], [400 + edge + 1, 400]]))
    np.testing.assert_allclose(rays[0], [np.tan((edge - 1) / 200), 0, 1], rtol=1e-9)
    assert np.all(np.isnan(rays[1]))


@pytest.mark.parametrize(('model', 'count'), MODELS)
def test_map_to_a_rectified_view_agrees_with_opencv(rng, model, count):
    for _ in range(3):
        camera = random_camera(rng, model, count)
        rectified = rectified_model(camera)
        assert not rectified.is_distorted
        map_u, map_v, valid = sampling_map(camera, rectified, np.eye(4))
        size = (camera.width, camera.height)
        if model == 'equidistant':
            expected = cv2.fisheye.initUndistortRectifyMap(
                camera.K, camera.D, np.eye(3), rectified.K, size, cv2.CV_32FC1
            )
        else:
            expected = cv2.initUndistortRectifyMap(
                camera.K, camera.D, np.eye(3), rectified.K, size, cv2.CV_32FC1
            )
        edge = np.array([camera.width, camera.height])[:, None, None] - 0.5
        in_range = np.all((np.stack(expected) >= -0.5) & (np.stack(expected) < edge), axis=0)
        assert valid.any()
        # ours refuses folded pixels, OpenCV does not: valid is a part of OpenCV's range
        assert np.count_nonzero(valid & ~in_range) <= 4  # float32 rounding at the very edge
        clamped = np.clip(np.stack(expected), 0, edge - 0.5)
        np.testing.assert_allclose(
            np.stack([map_u, map_v])[:, valid], clamped[:, valid], atol=2e-3
        )
        assert np.all(map_u[~valid] < -1000)


def test_straight_lines_become_straight():
    K = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    camera = CameraModel(640, 480, K, np.array([-0.25, 0.06, 0.001, -0.001, 0]))
    # a wall 2 m away, black left of x = 0.5 m, seen through the lens
    v, u = np.mgrid[0:480, 0:640].astype(float)
    rays = unproject_pixels(camera, np.column_stack([u.ravel(), v.ravel()]))
    image = np.where(2 * rays[:, 0] > 0.5, 255, 0).astype(np.uint8).reshape(480, 640)
    assert np.ptp(image.argmax(axis=1)) > 3  # bent
    map_u, map_v, valid = sampling_map(camera, rectified_model(camera), np.eye(4))
    flat = cv2.remap(image, map_u, map_v, cv2.INTER_LINEAR)
    edge = np.array([np.interp(127.5, row[380:410], np.arange(380, 410)) for row in flat])
    assert valid.all(axis=1).sum() > 400
    np.testing.assert_allclose(edge[valid.all(axis=1)], 320 + 300 * 0.25, atol=0.6)


def test_scaled_camera_shows_what_a_resized_image_shows():
    K = np.array([[420.0, 0, 290], [0, 430.0, 215], [0, 0, 1]])
    # a lens that is invertible over the whole image: the comparison is about scaling
    camera = CameraModel(600, 400, K, np.array([-0.12, 0.05, 0.002, -0.001, 0.0]))
    scaled = scale_camera(camera, (100, 200))
    assert scaled.size == (100, 200)
    # the middle of an image block becomes the pixel that cv2.resize makes of it
    columns = np.arange(600, dtype=np.float32)[None].repeat(400, 0)
    rows = np.arange(400, dtype=np.float32)[:, None].repeat(600, 1)
    centres_u = cv2.resize(columns, (200, 100), interpolation=cv2.INTER_AREA)
    centres_v = cv2.resize(rows, (200, 100), interpolation=cv2.INTER_AREA)
    v, u = np.mgrid[0:100, 0:200].astype(float)
    rays = unproject_pixels(scaled, np.column_stack([u.ravel(), v.ravel()]))
    uv, _ = project_points(camera, rays)
    np.testing.assert_allclose(uv[:, 0].reshape(100, 200), centres_u, atol=1e-3)
    np.testing.assert_allclose(uv[:, 1].reshape(100, 200), centres_v, atol=1e-3)
    assert scale_camera(camera, camera.size) is camera


def test_sampling_map_refuses_what_it_cannot_use():
    camera = CameraModel(8, 8, np.array([[5.0, 0, 4], [0, 5, 4], [0, 0, 1]]))
    for distance in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match='distance_m must be positive'):
            sampling_map(camera, camera, np.eye(4), distance)
    with pytest.raises(ValueError, match='must be a finite rigid transform'):
        sampling_map(camera, camera, np.zeros((4, 4)))


K_INFO = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
P_INFO = [480.0, 0, 330, 0, 0, 480, 250, 0, 0, 0, 1, 0]
R_INFO = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
D_INFO = [-0.2, 0.05, 0.001, -0.001, 0.01]


def from_info(rectified=False, **changed):
    values = {
        'width': 640,
        'height': 480,
        'k': K_INFO,
        'd': D_INFO,
        'r': R_INFO,
        'p': P_INFO,
        'distortion_model': 'plumb_bob',
        'frame_id': 'camera',
        **changed,
    }
    return camera_model_from_info(**values, rectified=rectified)


def test_raw_image_takes_k_and_d_and_rectified_image_takes_p():
    raw, rectified = from_info(), from_info(rectified=True)
    np.testing.assert_array_equal(raw.K.ravel(), K_INFO)
    np.testing.assert_array_equal(raw.D, D_INFO)
    np.testing.assert_array_equal(rectified.K, [[480, 0, 330], [0, 480, 250], [0, 0, 1]])
    assert rectified.D.size == 0
    assert not rectified.is_distorted
    for camera in (raw, rectified):
        assert (camera.size, camera.frame_id) == ((480, 640), 'camera')
    # a rectified fisheye image is a pinhole image
    assert not from_info(True, distortion_model='equidistant', d=[0.1, 0, 0, 0]).is_distorted


@pytest.mark.parametrize(
    ('model', 'd', 'expected_model', 'expected'),
    [
        ('', [], 'plumb_bob', []),
        ('', [0, 0, 0, 0, 0], 'plumb_bob', []),
        ('none', [], 'plumb_bob', []),
        ('plumb_bob', [-0.1, 0.2, 0, 0], 'plumb_bob', [-0.1, 0.2, 0, 0]),
        ('plumb_bob', [-0.1, 0.2], 'plumb_bob', [-0.1, 0.2, 0, 0]),
        ('plumb_bob', [*D_INFO, 0, 0, 0], 'plumb_bob', D_INFO),
        ('rational_polynomial', [*D_INFO, 1, 2, 3], 'rational_polynomial', [*D_INFO, 1, 2, 3]),
        ('rational_polynomial', D_INFO, 'rational_polynomial', [*D_INFO, 0, 0, 0]),
        ('rational_polynomial', [*range(8)] + [0] * 6, 'rational_polynomial', [*range(8)]),
        ('fisheye', [0.1, 0.2, 0.3, 0.4], 'equidistant', [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_distortion_as_drivers_write_it(model, d, expected_model, expected):
    camera = from_info(distortion_model=model, d=d)
    assert camera.distortion_model == expected_model
    np.testing.assert_array_equal(camera.D[: len(expected)], expected)
    assert not np.any(camera.D[len(expected) :])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'k': [0.0] * 9}, r'CameraInfo\.k is all zeros: the camera is not calibrated'),
        ({'k': [500.0, 0, 320]}, r'CameraInfo\.k must have 9 values'),
        ({'k': [500.0, 2, 320, 0, 510, 240, 0, 0, 1]}, r'CameraInfo\.k must be \[fx 0 cx'),
        ({'k': [-500.0, 0, 320, 0, 510, 240, 0, 0, 1]}, r'CameraInfo\.k .*positive focal'),
        ({'k': [np.nan, 0, 320, 0, 510, 240, 0, 0, 1]}, r'CameraInfo\.k must be'),
        ({'rectified': True, 'p': [0.0] * 12}, r'CameraInfo\.p is all zeros'),
        ({'r': [2.0, 0, 0, 0, 1, 0, 0, 0, 1]}, r'CameraInfo\.r must be a 3x3 rotation'),
        ({'distortion_model': 'double_sphere'}, r"distortion_model .* got 'double_sphere'"),
        ({'distortion_model': ''}, r'distortion_model must be one of'),
        ({'d': [*D_INFO, 1.0]}, r'CameraInfo\.d of a plumb_bob camera must have at most 5'),
        ({'width': 0}, 'camera size must be positive'),
        ({'roi': (600, 0, 100, 100)}, r'CameraInfo\.roi 100x100 at \(600, 0\) exceeds'),
    ],
)
def test_unusable_camera_info_is_refused_by_field(changed, message):
    with pytest.raises(ValueError, match=message):
        from_info(**changed)


def test_unset_rotation_is_accepted():
    np.testing.assert_array_equal(from_info(r=[0.0] * 9).K.ravel(), K_INFO)


def test_second_camera_of_a_stereo_pair_is_not_taken_for_the_first(rng):
    p = [480.0, 0, 330, -480 * 0.12, 0, 480, 250, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(projection_offset(p), [-0.12, 0, 0])
    np.testing.assert_allclose(from_info(rectified=True, p=p).offset, [-0.12, 0, 0])
    assert from_info(rectified=True, p=p, own_centre=True).offset == (0, 0, 0)
    # with the offset composed, pixels are those of P itself
    camera = from_info(rectified=True, p=p, own_centre=True)
    points = rng.uniform([-2, -2, 2], [2, 2, 20], (50, 3))
    uv, _ = project_points(camera, points + projection_offset(p))
    homogeneous = np.column_stack([points, np.ones(50)]) @ np.reshape(p, (3, 4)).T
    np.testing.assert_allclose(uv, homogeneous[:, :2] / homogeneous[:, 2:])
    # a raw image of the same camera has its own K and needs no offset
    assert from_info(p=p).K[0, 0] == 500


@pytest.mark.parametrize('rectified', [False, True])
def test_binning_and_region_of_interest_show_the_same_part_of_the_scene(rng, rectified):
    full = from_info(rectified)
    part = from_info(rectified, roi=(100, 50, 300, 400), binning=(2, 3))
    assert part.size == (100, 200)
    points = rng.uniform([-0.5, -0.5, 2], [0.5, 0.5, 3], (50, 3))
    uv, _ = project_points(full, points)
    expected = (uv - [100, 50] + 0.5) / [2, 3] - 0.5
    np.testing.assert_allclose(project_points(part, points)[0], expected, atol=1e-9)
    assert from_info(rectified, binning=(1, 1)).size == full.size


def test_maps_follow_the_rotation_between_the_views(rng):
    source = random_camera(rng, 'plumb_bob', 5)
    target = random_camera(rng, 'equidistant', 4)
    R = cv2.Rodrigues(np.array([0.05, -0.1, 0.15]))[0]
    T_target_source = make_transform(R, [0.3, -0.2, 0.1])
    for distance in (np.inf, 7.0):
        map_u, map_v, valid = sampling_map(source, target, T_target_source, distance)
        v, u = np.nonzero(valid)
        pick = rng.permutation(v.size)[:200]
        uv = np.column_stack([u[pick], v[pick]]).astype(np.float64)
        # through OpenCV: undistort the target's pixels, move the points, project into the source
        xy = cv2.fisheye.undistortPoints(uv[:, None], target.K, target.D)[:, 0]
        far = 1e9 if np.isinf(distance) else distance
        points = (np.column_stack([xy, np.ones(len(xy))]) * far - T_target_source[:3, 3]) @ R
        expected = opencv_project(source, points)
        at = np.stack([map_u[v[pick], u[pick]], map_v[v[pick], u[pick]]], axis=1)
        edge = np.array([source.width, source.height]) - 1
        np.testing.assert_allclose(at, np.clip(expected, 0, edge), atol=5e-3)


@pytest.mark.parametrize('tilt', [(0.3, 0), (0, -0.3), (0.2, 0.25)])
def test_tilted_sensor_agrees_with_opencv(rng, tilt):
    K = np.array([[900.0, 0, 640], [0, 900, 400], [0, 0, 1]])
    D = np.array([-0.1, 0.02, 0.001, -0.001, 0, 0.05, 0, 0, 0.01, -0.002, -0.005, 0.001, *tilt])
    camera = CameraModel(1280, 800, K, D, 'rational_polynomial')
    points = rng.uniform([-2, -1.5, 2], [2, 1.5, 9], (5000, 3))
    uv, _ = project_points(camera, points)
    np.testing.assert_allclose(uv, opencv_project(camera, points), atol=1e-7)
    rays = unproject_pixels(camera, uv)
    np.testing.assert_allclose(rays, points / points[:, 2:], atol=1e-9)
    untilted = CameraModel(1280, 800, K, D[:12], 'rational_polynomial')
    assert np.abs(project_points(untilted, points)[0] - uv).max() > 5
