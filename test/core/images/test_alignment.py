from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import project_points, scale_camera, unproject_pixels
from sam_ad_perception.core.geometry.transforms import invert_transform, make_transform
from sam_ad_perception.core.images.alignment import warp_to_camera
from sam_ad_perception.core.sensors import CameraModel

THERMAL = CameraModel(
    160,
    120,
    np.array([[170.0, 0, 80.3], [0, 171, 58.8], [0, 0, 1]]),
    np.array([-0.3, 0.1, 0.001, 0.0005, -0.01]),
)
CAMERA = CameraModel(
    200,
    150,
    np.array([[180.0, 0, 101.2], [0, 179, 76.1], [0, 0, 1]]),
    np.array([0.05, -0.01, 0.002, 0.0]),
    'equidistant',
)
ROTATION = cv2.Rodrigues(np.array([0.03, -0.04, 0.02]))[0]
RIG = make_transform(ROTATION, [0.2, 0.05, -0.02])  # T_camera_thermal


def pattern(directions):
    """A smooth world, seen at unit directions (N, 3): brightness 0 to 1."""
    x, y = directions[:, 0] / directions[:, 2], directions[:, 1] / directions[:, 2]
    return 0.5 + 0.25 * np.sin(6 * x + 1) + 0.25 * np.cos(5 * y - 2 * x)


