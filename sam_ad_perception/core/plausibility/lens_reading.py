"""Rectified or distorted images: told from straight edges and from the edges of a sweep.

A camera_info tells two geometries, K with D and P, and an image is of one of them. Where they
differ, edges of the world (walls, poles, kerbs) are straight in one reading only, and depth edges
of a sweep fall on edges of the image in one only. Nothing is told where neither is sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.geometry.cameras import project_points, scale_camera, unproject_pixels
from sam_ad_perception.core.sensors import CameraModel, Modality

MIN_SHIFT_PX = 1.5
"""Readings that differ by less everywhere are one and the same."""
SURE = 4.0
"""Evidence, in standard errors, from which on a reading is told."""
_MOST_COLUMNS = 2400
_MIN_LENGTH_PX, _STEP_PX, _SIDE_PX, _BEYOND = 36, 2, 4, 0.5
_MOST_EDGES = 200
_MIN_BEND_PX, _MOST_WEIGHT_PX = 0.35, 4.0
_MIN_CHAINS = 8
_SAME_GREY = 4.0
_REACH_PX = 8.0
_MIN_EDGES = 60
_NEIGHBOURS = 6.0
"""Depth edges beside each other are one edge: so many count as one."""
_CELL = np.deg2rad(0.35)


@dataclass(frozen=True)
class Evidence:
    """What images so far tell of the reading.

    Attributes:
        bends: (N,) bend of edges in the rectified reading over the difference of both: 0 where
            the image is rectified, 1 where it is as the lens drew it.
        weights: (N,) that difference, pixels.
        nearer: (M,) how much nearer depth edges fall to edges of the image in the rectified
            reading, pixels.
    """

    bends: NDArray[np.float64]
    weights: NDArray[np.float64]
    nearer: NDArray[np.float64]

    def joined(self, other: Evidence) -> Evidence:
        """That of both."""
        return Evidence(
            np.concatenate([self.bends, other.bends]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.nearer, other.nearer]),
        )

    @property
    def lines(self) -> float:
        """Evidence of straight edges, standard errors: positive where the image is rectified."""
        if len(self.bends) < _MIN_CHAINS:
            return 0.0
        rectified, raw = (np.minimum(np.abs(self.bends - each), 1.0) for each in (0.0, 1.0))
        gain = self.weights * (raw - rectified)
        return _standing(gain / np.sqrt(self.weights))

    @property
    def depths(self) -> float:
        """Evidence of depth edges, likewise."""
        return _standing(self.nearer) / np.sqrt(_NEIGHBOURS) if len(self.nearer) else 0.0

    @property
    def total(self) -> float:
        """Evidence of both; where they contradict each other, their difference remains."""
        return float(self.lines + self.depths) / np.sqrt(2.0 if len(self.nearer) else 1.0)

    @property
    def rectified(self) -> bool | None:
        """What the image is; None where it is not sure."""
        return bool(self.total > 0) if abs(self.total) >= SURE else None

    @property
    def words(self) -> str:
        """The same in words."""
        told = []
        for name, count, value in (
            ('edges', len(self.bends), self.lines),
            ('depth edges', len(self.nearer), self.depths),
        ):
            if count:
                side = 'rectified' if value > 0 else 'raw'
                told.append(f'{count} {name} fit {side} by {abs(value):.1f} standard errors')
        return ', '.join(told) or 'no edge that would tell'


def no_evidence() -> Evidence:
    """What is known before the first image."""
    return Evidence(np.zeros(0), np.zeros(0), np.zeros(0))


def named_rectified(topic: str) -> bool:
    """Whether the name of a topic says that its images are rectified."""
    words = {word.rstrip('0123456789') for word in re.split(r'[^a-z0-9]+', topic.lower())}
    return bool(words & {'rect', 'rectified'})


def wrong_reading(
    evidence: Evidence, contradicts: str, remedy: str, *, out: bool = False
) -> Finding:
    """The finding of a camera whose images are not as they are named or configured.

    Args:
        evidence: What the images tell.
        contradicts: What says otherwise, in words.
        remedy: What is done, or to be done.
        out: Whether nothing is projected into its images while it lasts.
    """
    is_so = 'are rectified' if evidence.rectified else 'are not rectified'
    text = f'its images {is_so} ({evidence.words}), {contradicts}'
    return Finding(
        'geometry.rectified', str(Modality.CAMERA), text, remedy, out=out, figure=evidence.total
    )


def readings_differ(rectified: CameraModel, raw: CameraModel) -> float:
    """Tell how far apart the two readings of a camera_info see the same.

    Args:
        rectified: Geometry by P.
        raw: Geometry by K and D.

    Returns:
        Greatest distance between pixels of one direction, pixels; 0 where a lens is unknown.
    """
    if rectified.unknown_lens or raw.unknown_lens:
        return 0.0
    height, width = rectified.size
    u, v = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    rays = unproject_pixels(rectified, np.column_stack([u.ravel(), v.ravel()]))
    uv, _ = project_points(raw, rays)
    shift = np.linalg.norm(uv - np.column_stack([u.ravel(), v.ravel()]), axis=1)
    shift = shift[np.isfinite(shift)]
    return float(shift.max()) if len(shift) else 0.0


def look_at_image(
    image: NDArray[np.uint8],
    rectified: CameraModel,
    raw: CameraModel,
    points: NDArray[np.floating] | None = None,
    T_camera_lidar: NDArray[np.float64] | None = None,
) -> Evidence:
    """Take the evidence of one image.

    Args:
        image: (H, W, 3) RGB or (H, W), of the size of both models.
        rectified: Geometry by P.
        raw: Geometry by K and D.
        points: (N, 3) a sweep of the same moment, metres, the lidar's frame; None without.
        T_camera_lidar: (4, 4), metres, in the frame of the image; None without.

    Returns:
        What it tells.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.shape[1] > _MOST_COLUMNS:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
        rectified, raw = (scale_camera(each, half[::-1]) for each in (rectified, raw))
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8)
    du, dv = (cv2.Sobel(smooth, cv2.CV_16S, dx, 1 - dx, ksize=3) for dx in (1, 0))
    strong = float(np.percentile(np.abs(du[::4, ::4]).astype(int) + np.abs(dv[::4, ::4]), 92))
    edges = cv2.Canny(du, dv, max(0.4 * strong, 12.0), max(strong, 30.0), L2gradient=False)
    bends, weights = _bends(smooth, du, dv, rectified, raw)
    nearer = np.zeros(0)
    if points is not None and T_camera_lidar is not None:
        nearer = _depth_edges(edges, points, T_camera_lidar, rectified, raw)
    return Evidence(bends, weights, nearer)


