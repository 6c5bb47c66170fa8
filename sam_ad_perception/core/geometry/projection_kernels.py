"""Compiled camera projection and its inverse: the arithmetic behind `core.geometry.cameras`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel

_PINHOLE, _POLYNOMIAL, _FISHEYE = 0, 1, 2
_NEWTON_STEPS = 50
_WIDEST = 1.0e4  # normalised radius where the search for a ray ends: 0.006 degrees off the plane
_CONVERGED = 1e-12  # of the distorted coordinates; 1e-9 px at a focal length of 1000 px


class ProjectionParameters(NamedTuple):
    """A `CameraModel` in the form that the kernels take.

    Attributes:
        model: 0 pinhole, 1 polynomial (plumb_bob and rational_polynomial), 2 fisheye.
        intrinsics: (4,) float64 `fx fy cx cy`, pixels.
        coefficients: (21,) float64 `k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4` (fisheye: `k1..k4`,
            then zeros), then the (3, 3) matrix of the tilted sensor, row by row; it is the
            identity for a sensor that stands square.
        limit: First turning point of the radial function: the normalised radius `r = |(x, y)| / z`
            (fisheye: the angle in radians) up to which projection is one to one; inf if none.
    """

    model: int
    intrinsics: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    limit: float


@lru_cache(maxsize=16)  # the roots of the polynomials cost as much as 10,000 points
def projection_parameters(camera: CameraModel) -> ProjectionParameters:
    """Flatten a camera model, and find how far from the axis its polynomial can be trusted.

    Raises:
        ValueError: `camera.K` has skew or a last row other than `0 0 1`; no supported distortion
            model defines the former.
    """
    K = camera.K
    if K[0, 1] != 0 or K[1, 0] != 0 or not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise ValueError(f'camera K must be [fx 0 cx; 0 fy cy; 0 0 1], got {K.tolist()}')
    if camera.unknown_lens:
        raise ValueError(f'the lens of {camera.frame_id!r} is unknown: {camera.unknown_lens}')
    coefficients = np.zeros(21)
    coefficients[: min(camera.D.size, 12)] = camera.D[:12]
    tau_x, tau_y = camera.D[12:14] if camera.D.size == 14 else (0.0, 0.0)
    coefficients[12:] = tilt_matrix(tau_x, tau_y).ravel()
    if camera.distortion_model == 'equidistant':
        model, limit = _FISHEYE, _fisheye_limit(coefficients)
    elif camera.is_distorted:
        model, limit = _POLYNOMIAL, _polynomial_limit(coefficients)
    else:
        model, limit = _PINHOLE, np.inf
    intrinsics = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    return ProjectionParameters(model, intrinsics, coefficients, limit)


def tilt_matrix(tau_x: float, tau_y: float) -> NDArray[np.float64]:
    """Map the plane of a square sensor onto one that is tilted behind the lens (Scheimpflug).

    Args:
        tau_x: Tilt about the x axis, radians.
        tau_y: Tilt about the y axis, radians.

    Returns:
        (3, 3) float64 homography of normalised coordinates, as in OpenCV's camera model.
    """
    if tau_x == 0.0 and tau_y == 0.0:
        return np.eye(3)
    cos_x, sin_x, cos_y, sin_y = np.cos(tau_x), np.sin(tau_x), np.cos(tau_y), np.sin(tau_y)
    R_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    R_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    R = R_y @ R_x
    along_axis = np.array([[R[2, 2], 0, -R[0, 2]], [0, R[2, 2], -R[1, 2]], [0, 0, 1]])
    return np.asarray(along_axis @ R, dtype=np.float64)


def _smallest_positive_root(polynomial: Polynomial) -> float:
    roots = polynomial.trim().roots()
    real = roots[np.abs(roots.imag) <= 1e-9 * np.abs(roots)].real
    positive = real[real > 0]
    return float(positive.min()) if positive.size else np.inf


def _polynomial_limit(coefficients: NDArray[np.float64]) -> float:
    """Radius where `f(r) = r N(s) / D(s)`, `s = r^2`, stops growing or has a pole."""
    k1, k2, _, _, k3, k4, k5, k6 = coefficients[:8]
    numerator, denominator = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6])
    s = Polynomial([0, 1])
    # f'(r) D^2 = (N + 2 s N') D - 2 s N D'
    slope = (numerator + 2 * s * numerator.deriv()) * denominator
    slope = slope - 2 * s * numerator * denominator.deriv()
    turning_point = min(_smallest_positive_root(slope), _smallest_positive_root(denominator))
    return float(np.sqrt(turning_point))


def _fisheye_limit(coefficients: NDArray[np.float64]) -> float:
    """Angle where `theta (1 + k1 s + k2 s^2 + k3 s^3 + k4 s^4)`, `s = theta^2`, stops growing."""
    k1, k2, k3, k4 = coefficients[:4]
    turning_point = _smallest_positive_root(Polynomial([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4]))
    return float(np.sqrt(turning_point))


@njit(cache=True, nogil=True)
def _distort_polynomial(x, y, c):  # type: ignore[no-untyped-def]
    """Distorted (x, y) on a square sensor, and the Jacobian (xx, xy, yx, yy)."""
    k1, k2, p1, p2, k3, k4, k5, k6 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    s1, s2, s3, s4 = c[8], c[9], c[10], c[11]
    s = x * x + y * y
    top = 1.0 + s * (k1 + s * (k2 + s * k3))
    bottom = 1.0 + s * (k4 + s * (k5 + s * k6))
    radial = top / bottom
    top_slope = k1 + s * (2.0 * k2 + s * 3.0 * k3)
    bottom_slope = k4 + s * (2.0 * k5 + s * 3.0 * k6)
    slope = (top_slope - radial * bottom_slope) / bottom
    x_d = x * radial + 2.0 * p1 * x * y + p2 * (s + 2.0 * x * x) + s * (s1 + s * s2)
    y_d = y * radial + p1 * (s + 2.0 * y * y) + 2.0 * p2 * x * y + s * (s3 + s * s4)
    prism_x, prism_y = 2.0 * (s1 + 2.0 * s * s2), 2.0 * (s3 + 2.0 * s * s4)
    xx = radial + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x + x * prism_x
    mixed = 2.0 * x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y
    yy = radial + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x + y * prism_y
    return x_d, y_d, xx, mixed + y * prism_x, mixed + x * prism_y, yy


@njit(cache=True, nogil=True)
def _tilt(x, y, m):  # type: ignore[no-untyped-def]
    """Apply a homography (9,); (NaN, NaN) behind its plane."""
    w = m[6] * x + m[7] * y + m[8]
    if not w > 1e-9:
        return np.nan, np.nan
    return (m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w


@njit(cache=True, nogil=True)
def _untilt(x, y, m):  # type: ignore[no-untyped-def]
    """Undo `_tilt`: two linear equations; (NaN, NaN) where it has no inverse."""
    a, b = m[0] - x * m[6], m[1] - x * m[7]
    c, d = m[3] - y * m[6], m[4] - y * m[7]
    e, f = x * m[8] - m[2], y * m[8] - m[5]
    determinant = a * d - b * c
    if abs(determinant) < 1e-12:
        return np.nan, np.nan
    u, v = (d * e - b * f) / determinant, (a * f - c * e) / determinant
    if not m[6] * u + m[7] * v + m[8] > 1e-9:
        return np.nan, np.nan
    return u, v


@njit(cache=True, nogil=True)
def _fisheye_angle(theta, c):  # type: ignore[no-untyped-def]
    """Distorted angle and its derivative."""
    s = theta * theta
    value = theta * (1.0 + s * (c[0] + s * (c[1] + s * (c[2] + s * c[3]))))
    slope = 1.0 + s * (3.0 * c[0] + s * (5.0 * c[1] + s * (7.0 * c[2] + s * 9.0 * c[3])))
    return value, slope


@njit(cache=True, nogil=True, error_model='numpy')
def _project_plumb_bob(points, intrinsics, c, limit, uv, z_out):  # type: ignore[no-untyped-def]
    """`project_kernel` for the most common lens, without branches: twice as fast."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    k1, k2, p1, p2, k3 = c[0], c[1], c[2], c[3], c[4]
    for i in range(points.shape[0]):
        z = np.float64(points[i, 2])
        nearness = 1.0 / z
        x = points[i, 0] * nearness
        y = points[i, 1] * nearness
        s = x * x + y * y
        radial = 1.0 + s * (k1 + s * (k2 + s * k3))
        x_d = x * radial + 2.0 * p1 * x * y + p2 * (s + 2.0 * x * x)
        y_d = y * radial + p1 * (s + 2.0 * y * y) + 2.0 * p2 * x * y
        visible = (z > 0.0) & (z < np.inf) & (s < limit * limit)  # False for NaN
        uv[i, 0] = fx * x_d + cx if visible else np.nan
        uv[i, 1] = fy * y_d + cy if visible else np.nan
        z_out[i] = z


