"""Covered, dead and frozen tiles of camera pictures, and pictures frozen under noise.

Each tile of the view is held against its own running level and against what the others do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.fault_detection.picture_figures import (
    TILES,
    PictureFigures,
    compare_later,
)
from sam_ad_perception.core.health.camera_thresholds import CameraHealthConfig
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.watch import RunningLevels, make_finding

Tiles = NDArray[np.bool_]
TEXTURED = 2.5
"""A tile whose mean step is above this shows detail."""
STUCK, LIVE = 0.99, 0.7
"""Share of a tile's points that keep their value: where nothing moves, and where all does."""
LAG = 4
"""Frames so far apart differ more than neighbours where anything moves."""
STILL, STILL_PART = 1.05, 1.12
"""Where nothing moves, they differ by at most so many times more: in all, in any part."""
MOVING = 1.1
SKY = 190.0
"""What is brighter may be sky."""
SOON_S = 0.15
"""Frames further apart say nothing about how suddenly motion ended."""
SETTLED_FRAMES = 5


def describe_place(tiles: Tiles) -> str:
    """Say in words where tiles lie.

    Args:
        tiles: (9, 16) bool, at least one True.

    Returns:
        For instance `the lower left of the view (31 %)`.
    """
    share = f'({100 * tiles.mean():.0f} %)'
    v, u = (float(np.mean(each)) for each in np.nonzero(tiles))
    v, u = (v + 0.5) / tiles.shape[0], (u + 0.5) / tiles.shape[1]
    row = 'upper' if v < 0.42 else 'lower' if v > 0.58 else ''
    column = 'left' if u < 0.42 else 'right' if u > 0.58 else ''
    words = ' '.join(word for word in (row, column) if word)
    if tiles.mean() > 0.7:
        return f'most of the view {share}'
    return f'the {words} of the view {share}' if words else f'the middle of the view {share}'