def view(camera, T_world_camera, plane_m=np.inf):
    """What the camera sees of the pattern on a plane of the world, by rays."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(float)
    rays = unproject_pixels(camera, np.column_stack([u.ravel(), v.ravel()]))
    points = rays @ T_world_camera[:3, :3].T
    if np.isfinite(plane_m):
        origin = T_world_camera[:3, 3]
        points = origin + points * ((plane_m - origin[2]) / points[:, 2])[:, None]
    return pattern(points).reshape(camera.size)


@pytest.mark.parametrize('distance_m', [np.inf, 6.0])
def test_warped_view_is_what_the_target_sees(distance_m):
    # the camera is the world frame
    image = view(THERMAL, RIG, distance_m).astype(np.float32)
    expected = view(CAMERA, np.eye(4), distance_m)
    warped, valid = warp_to_camera(image, THERMAL, CAMERA, RIG, distance_m=distance_m)
    assert warped.shape == valid.shape == CAMERA.size
    assert 0.6 < valid.mean() < 1
    error = np.abs(warped - expected)[valid]  # one pixel off would be up to 0.012
    assert error.mean() < 1e-3
    assert error.max() < 7e-3  # the outermost half pixel repeats its neighbour
    assert np.all(warped[~valid] == 0)


def test_known_distance_is_better_than_infinity_on_a_plane():
    image = view(THERMAL, RIG, 6.0).astype(np.float32)
    expected = view(CAMERA, np.eye(4), 6.0)
    errors = []
    for distance_m in (6.0, np.inf):
        warped, valid = warp_to_camera(image, THERMAL, CAMERA, RIG, distance_m=distance_m)
        errors.append(np.abs(warped - expected)[valid].mean())
    assert errors[0] < 0.05 * errors[1]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize('shape', [(), (1,), (2,), (3,), (4,), (7,)])
@pytest.mark.parametrize('interpolation', ['linear', 'nearest'])
def test_all_dtypes_and_channels_agree_with_a_plain_loop(rng, dtype, shape, interpolation):
    image = (rng.random((*THERMAL.size, *shape)) * 250).astype(dtype)
    size = (30, 40)
    target = scale_camera(CAMERA, size)
    warped, valid = warp_to_camera(
        image, THERMAL, CAMERA, RIG, interpolation=interpolation, size=size
    )
    assert warped.shape == (*size, *shape)
    assert warped.dtype == dtype
    v, u = np.mgrid[0 : size[0], 0 : size[1]].astype(float)
    rays = unproject_pixels(target, np.column_stack([u.ravel(), v.ravel()]))
    uv, _ = project_points(THERMAL, rays @ invert_transform(RIG)[:3, :3].T)
    edge = np.array([THERMAL.width, THERMAL.height]) - 1
    checked = 0
    for at, (row, column) in enumerate(np.ndindex(size)):
        covered = bool(np.all((uv[at] >= -0.5) & (uv[at] < edge + 0.5)))
        assert valid[row, column] == covered
        if not covered:
            assert np.all(warped[row, column] == 0)
            continue
        u_s, v_s = np.clip(uv[at], 0, edge)
        u_0, v_0 = int(u_s), int(v_s)
        fraction = np.array([u_s - u_0, v_s - v_0])
        u_1, v_1 = np.minimum([u_0 + 1, v_0 + 1], edge)
        corners = np.array(
            [image[v_0, u_0], image[v_0, u_1], image[v_1, u_0], image[v_1, u_1]], float
        )
        if interpolation == 'nearest':
            if np.any(np.abs(fraction - 0.5) < 0.05):
                continue  # which of two pixels is nearer depends on cv2's rounding
            expected = corners[2 * int(fraction[1] > 0.5) + int(fraction[0] > 0.5)]
            np.testing.assert_array_equal(warped[row, column], expected)
        else:
            a, b = fraction
            weights = np.array([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
            expected = np.tensordot(weights, corners, axes=1)
            # cv2 may use 32 steps per pixel: up to 1/64 pixel off in both directions
            np.testing.assert_allclose(warped[row, column], expected, atol=250 / 32 + 1)
        checked += 1
    assert checked > 500


def test_image_border_is_not_darkened():
    image = np.full(THERMAL.size, 200, np.uint8)
    warped, valid = warp_to_camera(image, THERMAL, CAMERA, RIG)
    assert not valid.all()
    assert np.all(warped[valid] == 200)
    assert np.all(warped[~valid] == 0)


def test_same_view_returns_the_same_image(rng):
    image = rng.integers(0, 65536, THERMAL.size, dtype=np.uint16)
    warped, valid = warp_to_camera(image, THERMAL, THERMAL, np.eye(4), interpolation='nearest')
    assert valid.all()
    np.testing.assert_array_equal(warped, image)


def test_without_a_distance_the_translation_has_no_effect(rng):
    image = rng.integers(0, 256, THERMAL.size, dtype=np.uint8)
    still = make_transform(ROTATION, [0, 0, 0])
    np.testing.assert_array_equal(
        warp_to_camera(image, THERMAL, CAMERA, RIG)[0],
        warp_to_camera(image, THERMAL, CAMERA, still)[0],
    )


def test_view_behind_the_sensor_has_no_valid_pixel():
    turned = make_transform(np.diag([-1.0, 1, -1]), [0, 0, 0])
    warped, valid = warp_to_camera(np.ones(THERMAL.size, np.uint8), THERMAL, CAMERA, turned)
    assert not valid.any()
    assert not warped.any()


def test_maps_are_kept_by_content_and_not_changed_by_the_caller(rng):
    image = rng.integers(0, 256, THERMAL.size, dtype=np.uint8)
    first, valid = warp_to_camera(image, THERMAL, CAMERA, RIG)
    with pytest.raises(ValueError, match='read-only'):
        valid[:] = False
    copy = CameraModel(THERMAL.width, THERMAL.height, THERMAL.K.copy(), THERMAL.D.copy())
    again, same_valid = warp_to_camera(image, copy, CAMERA, RIG.copy())
    assert same_valid is valid
    np.testing.assert_array_equal(first, again)
    for changed in (
        CameraModel(THERMAL.width, THERMAL.height, THERMAL.K + np.diag([1.0, 0, 0]), THERMAL.D),
        CameraModel(THERMAL.width, THERMAL.height, THERMAL.K, 0.9 * THERMAL.D),
    ):
        assert warp_to_camera(image, changed, CAMERA, RIG)[1] is not valid


@pytest.mark.parametrize(
    ('image', 'changed', 'message'),
    [
        (np.zeros((120, 161), np.uint8), {}, r'image must be \(120, 160\) .* got \(120, 161\)'),
        (np.zeros(120 * 160, np.uint8), {}, 'image must be'),
        (np.zeros((120, 160), bool), {}, 'dtype must be one of uint8, .* got bool'),
        (np.zeros((120, 160)), {}, 'dtype must be one of .* got float64'),
        (np.zeros((120, 160), np.uint8), {'interpolation': 'cubic'}, "got 'cubic'"),
        (np.zeros((120, 160), np.uint8), {'distance_m': -1.0}, 'distance_m must be positive'),
        (np.zeros((120, 160), np.uint8), {'T_target_source': np.eye(3)}, 'T_target_source must'),
    ],
)
def test_wrong_input_is_named(image, changed, message):
    arguments = {'source': THERMAL, 'target': CAMERA, 'T_target_source': RIG, **changed}
    with pytest.raises(ValueError, match=message):
        warp_to_camera(image, **arguments)
