"""Thermal pictures over time: covered and frozen parts, palette, gain, zeros, lost rows.

The samples that the figures of a picture are made of are seen in tiles, and held against those of
the pictures before and against the running levels of each tile.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.fault_detection.thermal_tiles import (
    TILES,
    difference,
    look_at_tiles,
    regress,
)
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.measures import ImageStatistics
from sam_ad_perception.core.health.thermal_thresholds import ThermalHealthConfig
from sam_ad_perception.core.health.watch import (
    Circumstances,
    RunningLevels,
    Standing,
    find_runs,
    make_finding,
)
from sam_ad_perception.core.sensors import SensorFrame

LAGS = (4, 8)
"""Pictures so many frames apart differ more than neighbours where anything moves or warms."""
LATER = 20
"""What a scene does is learnt so many frames later."""
SETTLED = 3
"""So many frames in a row say that nothing but noise changes."""
FEW_LINES = 2
GAP_S = 0.6
"""Pictures further apart show another scene: what was usual before says nothing of it."""
AT_ONCE_S = 0.15
"""Tiles whose texture goes within twice this time lost it at once."""
LINES_EVERY = 4
SAMPLED_LINES = 64
"""So many pixels of a row or column tell whether it is alive."""


_TOLD = {HealthKind.LOW_CONTRAST, HealthKind.SHUTTER, HealthKind.SATURATED}
"""What the figures of the picture itself say of its contrast."""


_DISTURBING = {HealthKind.NOISY, HealthKind.SHUTTER}


class ThermalFault(StrEnum):
    """What can be wrong with a thermal picture beside `judgement.HealthKind`."""

    ZEROS = 'zeros'
    LOST_ROWS = 'lost_rows'
    STUCK_COLUMNS = 'stuck_columns'
    COVERED = 'covered'
    FROZEN_PART = 'frozen_part'
    INVERTED = 'inverted'
    GAIN = 'gain'


@dataclass(frozen=True, eq=False)
class _Look:
    """Figures of one picture against the one before.

    Attributes:
        deviation: (6, 8) standard deviation within each tile.
        likeness: (6, 8) correlation of each tile with the picture before; 1 for the first.
        unchanged: Share of the tiles of which no sample changed; None for the first picture.
        zeros: Share of the samples that are 0, with nothing between them and the others.
        middle_zeros: Likewise of the middle half of the picture, both ways.
        repeated: Share of the rows that repeat the one above.
        flat_rows: Share of the rows of one value between others.
        flat_columns: Likewise of columns.
    """

    deviation: NDArray[np.float64]
    likeness: NDArray[np.float64]
    unchanged: float | None
    zeros: float
    middle_zeros: float
    repeated: float
    flat_rows: float
    flat_columns: float


@dataclass
class ThermalWatch:
    """See `watch.Watch`."""

    _levels: RunningLevels = field(default_factory=RunningLevels)
    _standing: Standing = field(default_factory=Standing)
    _before: NDArray[Any] | None = None
    _recent: deque[NDArray[Any]] = field(default_factory=lambda: deque(maxlen=max(LAGS) + 1))
    _now: _Look | None = None
    _healthy: NDArray[np.float64] | None = None
    _gain: float = 1.0
    _gain_s: float = 0.0
    _covered_s: float = 0.0
    _bare_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(TILES))
    _evolution: float | None = None
    _evolutions: deque[float] = field(default_factory=lambda: deque(maxlen=LATER))
    _settled: int = 0
    _frames: int = 0
    _disturbed: bool = False
    _lines: tuple[float, float, float] | None = None

    @staticmethod
    def warm_up() -> None:
        """See `watch.Watch`."""
        for dtype in (np.uint8, np.uint16, np.float32):
            samples = np.arange(24 * 32).reshape(24, 32).astype(dtype)
            look_at_tiles(samples, samples)
            regress(samples[::2, ::2], samples[::2, ::2])
            difference(samples, samples)

    def look(
        self, frame: SensorFrame, around: Circumstances, thresholds: ThermalHealthConfig
    ) -> list[HealthFinding]:
        """See `watch.Watch`."""
        image, data = around.image, frame.data
        assert image is not None
        assert isinstance(data, np.ndarray)
        before = self._before
        if before is not None and (
            before.shape != image.samples.shape or before.dtype != image.samples.dtype
        ):
            self._forget()
            before = None
        if around.elapsed_s > GAP_S:
            self._levels.forget('deviation', 'likeness')
            self._healthy = before = None
            self._covered_s, self._bare_s = 0.0, np.zeros(TILES)
        # Lines are looked at once in a while: dead ones stay dead.
        self._frames += 1
        if self._frames % LINES_EVERY == 1 or self._lines is None:
            self._lines = _look_at_lines(data)
        self._now = _measure(image, before, self._lines)
        found = _find_dead(self._now, self._levels, thresholds)
        found += self._find_level(image, before, around, thresholds)
        if not found:
            found += self._find_covered(self._now, image, around, thresholds)
            found += self._find_frozen(self._now, image, around, thresholds)
        self._before = np.array(image.samples)
        found = [
            replace(f, reason=f.reason + self._standing.since(f.kind, frame.stamp_ns))
            for f in found
        ]
        self._standing.keep([f.kind for f in found])
        return found

    def learn(self, weight: float) -> None:
        """See `watch.Watch`."""
        now = self._now
        if now is None:
            return
        if self._standing.is_empty and not self._covered_s:
            self._healthy = now.deviation
            self._learn_evolution()
        if not self._covered_s:
            self._levels.move('deviation', now.deviation, weight)
            if now.unchanged is not None:  # the first picture is compared with itself
                self._levels.move('likeness', now.likeness, weight)
        for name in ('unchanged', 'zeros', 'repeated'):
            value = getattr(now, name)
            if value is not None:
                self._levels.move(name, value, weight)

    def _forget(self) -> None:
        """Start anew: pictures of another format are those of another camera."""
        self._levels, self._standing = RunningLevels(), Standing()
        self._before = self._healthy = self._lines = None
        self._recent.clear()
        self._evolutions.clear()
        self._gain, self._covered_s, self._settled = 1.0, 0.0, 0
        self._bare_s = np.zeros(TILES)

    def _learn_evolution(self) -> None:
        """The least that the scene ever did; a freeze is told from it only some frames later."""
        if self._evolution is not None:
            self._evolutions.append(self._evolution)
        if len(self._evolutions) == self._evolutions.maxlen:
            least = min(self._levels.number('evolution', np.inf), self._evolutions.popleft())
            self._levels.move('evolution', least, 1.0)

    def _find_level(
        self,
        image: ImageStatistics,
        before: NDArray[Any] | None,
        around: Circumstances,
        t: ThermalHealthConfig,
    ) -> list[HealthFinding]:
        """Palette and gain: the picture is the one before, but for a factor."""
        # Noise adds to the contrast, and a shutter has none: neither is a gain.
        disturbed, self._disturbed = self._disturbed, not _DISTURBING.isdisjoint(around.kinds)
        if before is None or disturbed or self._disturbed:
            return []
        likeness, slope = regress(image.samples[::2, ::2], before[::2, ::2])
        least = t.gain_change if image.samples.dtype.kind != 'u' or (
            image.samples.dtype.itemsize > 1) else t.gain_change_8bit  # fmt: skip
        if likeness < -t.likeness or (
            likeness > t.likeness and not 1 / least < abs(slope) < least
        ):
            self._gain *= slope
            self._gain_s = 0.0
        self._gain_s += around.elapsed_s
        back = 0.7 < self._gain < 1.4
        if back or self._gain_s > t.level_holds_s:
            self._gain = 1.0
            return []
        if not _TOLD.isdisjoint(around.kinds):
            return []
        if self._gain < 0:
            reason = (
                f'the palette is inverted, what was warm is cold now (the picture is '
                f'{self._gain:.2f} times what it was)'
            )
            return [
                make_finding(ThermalFault.INVERTED, reason, self._gain, 0.0, Severity.UNUSABLE)
            ]
        reason = f'the gain has changed: the contrast is {self._gain:.2f} times what it was'
        return [make_finding(ThermalFault.GAIN, reason, self._gain, least)]

    def _find_covered(
        self, now: _Look, image: ImageStatistics, around: Circumstances, t: ThermalHealthConfig
    ) -> list[HealthFinding]:
        """Tiles that lost their texture at once while others keep it."""
        if 'deviation' not in self._levels or self._healthy is None:
            return []
        usual = np.minimum(self._levels['deviation'], self._healthy)
        textured = usual > max(3.0 * image.noise, 0.02 * image.contrast, 1e-6)
        bare = textured & (now.deviation < t.covered_ratio * usual)
        # Texture that is no more than noise still repeats from picture to picture, a cover's not.
        alike = self._levels.get('likeness', np.zeros(TILES))
        steady = alike > t.steady_likeness
        bare |= steady & (now.likeness < t.covered_likeness)
        known = textured | steady
        rest = steady & ~bare
        turning = rest.any() and float(np.mean(now.likeness[rest] / alike[rest])) < 0.7
        share = float(bare.sum() / max(known.sum(), 1))
        passed = around.elapsed_s or 1e-3
        self._bare_s = np.where(bare, self._bare_s + passed, 0.0)
        if known.sum() < 6 or turning or not t.covered_share <= share <= 0.95:
            self._covered_s = 0.0
            return []
        self._covered_s += passed
        # What covers the window comes at once and stays; a tunnel's walls come bit by bit.
        bare = _largest_group(self._bare_s, t.covered_after_s)
        share = float(bare.sum() / known.sum())
        if self._covered_s < t.covered_after_s or share < t.covered_share:
            return []
        rows, columns = np.nonzero(bare)
        where = _place(float(rows.mean()) / (TILES[0] - 1), float(columns.mean()) / (TILES[1] - 1))
        reason = (
            f'{100 * share:.0f} % of the view, {where}, lost its texture at once and stays bare: '
            'something covers the window'
        )
        return [make_finding(ThermalFault.COVERED, reason, share, t.covered_share)]

    def _find_frozen(
        self, now: _Look, image: ImageStatistics, around: Circumstances, t: ThermalHealthConfig
    ) -> list[HealthFinding]:
        """Parts that stay to the bit, and pictures in which nothing but noise changes."""
        if now.unchanged is not None and now.unchanged < 1.0:
            usual = self._levels.number(
                'unchanged', 1.0 if image.samples.dtype == np.uint8 else 0.0
            )
            least = max(t.frozen_share, usual + t.frozen_share)
            if now.unchanged >= least:
                reason = (
                    f'{100 * now.unchanged:.0f} % of the view does not change at all while the '
                    'rest does: frozen in parts'
                )
                return [make_finding(ThermalFault.FROZEN_PART, reason, now.unchanged, least)]
        self._recent.append(np.array(image.samples))
        self._evolution = _evolution(self._recent)
        if self._evolution is None:
            return []
        still = self._evolution < t.still_ratio
        self._settled = self._settled + 1 if still else 0
        possible = around.moving is True or (
            around.moving is None and self._levels.number('evolution', 0.0) > t.evolution_ratio
        )
        if self._settled < SETTLED or not possible:
            return []
        self._evolution = None
        beside = ' although the camera sees motion' if around.moving else ''
        reason = f'nothing but noise changes{beside}: frozen'
        # a note: heat may stand still where a wiper or a passer-by moves before the camera
        return [make_finding(HealthKind.FROZEN, reason, 1.0, t.still_ratio)]


def _largest_group(bare_s: NDArray[np.float64], least_s: float) -> NDArray[np.bool_]:
    """The most tiles that are bare since one time, at least so long."""
    begins = np.unique(bare_s[bare_s >= least_s])
    if not begins.size:
        return np.zeros(TILES, bool)
    groups = [np.abs(bare_s - begin) <= AT_ONCE_S for begin in begins]
    return max(groups, key=np.count_nonzero) & (bare_s >= least_s)


def _find_dead(now: _Look, levels: RunningLevels, t: ThermalHealthConfig) -> list[HealthFinding]:
    """Zeros, and rows and columns that hold nothing."""
    found = []
    risen = levels.number('zeros', 1.0) + t.zero_share
    if now.middle_zeros >= t.zero_share or now.zeros >= risen:
        share = max(now.zeros, now.middle_zeros)
        reason = f'{100 * share:.0f} % of the pixels are 0, far from all others: lost on the way'
        severity = Severity.UNUSABLE if share >= t.zero_share_out else Severity.DEGRADED
        found.append(make_finding(ThermalFault.ZEROS, reason, share, t.zero_share, severity))
    elif now.flat_rows >= t.lost_rows_share:
        reason = f'{100 * now.flat_rows:.0f} % of the rows hold one value: lost'
        found.append(
            make_finding(ThermalFault.LOST_ROWS, reason, now.flat_rows, t.lost_rows_share)
        )
    elif now.repeated >= levels.number('repeated', 1.0) + t.lost_rows_share:
        reason = f'{100 * now.repeated:.0f} % of the rows repeat the one above: lost'
        found.append(make_finding(ThermalFault.LOST_ROWS, reason, now.repeated, t.lost_rows_share))
    if now.flat_columns >= t.lost_rows_share:
        reason = f'{100 * now.flat_columns:.0f} % of the columns hold one value: stuck'
        found.append(
            make_finding(ThermalFault.STUCK_COLUMNS, reason, now.flat_columns, t.lost_rows_share)
        )
    return found


def _measure(
    image: ImageStatistics, before: NDArray[Any] | None, lines: tuple[float, float, float]
) -> _Look:
    samples = image.samples
    deviation, likeness, unchanged = look_at_tiles(samples, samples if before is None else before)
    zeros, middle = _zero_shares(samples, image.low)
    return _Look(
        deviation,
        likeness,
        None if before is None else float((unchanged == 1).mean()),
        zeros,
        middle,
        *lines,
    )


def _look_at_lines(data: NDArray[Any]) -> tuple[float, float, float]:
    """Share of the rows that repeat the one above; that are of one value; of such columns."""
    rows = np.ascontiguousarray(data[:, :: max(1, data.shape[1] // SAMPLED_LINES)])
    columns = data[:: max(1, data.shape[0] // SAMPLED_LINES)]
    flat_rows = (rows == rows[:, :1]).all(axis=1)
    flat_columns = (columns == columns[:1]).all(axis=0)
    repeated = (rows[1:] == rows[:-1]).all(axis=1) & ~flat_rows[1:]
    return (
        _share_of(repeated),
        _share_of(_inside(flat_rows)),
        _share_of(_inside(flat_columns)),
    )


def _share_of(lines: NDArray[np.bool_]) -> float:
    """Share of the lines; a single one may be a defect that is known."""
    count = int(lines.sum())
    return count / max(len(lines), 1) if count >= FEW_LINES else 0.0


def _inside(flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the runs at the ends: borders of a rectified picture."""
    out = flat.copy()
    for start, length in find_runs(flat):
        if start == 0 or start + length == len(flat):
            out[start : start + length] = False
    return out