@dataclass
class TileWatch:
    """Looks at the tiles of one picture after the other."""

    _levels: RunningLevels = field(default_factory=RunningLevels)
    _frames: int = 0
    _covered: NDArray[np.int64] = field(default_factory=lambda: np.zeros(TILES, np.int64))
    _onset: NDArray[np.int64] = field(default_factory=lambda: np.zeros(TILES, np.int64))
    _number: int = 0
    _stuck: NDArray[np.int64] = field(default_factory=lambda: np.zeros(TILES, np.int64))
    _recent: deque[NDArray[np.uint8]] = field(default_factory=lambda: deque(maxlen=LAG))
    _motion: deque[float] = field(default_factory=lambda: deque(maxlen=2 * LAG + 2))
    _frozen: bool = False
    _now: PictureFigures | None = None
    _period_s: float = 0.0
    _dirty: bool = False
    _noise: float = 0.0

    def look(
        self, now: PictureFigures, noise: float, elapsed_s: float, limits: CameraHealthConfig
    ) -> list[HealthFinding]:
        """Judge the tiles of a picture.

        Args:
            now: Its figures.
            noise: Standard deviation of its noise, grey levels.
            elapsed_s: Since the picture before.
            limits: Thresholds.

        Returns:
            At most one finding of each kind.
        """
        self._now, self._period_s, self._noise = now, elapsed_s, noise
        found = self._find_frozen(now, noise, elapsed_s, limits)
        if not found:
            found = self._find_stuck(now, limits)
        if not found:
            constant = self._constant(now)
            found = self._find_constant(constant, limits)
            found = self._find_covered(now, constant, limits) or found
            self._dirty = bool(found)
        return found

    def rest(self) -> None:
        """Leave a picture out: what is spoilt otherwise says nothing of its parts."""
        self._now = None
        self._frozen = False
        self._motion.clear()
        self._recent.clear()

    def learn(self, weight: float) -> None:
        """Take the picture into the running levels.

        Args:
            weight: From 0 to 1.
        """
        now = self._now
        if now is None or now.change is None or now.same is None:
            return
        self._frames += 1
        if self._covered.any():
            # What may be dirt is not learnt while that is not sure.
            weight *= 0.1
        self._levels.move('energy', now.energy, weight)
        self._levels.move('change', now.change, weight)
        self._levels.move('stuck', now.same > STUCK, weight)
        self._levels.move('black', _is_black(now), weight)

    @property
    def energy(self) -> NDArray[np.float64] | None:
        """Running detail of each tile; None while the camera is new."""
        return self._levels['energy'] if self._frames >= SETTLED_FRAMES else None

    def _constant(self, now: PictureFigures) -> Tiles:
        """Tiles of one value: noise makes the points of a live part differ."""
        green = now.mean[:, :, 1]
        black = _is_black(now)
        if 'black' in self._levels:
            # As a lens's own dark corners: what was black before is none of this.
            black &= self._levels['black'] < 0.3
        else:
            black &= black.mean() > 0.2
        return ((now.spread == 0) & (green > 8) & (green < 240)) | black

    def _find_constant(self, constant: Tiles, limits: CameraHealthConfig) -> list[HealthFinding]:
        """Parts from which nothing comes."""
        least = limits.constant_share * (0.6 if self._dirty else 1.0)
        if np.count_nonzero(constant) < least * constant.size:
            return []
        reason = f'{describe_place(constant)} is of one value: nothing comes from it'
        return [_of_part('covered', reason, constant, least, limits)]

    def _find_stuck(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        """Parts that stay to the bit while the others move."""
        if now.same is None or now.change is None:
            return []
        white = (now.mean[:, :, 1] > 240) | (now.mean[:, :, 1] < 8)
        stuck = (now.same > STUCK) & (now.energy > TEXTURED) & ~white
        usual = self._levels['stuck'] > 0.3 if 'stuck' in self._levels else None
        if usual is not None and self._frames >= SETTLED_FRAMES:
            stuck &= ~usual
        elif np.mean((now.same > LIVE) & (now.same <= STUCK)) > 0.1:
            stuck[:] = False  # a standing camera, in whose video little is renewed
        self._stuck = np.where(stuck, self._stuck + 1, 0)
        held = self._stuck >= 2
        live = (now.same < LIVE) & (now.change > 1.0)
        least = limits.frozen_share * held.size
        if np.count_nonzero(held) < least or np.count_nonzero(live) < 0.05 * live.size:
            return []
        frames = int(self._stuck[held].min())
        reason = (
            f'{describe_place(held)} has not changed for {frames} frames while the rest moves: '
            'a frozen encoder, or lost packets'
        )
        return [_of_part('frozen_part', reason, held, limits.frozen_share, limits)]

    def _find_covered(
        self, now: PictureFigures, constant: Tiles, limits: CameraHealthConfig
    ) -> list[HealthFinding]:
        """Parts that lost detail and motion, and stay so."""
        if self.energy is None or now.change is None:
            return []
        usual = np.maximum(self._levels['change'], 0.5)
        detailed = self.energy > 1.5 + 2.0 * self._noise
        lost = (now.energy < limits.covered_ratio * self.energy) & detailed
        lost &= now.change < limits.covered_ratio * usual + 0.3
        # A sky that comes into view, or a picture that clips, has no detail either.
        lost = (lost & (now.mean[:, :, 1] < SKY)) | (constant & detailed)
        self._number += 1
        # A tile may show a little through the dirt now and then.
        known = np.where(lost, np.minimum(self._covered + 1, 99), self._covered - 2)
        self._covered = np.maximum(known, 0)
        self._onset[self._covered == 0] = self._number
        period_s = max(self._period_s, 1e-3)
        least = max(3, round(limits.splash_after_s / period_s))
        held = _with_neighbours(self._covered >= least)
        if held.any():
            onsets = self._onset[held]
            at_once = np.mean(np.abs(onsets - np.median(onsets)) <= 1) > 0.7
            if not at_once:
                age_s = (self._number - self._onset) * period_s
                held &= age_s >= max(limits.covered_after_s, 4 * period_s)
        rest = ~held & detailed
        share = limits.covered_share * (0.6 if self._dirty else 1.0)
        if np.count_nonzero(held) < share * held.size or not rest.any():
            return []
        if np.median(now.energy[rest] / self.energy[rest]) < 0.6:
            return []  # the whole view lost its detail: no dirt
        seconds = period_s * int(self._number - np.median(self._onset[held]))
        reason = (
            f'{describe_place(held)} has lost its detail for {seconds:.1f} s while the rest has '
            'not: dirt, or something before the lens'
        )
        return [_of_part('covered', reason, held, share, limits)]

    def _find_frozen(
        self, now: PictureFigures, noise: float, elapsed_s: float, limits: CameraHealthConfig
    ) -> list[HealthFinding]:
        """The whole stands still at once, but for noise.

        A note only: a vehicle that brakes hard from walking pace looks alike to a slow camera, and
        must keep its eyes while it stands.
        """
        earlier = self._recent[0] if len(self._recent) == LAG else None
        self._recent.append(now.green)
        if now.change is None or elapsed_s > SOON_S:
            self._motion.clear()
            self._frozen = False
            return []
        ratio, part = np.inf, np.inf
        if earlier is not None:
            ratio, part = compare_later(now.green, earlier, now.change)
        change = float(now.change.sum()) / now.change.size
        excess = max(change**2 - (1.13 * noise) ** 2, 0.0) ** 0.5
        self._motion.append(4.0 * excess / max(float(now.energy.sum()) / now.energy.size, 1.0))
        quiet = change <= 1.5 * noise + 0.7
        still = quiet and ratio <= STILL and part <= STILL_PART
        before = list(self._motion)[: -LAG - 1]
        if not self._frozen and still and len(before) >= 2:
            self._frozen = min(before[-2:]) >= limits.frozen_motion_px
        elif self._frozen and ratio > MOVING:
            self._frozen = False
        if not self._frozen:
            return []
        reason = (
            'frozen: nothing but noise changes, from one frame to the next, where all moved '
            'before: an encoder or a buffer stands still'
        )
        return [make_finding(HealthKind.FROZEN, reason, ratio, STILL)]


def _of_part(
    kind: str, reason: str, tiles: Tiles, least: float, limits: CameraHealthConfig
) -> HealthFinding:
    """A finding of a part of the view; beyond use where the part is most of it."""
    share = float(tiles.mean())
    severity = Severity.UNUSABLE if share >= limits.covered_share_out else Severity.DEGRADED
    return make_finding(kind, reason, share, least, severity)


def _is_black(now: PictureFigures) -> Tiles:
    return (now.spread <= 1) & (now.mean[:, :, 1] < 2)


def _with_neighbours(tiles: Tiles) -> Tiles:
    """Those of which at least two of the four neighbours are so too."""
    if not tiles.any():
        return tiles
    padded = np.pad(tiles, 1).astype(np.int64)
    beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return tiles & (beside >= 2)
