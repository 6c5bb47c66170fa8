"""Whether a lens can be projected through: a camera whose lens is unknown still makes images."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from sam_ad_perception.core.geometry.cameras import project_points, scale_camera, unproject_pixels
from sam_ad_perception.core.sensors import CameraModel

_GRID = 15
_LEAST_SHARE = 0.1
"""A full-frame fisheye's circle covers a quarter of a wide image; less than this is no view."""
_SAME_PX = 0.5
_MOST_AT_CENTRE = 2.0
_JUMP_RATIO = 1.2
_JUMP_SHARE = 0.1
"""Of two infos in a row: focal lengths further apart, or centres by so much of the size, are a
jump. A zoom that crosses its range in a second changes by 5 % a frame."""


@lru_cache(maxsize=64)
def lens_problem(camera: CameraModel) -> str:
    """Say why nothing can be projected through a lens.

    Args:
        camera: The camera.

    Returns:
        The reason, in words: the lens is unknown, or its terms cannot be inverted over the
        image. Empty where it serves.
    """
    if camera.unknown_lens:
        return camera.unknown_lens
    u, v = np.meshgrid(
        np.linspace(0, camera.width - 1, _GRID), np.linspace(0, camera.height - 1, _GRID)
    )
    pixels = np.column_stack([u.ravel(), v.ravel()])
    try:
        with np.errstate(all='ignore'):
            rays = unproject_pixels(camera, pixels)
            again, _ = project_points(camera, rays)
            seen = np.all(np.abs(again - pixels) < _SAME_PX, axis=1)
            magnification = _magnification(camera)
    except (ValueError, ArithmeticError) as err:  # the roots of its polynomials
        return f'its {camera.distortion_model} terms {camera.D.tolist()} have no inverse ({err})'
    if not 1 / _MOST_AT_CENTRE < magnification < _MOST_AT_CENTRE:
        return (
            f'its {camera.distortion_model} terms {camera.D.tolist()} magnify {magnification:.3g} '
            'times beside the centre, where a lens is a pinhole'
        )
    share = float(np.mean(seen))
    if share >= _LEAST_SHARE:
        return ''
    return (
        f'its {camera.distortion_model} terms {camera.D.tolist()} can be inverted in {share:.0%} '
        f'of the image, expected at least {_LEAST_SHARE:.0%}'
    )


def _magnification(camera: CameraModel) -> float:
    """How much wider a lens shows the hundredth of a view at its centre than a pinhole does."""
    step = 0.01 * np.array([camera.width, camera.height])
    pixels = camera.K[:2, 2] + step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    rays = unproject_pixels(camera, pixels)[:, :2]
    wide = np.array([rays[0, 0] - rays[1, 0], rays[2, 1] - rays[3, 1]])
    return float(np.min(2 * step / np.diag(camera.K)[:2] / wide))


def without_lens(camera: CameraModel, why: str) -> CameraModel:
    """Keep of a camera its size and frame.

    Args:
        camera: The camera.
        why: Why its lens is unknown, in words.

    Returns:
        The same with `unknown_lens`.
    """
    return replace(camera, unknown_lens=why)


def is_same(a: CameraModel, b: CameraModel) -> bool:
    """Tell whether two models describe the same view."""
    return (
        (a.size, a.distortion_model, a.frame_id, a.unknown_lens)
        == (b.size, b.distortion_model, b.frame_id, b.unknown_lens)
        and np.array_equal(a.K, b.K)
        and np.array_equal(a.D, b.D)
    )


def jump_between(before: CameraModel, after: CameraModel) -> str:
    """Say what leaps from one camera_info to the next, as no lens does from frame to frame.

    Args:
        before: The earlier model.
        after: The later one.

    Returns:
        What leaps, with the figures; empty where nothing does.
    """
    if before.unknown_lens or after.unknown_lens:
        return '' if before.unknown_lens else after.unknown_lens
    if before.size != after.size:
        return ''  # whether the size is right, the image tells
    for axis, name, size in ((0, 'x', before.width), (1, 'y', before.height)):
        f_0, f_1 = float(before.K[axis, axis]), float(after.K[axis, axis])
        c_0, c_1 = float(before.K[axis, 2]), float(after.K[axis, 2])
        if not 1 / _JUMP_RATIO <= f_1 / f_0 <= _JUMP_RATIO:
            return f'focal length f{name} {f_1:.5g} px after {f_0:.5g} px'
        if abs(c_1 - c_0) > _JUMP_SHARE * size:
            return f'centre c{name} {c_1:.5g} px after {c_0:.5g} px'
    return ''


def fit_to_image(camera: CameraModel, size: tuple[int, int]) -> CameraModel | None:
    """Scale a camera to an image that was resized after its camera_info was written.

    Args:
        camera: As its camera_info says.
        size: `(H, W)` of the image, pixels.

    Returns:
        The camera of that size; None where the aspect differs, so that it was cropped or is of
        another camera.
    """
    height, width = size
    # the rounding of one side to whole pixels is no other aspect
    across = abs(width * camera.height - height * camera.width)
    if across > 0.5 * max(camera.width, camera.height):
        return None
    return scale_camera(camera, size)