def _zero_shares(samples: NDArray[Any], low: float) -> tuple[float, float]:
    """Share of zeros among whole numbers, of all and of the middle; 0 where others are near 0."""
    if samples.dtype.kind != 'u' or low > 0:  # 2 % of the samples are the least that counts
        return 0.0, 0.0
    zero = samples == 0
    count = int(np.count_nonzero(zero))
    if count == 0 or count == zero.size:
        return 0.0, 0.0
    others = samples[~zero]
    least, middle = np.partition(others, (len(others) // 100, len(others) // 2))[
        [len(others) // 100, len(others) // 2]
    ]
    if least < 16 or least < 0.2 * middle:
        return 0.0, 0.0
    height, width = zero.shape
    part = zero[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    return count / zero.size, float(part.mean())


def _evolution(recent: deque[NDArray[Any]]) -> float | None:
    """How much more pictures further apart differ than neighbours; 1 where only noise changes."""
    if len(recent) <= max(LAGS):
        return None
    near = float(difference(recent[-1], recent[-2]))
    if near == 0.0:
        return None
    return max(float(difference(recent[-1], recent[-1 - lag])) for lag in LAGS) / near


def _place(v: float, u: float) -> str:
    """Where the middle of a part lies, in words."""
    rows = ('above', 'in the middle', 'below')[min(int(3 * v), 2)]
    columns = ('on the left', 'in the middle', 'on the right')[min(int(3 * u), 2)]
    return rows if columns == 'in the middle' else (
        columns if rows == 'in the middle' else f'{rows} {columns}')  # fmt: skip