def _bends(
    grey: NDArray[Any],
    du: NDArray[Any],
    dv: NDArray[Any],
    rectified: CameraModel,
    raw: CameraModel,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bend of each long edge in the rectified reading, over the difference; that difference."""
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    if found is None:
        return np.zeros(0), np.zeros(0)
    ends = found.reshape(-1, 2, 2).astype(np.float64)
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    chosen = np.argsort(-length)[:_MOST_EDGES]
    bends, weights = [], []
    for k in chosen[length[chosen] >= _MIN_LENGTH_PX].tolist():
        uv = _trace(ends[k], du, dv)
        if len(uv) < _MIN_LENGTH_PX // _STEP_PX:
            continue
        side = np.array([ends[k, 0, 1] - ends[k, 1, 1], ends[k, 1, 0] - ends[k, 0, 0]])
        flat, drawn = (_sagitta(_flatten(each, uv), side) for each in (rectified, raw))
        if flat is None or drawn is None or abs(flat - drawn) < _MIN_BEND_PX:
            continue
        bends.append(flat / (flat - drawn))
        weights.append(min(abs(flat - drawn), _MOST_WEIGHT_PX))
    return np.array(bends), np.array(weights)


def _trace(ends: NDArray[np.float64], du: NDArray[Any], dv: NDArray[Any]) -> NDArray[np.float64]:
    """Find an edge to parts of a pixel along a segment, and beyond its ends as far as it goes.

    Args:
        ends: (2, 2) first and last point of a straight segment, pixels.
        du: Gradient to the right.
        dv: Gradient downwards.

    Returns:
        (N, 2) points of the edge, pixels.
    """
    chord = ends[1] - ends[0]
    length = float(np.hypot(*chord))
    along, side = chord / length, np.array([-chord[1], chord[0]]) / length
    steps = np.arange(-_BEYOND * length, (1 + _BEYOND) * length, _STEP_PX)
    offsets = np.arange(-_SIDE_PX, _SIDE_PX + 1)
    places = ends[0] + steps[:, None, None] * along + offsets[None, :, None] * side
    columns, rows = (np.rint(places[..., k]).astype(int) for k in (0, 1))
    inside = (columns >= 0) & (columns < du.shape[1]) & (rows >= 0) & (rows < du.shape[0])
    columns, rows = (np.where(inside, each, 0) for each in (columns, rows))
    slope = du[rows, columns] * side[0] + dv[rows, columns] * side[1]
    inner = (steps >= 0) & (steps <= length)
    sign = np.sign(np.median(slope[inner][:, _SIDE_PX])) or 1.0
    slope = np.where(inside, sign * slope, 0.0)
    peak = slope.argmax(axis=1)
    n = np.arange(len(steps))
    height = slope[n, peak]
    usual = float(np.median(height[inner]))
    good = (peak > 0) & (peak < 2 * _SIDE_PX) & (height > 0.4 * usual)
    # It goes on beyond an end until it is lost.
    middle = int(np.flatnonzero(inner)[len(np.flatnonzero(inner)) // 2])
    lost = np.flatnonzero(~good & ~inner)
    first = lost[lost < middle].max(initial=-1) + 1
    last = lost[lost > middle].min(initial=len(steps))
    good[:first] = False
    good[last:] = False
    if good[inner].mean() < 0.7:
        return np.zeros((0, 2))
    k = np.clip(peak, 1, 2 * _SIDE_PX - 1)
    before, at, after = slope[n, k - 1], slope[n, k], slope[n, k + 1]
    bow = before - 2 * at + after
    part = np.where(bow < 0, 0.5 * (before - after) / np.where(bow < 0, bow, -1.0), 0.0)
    across = k - _SIDE_PX + np.clip(part, -0.5, 0.5)
    traced: NDArray[np.float64] = ends[0] + steps[:, None] * along + across[:, None] * side
    return traced[good]


def _flatten(camera: CameraModel, uv: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where pixels would lie without distortion, in pixels about the centre."""
    return unproject_pixels(camera, uv)[:, :2] * camera.K[0, 0]


def _sagitta(xy: NDArray[np.float64], side: NDArray[np.float64]) -> float | None:
    """How far the middle of an edge lies off its chord, pixels; None where it is no line.

    Args:
        xy: (N, 2) the edge.
        side: (2,) which side of it is positive.
    """
    xy = xy[np.isfinite(xy).all(axis=1)]
    if len(xy) < _MIN_LENGTH_PX // _STEP_PX:
        return None
    away = xy - xy.mean(axis=0)
    normal = side / np.hypot(*side)
    along, across = away @ np.array([normal[1], -normal[0]]), away @ normal
    t = 2 * (along - along.min()) / max(float(np.ptp(along)), 1e-9) - 1
    basis = np.column_stack([t * t, t, np.ones_like(t)])
    keep = np.ones(len(t), bool)
    for _ in range(3):
        fit, *_ = np.linalg.lstsq(basis[keep], across[keep], rcond=None)
        rest = np.abs(across - basis @ fit)
        keep = rest < max(0.5, 2 * float(np.median(rest[keep])))
    spread = float(np.sqrt(np.mean(rest[keep] ** 2)))
    return -float(fit[0]) if spread < 0.6 and keep.mean() > 0.6 else None


def _depth_edges(
    edges: NDArray[Any],
    points: NDArray[np.floating],
    T_camera_lidar: NDArray[np.float64],
    rectified: CameraModel,
    raw: CameraModel,
) -> NDArray[np.float64]:
    """How much nearer depth edges fall to image edges in the rectified reading, pixels."""
    border = points[_is_border(points)]
    seen = border @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]
    seen = seen[seen[:, 2] > 1.0]
    if len(seen) < _MIN_EDGES:
        return np.zeros(0)
    away = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 3)
    distances, inside = [], np.ones(len(seen), bool)
    places = []
    for camera in (rectified, raw):
        uv, _ = project_points(camera, seen)
        with np.errstate(invalid='ignore'):
            column, row = np.rint(uv[:, 0]), np.rint(uv[:, 1])
            inside &= (column >= 0) & (column < edges.shape[1])
            inside &= (row >= 0) & (row < edges.shape[0])
        places.append(uv)
    inside &= np.linalg.norm(places[0] - places[1], axis=1) > MIN_SHIFT_PX
    for uv in places:
        pixel = np.rint(uv[inside]).astype(int)
        distances.append(np.minimum(away[pixel[:, 1], pixel[:, 0]], _REACH_PX))
    nearer: NDArray[np.float64] = distances[1].astype(np.float64) - distances[0]
    return nearer if len(nearer) >= _MIN_EDGES else np.zeros(0)