@njit(cache=True, nogil=True)
def project_kernel(points, model, intrinsics, coefficients, limit, uv, z_out):  # type: ignore[no-untyped-def]
    """Fill `uv` (N, 2) and `z_out` (N,) from camera-frame `points` (N, 3); NaN where no pixel."""
    tilt = coefficients[12:]
    tilted = tilt[6] != 0.0 or tilt[7] != 0.0
    if model == _POLYNOMIAL and not tilted and not coefficients[5:12].any():
        _project_plumb_bob(points, intrinsics, coefficients, limit, uv, z_out)
        return
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    for i in range(points.shape[0]):
        z = np.float64(points[i, 2])
        z_out[i] = z
        uv[i, 0] = np.nan
        uv[i, 1] = np.nan
        if not (z > 0.0 and z < np.inf):
            continue
        x = points[i, 0] / z
        y = points[i, 1] / z
        if not (abs(x) < np.inf and abs(y) < np.inf):
            continue
        if model == _POLYNOMIAL:
            if not (x * x + y * y < limit * limit):
                continue
            x, y, _, _, _, _ = _distort_polynomial(x, y, coefficients)
            if tilted:
                x, y = _tilt(x, y, tilt)
        elif model == _FISHEYE:
            r = np.sqrt(x * x + y * y)
            theta = np.arctan(r)
            if not theta < limit:
                continue
            if r > 1e-8:
                scale = _fisheye_angle(theta, coefficients)[0] / r
                x *= scale
                y *= scale
        uv[i, 0] = fx * x + cx
        uv[i, 1] = fy * y + cy


