"""Colour pictures over time: rows that do not continue, copies, colours, orientation, haze.

Beside the parts of the view, see `camera_tiles`. What is judged against what is usual is learnt
from healthy frames.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.fault_detection.camera_tiles import TileWatch
from sam_ad_perception.core.fault_detection.picture_figures import (
    PictureFigures,
    correlate,
    measure_picture,
    warm_up_pictures,
)
from sam_ad_perception.core.health.camera_thresholds import CameraHealthConfig
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.measures import COLUMNS, ROWS, quantile
from sam_ad_perception.core.health.watch import Circumstances, RunningLevels, make_finding
from sam_ad_perception.core.sensors import SensorFrame

REMEMBERED = 64
"""So many pictures are remembered to tell a copy."""
GREEN_CAST = 40.0
SEAM_RISE = 0.35
"""A seam that was always there, as of a letterbox, is usual."""
MANY_SEAMS = 6
"""More rows like them are a pattern, no tear."""
SWAPS = tuple(order for order in permutations(range(3)) if order != (0, 1, 2))
FLIPS = {
    'upside_down': (slice(None, None, -1), slice(None, None, -1)),
    'upside_down and mirrored': (slice(None, None, -1), slice(None)),
    'mirrored': (slice(None), slice(None, None, -1)),
}


class CameraFault(StrEnum):
    """What can be wrong with a colour picture beside `judgement.HealthKind`."""

    COVERED = 'covered'
    FROZEN_PART = 'frozen_part'
    REPLAYED = 'replayed'
    TORN = 'torn'
    DEAD_LINES = 'dead_lines'
    BANDED = 'banded'
    BLOCKY = 'blocky'
    HAZY = 'hazy'
    WRONG_COLORS = 'wrong_colors'
    UPSIDE_DOWN = 'upside_down'
    MIRRORED = 'mirrored'


@dataclass
class _Turn:
    """A state that set in at once, and stands until it is undone or has become normal."""

    kind: str = ''
    words: str = ''
    undo: object = None
    left_s: float = 0.0


@dataclass
class CameraWatch:
    """See `watch.Watch`."""

    _tiles: TileWatch = field(default_factory=TileWatch)
    _levels: RunningLevels = field(default_factory=RunningLevels)
    _before: PictureFigures | None = None
    _now: PictureFigures | None = None
    _known: OrderedDict[int, int] = field(default_factory=OrderedDict)
    _number: int = 0
    _runs: Counter[str] = field(default_factory=Counter)
    _order: _Turn = field(default_factory=_Turn)
    _flip: _Turn = field(default_factory=_Turn)
    _shape: tuple[int, ...] = ()
    _fresh: bool = True

    @staticmethod
    def warm_up() -> None:
        """See `watch.Watch`."""
        warm_up_pictures()

    def look(
        self, frame: SensorFrame, around: Circumstances, thresholds: CameraHealthConfig
    ) -> list[HealthFinding]:
        """See `watch.Watch`."""
        data, image = frame.data, around.image
        assert isinstance(data, np.ndarray)
        assert image is not None
        self._now = None
        if (
            data.ndim != 3
            or data.dtype != np.uint8
            or data.shape[0] < ROWS
            or data.shape[1] < COLUMNS
        ):
            return []
        if data.shape != self._shape:
            self.__init__()  # type: ignore[misc]  # another format is another camera
            self._shape = data.shape
        before = self._before
        now = measure_picture(np.asarray(data, np.uint8), image.noise, before, self._number)
        if before is not None and now.same is not None and now.same.min() == 1.0:
            return []  # a repeated frame says nothing new
        self._now = now
        # of a large picture, rows that were not followed anew say nothing twice
        self._fresh = before is None or now.rows is not before.rows
        found = self._find_rows(now, thresholds, judged=bool(around.kinds))
        found += self._find_copies(now, thresholds)
        if not around.kinds:
            found += self._find_specks(now, thresholds)
        if before is not None:
            found += self._find_turns(now, before, around.elapsed_s, thresholds)
            found += self._find_bands(now, before, thresholds)
        if not found:
            found += _find_cast(now)
        if found or around.kinds:
            self._tiles.rest()
        else:
            found = (
                self._tiles.look(now, image.noise, around.elapsed_s, thresholds)
                or self._find_seam(now, thresholds)
                or self._find_blocks(now, thresholds)
                or self._find_haze(now, thresholds)
            )
        self._before = now
        return found

    def learn(self, weight: float) -> None:
        """See `watch.Watch`."""
        if self._now is None:
            return
        self._tiles.learn(weight)
        self._levels.move('roughness', self._now.roughness, weight)
        self._levels.move('relative', self._now.relative, weight)
        self._levels.move('seams', self._now.rows.seams, weight)
        self._levels.move('step', self._now.rows.step, weight)
        self._levels.move('blocks', self._now.blocks, weight)

    def _lasts(self, name: str, holds: bool, frames: int, *, fresh: bool = True) -> bool:
        """Whether something holds in so many frames in a row; one without news is not counted."""
        if fresh:
            self._runs[name] = self._runs[name] + 1 if holds else 0
        return self._runs[name] >= frames

    def _often(self, name: str, holds: bool) -> bool:
        """Whether something holds in most of the last frames: twice in a row, or oftener."""
        self._runs[name] = min(self._runs[name] + 2, 6) if holds else max(self._runs[name] - 1, 0)
        return self._runs[name] >= 3

    def _find_rows(
        self, now: PictureFigures, limits: CameraHealthConfig, *, judged: bool
    ) -> list[HealthFinding]:
        """Rows that do not continue their neighbours, and those that are dead."""
        if now.shift:
            reason = (
                f'torn: each row continues the one above {abs(now.shift):.0f} pixels aside: the '
                'stride of the rows is wrong'
            )
            return [make_finding(CameraFault.TORN, reason, now.shift, 0.0, Severity.UNUSABLE)]
        rough = limits.roughness_ratio * self._levels.number('roughness', 1e3)
        if judged:
            return []  # blur and clipped parts have lines and seams of their own
        lines = max(now.rows.dead, now.columns.dead)
        if lines >= limits.dead_lines:
            name = 'rows' if now.rows.dead >= now.columns.dead else 'columns'
            reason = f'{lines} {name} differ from both their neighbours all along: dead lines'
            return [make_finding(CameraFault.DEAD_LINES, reason, lines, limits.dead_lines)]
        risen = now.rows.step > 1.3 * self._levels.number('step', 1e3)
        if self._lasts('rough', risen and now.roughness > rough, 2, fresh=self._fresh):
            reason = (
                f'torn: neighbouring rows differ by {now.roughness:.1f} times what columns do, '
                f'usually {rough / limits.roughness_ratio:.1f}: rows are lost or in disorder'
            )
            severity = Severity.UNUSABLE
            return [make_finding(CameraFault.TORN, reason, now.roughness, rough, severity)]
        return []

    def _find_seam(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        """A row below which the picture is another."""
        seams = now.rows.seams
        if seams.max() < limits.seam_share:
            return []
        usual = self._levels.get('seams', np.zeros(len(seams)))
        fresh = np.where(seams - usual > SEAM_RISE, seams, 0.0)
        seam = float(fresh.max())
        alike = np.count_nonzero(seams >= 0.45 * limits.seam_share)
        if seam >= limits.seam_share and alike <= MANY_SEAMS:
            row = int(fresh.argmax()) + 1
            reason = (
                f'torn: below row {row} the picture is another along {100 * seam:.0f} % of the '
                'width: lost packets, or two frames in one'
            )
            return [make_finding(CameraFault.TORN, reason, seam, limits.seam_share)]
        return []

    def _find_copies(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        """Frames that are copies of earlier ones, though not of the one before."""
        key = hash(now.samples.tobytes())
        self._number += 1
        period = self._number - self._known.pop(key, self._number)
        self._known[key] = self._number
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        seen = period > 0 and now.energy.sum() > now.energy.size
        if not self._lasts('replayed', seen, limits.replayed_hits):
            return []
        reason = (
            f'replayed: the frame of {period} frames ago comes again: a buffer is sent round and '
            'round'
        )
        hits = self._runs['replayed']
        return [
            make_finding(
                CameraFault.REPLAYED, reason, hits, limits.replayed_hits, Severity.UNUSABLE
            )
        ]

    def _find_specks(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        if now.specks < limits.speck_share:
            return []
        reason = f'noisy: {100 * now.specks:.1f} % of the pixels stand out of their neighbours'
        return [make_finding(HealthKind.NOISY, reason, now.specks, limits.speck_share)]

    def _find_blocks(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        """Blocks of an encoder that saves too much, or that lost its way."""
        usual = self._levels.number('blocks', 1e3)
        least = max(limits.blocks, limits.blocks_ratio * usual)
        if not self._lasts('blocky', now.blocks >= least, 3, fresh=self._fresh):
            return []
        reason = (
            f'blocky: steps between blocks of 8 pixels are {now.blocks:.1f} times those within, '
            f'usually {usual:.1f}: compressed too much'
        )
        return [make_finding(CameraFault.BLOCKY, reason, now.blocks, least)]

    def _find_bands(
        self, now: PictureFigures, before: PictureFigures, limits: CameraHealthConfig
    ) -> list[HealthFinding]:
        """Rows whose light changes all along: lamps that flicker under a rolling shutter."""
        left, right = (now.light - before.light).T
        rows = (left + right) / 2
        rows -= rows.sum() / len(rows)
        depth = float(rows @ rows / len(rows)) ** 0.5
        banded = depth > limits.band_depth
        if banded:
            waves = np.abs(np.fft.rfft(rows)) ** 2
            purity = float(waves[2:20].max() / max(float(waves.sum()), 1e-9))
            banded = purity > limits.band_purity and _likeness(left, right) > 0.5
        if not self._often('banded', banded):
            return []
        reason = (
            f'banded: rows change their light by {100 * depth:.0f} % from frame to frame in one '
            'wave: lamps that flicker, or a failing sensor'
        )
        return [make_finding(CameraFault.BANDED, reason, depth, limits.band_depth)]

    def _find_turns(
        self,
        now: PictureFigures,
        before: PictureFigures,
        elapsed_s: float,
        limits: CameraHealthConfig,
    ) -> list[HealthFinding]:
        """Colours and orientation that change at once, and stay."""
        if not _turn_view(self._flip, now, before, limits):
            _turn_colors(self._order, now, before, limits)
        found = []
        for turn, severity in (
            (self._order, Severity.DEGRADED),
            (self._flip, Severity.UNUSABLE),
        ):
            if turn.kind:
                found.append(make_finding(turn.kind, turn.words, 1.0, 0.0, severity))
                turn.left_s -= elapsed_s
                if turn.left_s <= 0:
                    turn.kind = ''
        return found

    def _find_haze(self, now: PictureFigures, limits: CameraHealthConfig) -> list[HealthFinding]:
        """Detail that goes in all the view, though its edges are sharp."""
        if self._tiles.energy is None or 'relative' not in self._levels:
            return []
        textured = self._tiles.energy > 4.0
        if np.count_nonzero(textured) < 0.3 * textured.size:
            return []
        # Of the light, which dusk takes with the detail, and haze does not.
        ratio = quantile(now.relative[textured] / self._levels['relative'][textured], 0.7)
        if not self._lasts('hazy', ratio < limits.haze_ratio, 2):
            return []
        reason = (
            f'hazy: detail is {100 * ratio:.0f} % of what it was in most of the view: fog, frost '
            'or a wet lens'
        )
        return [make_finding(CameraFault.HAZY, reason, ratio, limits.haze_ratio)]


def _find_cast(now: PictureFigures) -> list[HealthFinding]:
    """One colour all over, as of pictures whose colour planes never came."""
    cast = now.cast
    if cast < GREEN_CAST:
        return []
    reason = f'wrong colours: all the view is greener than red and blue by {cast:.0f} of 255'
    return [make_finding(CameraFault.WRONG_COLORS, reason, cast, GREEN_CAST)]


def _turn_colors(
    turn: _Turn, now: PictureFigures, before: PictureFigures, limits: CameraHealthConfig
) -> None:
    """Follow the order of the colours, and a cast over all the view."""
    if turn.kind and isinstance(turn.undo, np.ndarray):
        cast = now.mean.mean((0, 1)) - now.mean.mean()
        if np.abs(cast - turn.undo).sum() < limits.color_jump:
            turn.kind = ''
        return
    new = now.mean - now.mean.sum(2, keepdims=True) / 3
    old = before.mean - before.mean.sum(2, keepdims=True) / 3
    change = float(np.abs(new - old).sum() / new.size)
    if change < 2.0:
        return
    errors = {order: float(np.abs(new - old[:, :, order]).mean()) for order in SWAPS}
    order = min(errors, key=lambda each: errors[each])
    if errors[order] < 0.4 * change:
        if turn.kind and turn.undo == order:
            turn.kind = ''
            return
        names = ''.join('RGB'[k] for k in order)
        turn.words = f'wrong colours: the order of the channels is {names} at once'
        turn.undo = tuple(int(k) for k in np.argsort(order))
    elif change >= limits.color_jump:
        turn.words = f'wrong colours: all the view changed its colour by {change:.0f} at once'
        turn.undo = before.mean.mean((0, 1)) - before.mean.mean()
    else:
        return
    turn.kind, turn.left_s = CameraFault.WRONG_COLORS, limits.turn_holds_s


def _turn_view(
    turn: _Turn, now: PictureFigures, before: PictureFigures, limits: CameraHealthConfig
) -> bool:
    """Follow the orientation of the picture; whether it has just turned."""
    new, old = now.green[::2, ::2], before.green[::2, ::2]
    same = correlate(new, old)
    if same > 0.6:
        return False
    for name, flip in FLIPS.items():
        if correlate(new, old[flip]) > max(0.75, same + 0.25):
            if turn.kind and turn.undo == name:
                turn.kind = ''
                return True
            turn.undo = name
            turn.kind = CameraFault.MIRRORED if name == 'mirrored' else CameraFault.UPSIDE_DOWN
            turn.words = f'{name.replace("_", " ")} from one frame to the next'
            turn.left_s = limits.turn_holds_s
            return True
    return False


def _likeness(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Correlation; 0 where one is constant."""
    x, y = a.astype(np.float32).ravel(), b.astype(np.float32).ravel()
    x -= x.mean()
    y -= y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0