def _is_border(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Points beside which, at one height, what lies behind is far farther away."""
    xyz = np.asarray(points, np.float64)
    ranges = np.linalg.norm(xyz, axis=1)
    column = np.floor(np.arctan2(xyz[:, 1], xyz[:, 0]) / _CELL).astype(int)
    row = np.floor(np.arcsin(xyz[:, 2] / np.maximum(ranges, 1e-6)) / _CELL).astype(int)
    column, row = column - column.min(), row - row.min()
    near = np.full((row.max() + 1, column.max() + 3), np.inf)
    np.minimum.at(near, (row, column + 1), ranges)
    own = near[row, column + 1]
    first = ranges <= own + 1e-6
    beside = np.zeros(len(xyz), bool)
    for step in (0, 2):
        other = near[row, column + step]
        beside |= np.isfinite(other) & (other > 1.1 * ranges + 0.7)
    return first & beside


def _standing(values: NDArray[np.float64]) -> float:
    """Mean over its standard error."""
    if len(values) < 2:
        return 0.0
    return float(values.mean() / max(values.std(ddof=1) / np.sqrt(len(values)), 1e-9))


class SeenImages:
    """Remembers small copies of images, so that a scene that stands still counts once."""

    def __init__(self) -> None:
        self._small: list[NDArray[np.float32]] = []

    def is_new(self, image: NDArray[np.uint8]) -> bool:
        """Tell whether an image shows something else than those before it, and remember it.

        Args:
            image: (H, W, 3) or (H, W).
        """
        small = cv2.resize(image, (48, 27), interpolation=cv2.INTER_AREA).astype(np.float32)
        new = all(
            small.shape == each.shape and float(np.abs(small - each).mean()) > _SAME_GREY
            for each in self._small
        )
        if new:
            self._small.append(small)
        return new