@njit(cache=True, nogil=True)
def _undistort_radius(r_d, c, limit):  # type: ignore[no-untyped-def]
    """Radius below `limit` whose distorted radius is nearest `r_d`; tangential terms left out."""
    low, high = 0.0, min(limit, _WIDEST)
    r = min(r_d, 0.5 * high)
    for _ in range(_NEWTON_STEPS):
        s = r * r
        top = 1.0 + s * (c[0] + s * (c[1] + s * c[4]))
        bottom = 1.0 + s * (c[5] + s * (c[6] + s * c[7]))
        radial = top / bottom
        slope = c[0] + s * (2.0 * c[1] + s * 3.0 * c[4])
        slope -= radial * (c[5] + s * (2.0 * c[6] + s * 3.0 * c[7]))
        derivative = radial + 2.0 * s * slope / bottom
        error = r_d - r * radial
        if abs(error) < _CONVERGED:
            return r
        if error > 0.0:  # the function grows up to the limit, so the bracket always holds
            low = r
        else:
            high = r
        r = r + error / derivative if derivative > 0.0 else high
        if not low < r < high:
            r = 0.5 * (low + high)
    return r


@njit(cache=True, nogil=True)
def _undistort_polynomial(x_d, y_d, c, limit):  # type: ignore[no-untyped-def]
    """Newton's method from the radial solution; (NaN, NaN) where there is none below `limit`."""
    r_d = np.sqrt(x_d * x_d + y_d * y_d)
    if not r_d >= _CONVERGED:
        return x_d, y_d
    scale = _undistort_radius(r_d, c, limit) / r_d
    x, y = x_d * scale, y_d * scale
    best_x, best_y, best = x, y, np.inf
    for _ in range(_NEWTON_STEPS):
        r = np.sqrt(x * x + y * y)
        if r >= limit:  # a step over the turning point would end on the folded branch
            x *= 0.999 * limit / r
            y *= 0.999 * limit / r
        x_f, y_f, xx, xy, yx, yy = _distort_polynomial(x, y, c)
        dx, dy = x_d - x_f, y_d - y_f
        error = abs(dx) + abs(dy)
        if error < _CONVERGED * (1.0 + r_d):
            return x, y
        if not error < best:  # too far: the function bends within the step
            x, y = 0.5 * (x + best_x), 0.5 * (y + best_y)
            continue
        best_x, best_y, best = x, y, error
        determinant = xx * yy - xy * yx
        if not determinant > 0.0:
            return np.nan, np.nan
        x += (yy * dx - xy * dy) / determinant
        y += (xx * dy - yx * dx) / determinant
    return np.nan, np.nan


@njit(cache=True, nogil=True)
def _undistort_fisheye(x_d, y_d, c, limit):  # type: ignore[no-untyped-def]
    theta_d = np.sqrt(x_d * x_d + y_d * y_d)
    if theta_d < 1e-8:
        return x_d, y_d
    theta = min(theta_d, 0.99 * limit)
    for _ in range(_NEWTON_STEPS):
        value, slope = _fisheye_angle(theta, c)
        if abs(theta_d - value) < _CONVERGED:
            if theta >= 0.5 * np.pi:  # at or behind the image plane: no (x, y, 1)
                return np.nan, np.nan
            scale = np.tan(theta) / theta_d
            return x_d * scale, y_d * scale
        if not slope > 0.0:
            return np.nan, np.nan
        theta += (theta_d - value) / slope
        theta = max(0.0, min(theta, limit))
    return np.nan, np.nan


@njit(cache=True, nogil=True)
def unproject_kernel(uv, model, intrinsics, coefficients, limit, rays):  # type: ignore[no-untyped-def]
    """Fill `rays` (N, 3) with `(x, y, 1)` for each pixel of `uv` (N, 2); NaN where none."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    tilt = coefficients[12:]
    tilted = tilt[6] != 0.0 or tilt[7] != 0.0
    for i in range(uv.shape[0]):
        x = (uv[i, 0] - cx) / fx
        y = (uv[i, 1] - cy) / fy
        if model == _POLYNOMIAL:
            if tilted:
                x, y = _untilt(x, y, tilt)
            x, y = _undistort_polynomial(x, y, coefficients, limit)
        elif model == _FISHEYE:
            x, y = _undistort_fisheye(x, y, coefficients, limit)
        rays[i, 0] = x
        rays[i, 1] = y
        rays[i, 2] = 1.0 if np.isfinite(x) and np.isfinite(y) else np.nan
