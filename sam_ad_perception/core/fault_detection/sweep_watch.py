"""Sweeps over time: what is hidden, lost, dirty, turned, and whether the ground lies as it did.

The sweep is seen as an image of azimuth and elevation (`sweep_image`) and held against its running
levels, and where that is possible against what no sweep can be. Solid-state lidars see a part of
the circle: what was never seen is not missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.fault_detection.sweep_ground import GroundWatch
from sam_ad_perception.core.fault_detection.sweep_image import (
    BANDS,
    COLUMNS,
    HIGHEST_DEG,
    LOWEST_DEG,
    SECTORS,
    SweepImage,
    best_turn,
    holes,
    isolated_share,
    look_at,
    plain,
)
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.lidar_thresholds import LidarHealthConfig
from sam_ad_perception.core.health.measures import quantile
from sam_ad_perception.core.health.watch import (
    Circumstances,
    RunningLevels,
    Standing,
    find_runs,
    longest_run,
    make_finding,
)
from sam_ad_perception.core.sensors import PointCloud, SensorFrame

SECTOR_DEG = 360.0 / SECTORS
CLUTTER_REACH_M = 12.0
"""Drops and flakes return light from up to here."""
WEDGES = 2
"""So many looks at wedges of the sweep together tell how much of it is clutter."""
LEAST_NEAR = 200
"""A wedge with fewer near returns tells nothing of clutter."""
LEAST_SAMPLES = 8
"""A sector, a band or a degree in which fewer samples are usual tells nothing."""
AMBIGUOUS = 0.08
"""Two correlations that differ by less do not tell turned from mirrored."""
WIDEST_HOLE_DEG = 10
"""Wider ones are hidden sectors, or the edge of what the lidar sees."""
LEAST_POINTS = 200
"""A sweep with fewer points tells nothing but that."""
MOST_ELAPSED_S = 0.6
"""Sweeps further apart are not compared with each other."""


class SweepFault(StrEnum):
    """What can be wrong with a sweep beside `judgement.HealthKind`."""

    BLOCKED = 'blocked'
    LOST_PACKETS = 'lost_packets'
    DEAD_RINGS = 'dead_rings'
    DIRTY = 'dirty'
    CLUTTER = 'clutter'
    MIRRORED = 'mirrored'
    TURNED = 'turned'


@dataclass(frozen=True)
class _Orientation:
    """How sweeps lie against the healthy ones: turned by so many sectors, mirrored."""

    turn: int = 0
    mirrored: bool = False

    def followed_by(self, turn: int, *, mirrored: bool) -> _Orientation:
        """What another change makes of it."""
        both = self.turn - turn if self.mirrored else self.turn + turn
        return _Orientation(both % SECTORS, self.mirrored != mirrored)

    @property
    def turn_deg(self) -> float:
        """Degrees, -180 to 180."""
        return (self.turn * SECTOR_DEG + 180.0) % 360.0 - 180.0


@dataclass
class SweepWatch:
    """See `watch.Watch`."""

    _levels: RunningLevels = field(default_factory=RunningLevels)
    _standing: Standing = field(default_factory=Standing)
    _ground: GroundWatch = field(default_factory=GroundWatch)
    _image: SweepImage | None = None
    _healthy: SweepImage | None = None
    _orientation: _Orientation = _Orientation()
    _ambiguous: bool = False
    _turned_s: float = 0.0
    _wedges: list[float] = field(default_factory=list)
    _holes: float | None = None
    _sweeps: int = 0
    _elapsed_s: float = 0.0
    _fresh: bool = False
    _seen: list[HealthFinding] = field(default_factory=list)
    _air: list[HealthFinding] = field(default_factory=list)
    _under: list[HealthFinding] = field(default_factory=list)

    @staticmethod
    def warm_up() -> None:
        """See `watch.Watch`."""
        grid = np.stack(np.meshgrid(np.linspace(-9, 9, 30), np.linspace(-9, 9, 30), [-1.7]), -1)
        points = plain(grid.reshape(-1, 3))
        image = look_at(points, 1.0)
        holes(image.columns, LEAST_SAMPLES, WIDEST_HOLE_DEG)
        best_turn(image.depth, image.depth, 2.0)
        isolated_share(points, 0, CLUTTER_REACH_M)
        GroundWatch.warm_up(points)

    def look(
        self, frame: SensorFrame, around: Circumstances, thresholds: LidarHealthConfig
    ) -> list[HealthFinding]:
        """See `watch.Watch`."""
        cloud = frame.data
        assert isinstance(cloud, PointCloud)
        self._sweeps += 1
        self._elapsed_s += around.elapsed_s
        points = plain(cloud.points)
        if len(points) < max(thresholds.min_points, LEAST_POINTS):
            return []
        # What costs is done by turns; what was found holds until the next look.
        if self._sweeps % 2 or self._image is None:
            self._seen = self._look_at_image(points, around, thresholds)
            self._elapsed_s = 0.0
        else:
            self._fresh = False
            # Without the rings and packets beside it a return stands alone, too.
            lost = {SweepFault.DEAD_RINGS, SweepFault.LOST_PACKETS}
            if lost.isdisjoint(finding.kind for finding in self._seen):
                self._air = self._find_clutter(points, thresholds)
            else:
                self._air, self._wedges = [], []
            # A sweep that lacks half of the ground says nothing about its height.
            disturbed = self._seen or self._air
            self._under = [] if disturbed else self._ground.look(points, around, thresholds)
        found = [
            replace(f, reason=f.reason + self._standing.since(f.kind, frame.stamp_ns))
            for f in (*self._seen, *self._air, *self._under)
        ]
        self._standing.keep([f.kind for f in found])
        return found

    def _look_at_image(
        self, points: NDArray[np.float32], around: Circumstances, t: LidarHealthConfig
    ) -> list[HealthFinding]:
        """All that the image of azimuth and elevation tells."""
        before, self._image = self._image, look_at(points, t.dirt_m)
        self._fresh = True
        found = self._find_hidden(self._image, t)
        found += self._find_holes(self._image, t)
        found += self._find_dead_rings(self._image, t)
        if HealthKind.SHORT_RANGE not in around.kinds:
            found += self._find_dirt(self._image, t)
        if before is not None and self._elapsed_s <= MOST_ELAPSED_S:
            found += self._find_turn(before, self._elapsed_s, t)
        return found

    def learn(self, weight: float) -> None:
        """See `watch.Watch`."""
        image = self._image
        if image is None:
            return
        if not self._fresh:
            if len(self._wedges) == WEDGES:
                self._levels.move('clutter', np.mean(self._wedges), weight)
            self._ground.learn(weight)
            return
        if self._standing.is_empty:
            self._healthy = image
            self._turned_s = 0.0
        for name, value in (
            ('sectors', image.sectors),
            ('near', image.near / np.maximum(image.sectors, 1)),
            ('bands', image.bands * image.step),
        ):
            self._levels.move(name, value, weight)
        if self._holes is not None:
            self._levels.move('holes', self._holes, weight)

    def _find_hidden(self, image: SweepImage, t: LidarHealthConfig) -> list[HealthFinding]:
        """Sectors side by side that return nothing where they usually do."""
        if 'sectors' not in self._levels:
            return []
        usual, now = self._levels['sectors'], image.sectors
        known = usual >= LEAST_SAMPLES
        # A sweep that is sparse everywhere is hidden nowhere: most sectors tell how sparse it is.
        ratio = now[known] / usual[known]
        scale = min(quantile(ratio, 0.8), 1.0) if known.any() else 0.0
        dead = known & (now < t.blocked_share * scale * usual)
        if not dead.any():
            return []
        start, length = longest_run(dead, closed=True)
        width = length * SECTOR_DEG
        # Where nearly all is gone the number of points tells it better.
        if width < t.blocked_deg or dead.sum() > 0.9 * known.sum():
            return []
        inside = (start + np.arange(length)) % SECTORS
        middle = (start + length / 2) * SECTOR_DEG - 180.0
        share = 100 * now[inside].sum() / usual[inside].sum()
        reason = (
            f'{width:.0f} degrees {_side(middle)} return {share:.0f} % of the usual points: '
            'something hides them, or the window is iced'
        )
        return [make_finding(SweepFault.BLOCKED, reason, width, t.blocked_deg)]

    def _find_holes(self, image: SweepImage, t: LidarHealthConfig) -> list[HealthFinding]:
        """Degrees without a return between others with many: packets that did not come."""
        self._holes = None
        missing, count, widest, known = holes(image.columns, LEAST_SAMPLES, WIDEST_HOLE_DEG)
        if known < COLUMNS // 6:
            return []
        self._holes = share = missing / known
        usual = self._levels.number('holes', 0.0)
        least = max(t.lost_packets_share, 1.5 * usual + 0.5 * t.lost_packets_share)
        if share < least:
            return []
        reason = (
            f'{100 * share:.0f} % of the sweep is missing in {count} gaps of up to '
            f'{widest} degrees: packets are lost on the way'
        )
        return [make_finding(SweepFault.LOST_PACKETS, reason, share, least)]

    def _find_dead_rings(self, image: SweepImage, t: LidarHealthConfig) -> list[HealthFinding]:
        """Elevations that suddenly return nothing, between others that do."""
        if self._healthy is None or 'bands' not in self._levels:
            return []
        usual = np.minimum(self._levels['bands'], self._healthy.bands * self._healthy.step)
        usual /= image.step
        known = usual >= LEAST_SAMPLES
        dead = known & (image.bands < t.dead_ring_share * usual)
        live = np.flatnonzero(known & ~dead)
        if len(live) == 0:
            return []
        inside = dead & (np.arange(BANDS) > live[0]) & (np.arange(BANDS) < live[-1])
        count = int(inside.sum())
        # Points that are found at other elevations instead have moved, and no ring is dead.
        gained = np.maximum(image.bands - 1.3 * usual - 3.0, 0.0).sum()
        if count < t.dead_bands or gained > 0.5 * usual[inside].sum():
            return []
        height = (HIGHEST_DEG - LOWEST_DEG) / BANDS
        runs = [
            f'{LOWEST_DEG + a * height:.1f}' if n == 1
            else f'{LOWEST_DEG + a * height:.1f} to {LOWEST_DEG + (a + n) * height:.1f}'
            for a, n in find_runs(inside)
        ]  # fmt: skip
        told = ', '.join(runs[:3]) + (f' and {len(runs) - 3} more' if len(runs) > 3 else '')
        share = count / max(int(known.sum()), 1)
        reason = (
            f'rings are dead: nothing returns at elevations of {told} degrees '
            f'({100 * share:.0f} % of the view)'
        )
        return [make_finding(SweepFault.DEAD_RINGS, reason, count, t.dead_bands)]

    def _find_dirt(self, image: SweepImage, t: LidarHealthConfig) -> list[HealthFinding]:
        """Sectors whose returns come from the window itself, or just before it."""
        sectors = image.sectors
        share = image.near / np.maximum(sectors, 1)
        usual = self._levels.get('near', np.zeros(SECTORS))
        dirty = (sectors >= LEAST_SAMPLES) & (share > t.dirt_share) & (usual < 0.5 * t.dirt_share)
        if not dirty.any():
            return []
        start, length = longest_run(dirty, closed=True)
        width = length * SECTOR_DEG
        if width < t.blocked_deg:
            return []
        middle = (start + length / 2) * SECTOR_DEG - 180.0
        near = 100 * share[dirty].mean()
        reason = (
            f'{width:.0f} degrees {_side(middle)} see no further than {t.dirt_m:.1f} m in '
            f'{near:.0f} % of their points: dirt on the window'
        )
        return [make_finding(SweepFault.DIRTY, reason, width, t.blocked_deg)]

    def _find_clutter(
        self, points: NDArray[np.float32], t: LidarHealthConfig
    ) -> list[HealthFinding]:
        """Near returns that no neighbour confirms."""
        share, near = isolated_share(points, self._sweeps // 2 * 3, CLUTTER_REACH_M)
        if near >= LEAST_NEAR:
            self._wedges = [*self._wedges, share][-WEDGES:]
        if len(self._wedges) < WEDGES:
            return []
        mean = float(np.mean(self._wedges))
        most = t.clutter_share
        if 'clutter' in self._levels:
            usual = self._levels.number('clutter', 0.0)
            most = min(most, usual + max(t.clutter_rise, 0.6 * usual))
        if mean < most:
            return []
        usual_text = f', usually {100 * self._levels.number("clutter", 0.0):.0f} %' if (
            'clutter' in self._levels) else ''  # fmt: skip
        reason = (
            f'{100 * mean:.0f} % of the points within {CLUTTER_REACH_M:.0f} m stand alone in the '
            f'air{usual_text}: snow, fog, spray or light of another lidar'
        )
        return [make_finding(SweepFault.CLUTTER, reason, mean, most)]

    def _find_turn(
        self, before: SweepImage, elapsed_s: float, t: LidarHealthConfig
    ) -> list[HealthFinding]:
        """A sweep that looks as the one before only once it is turned or mirrored."""
        assert self._image is not None
        like = best_turn(self._image.depth, before.depth, 1.0 - t.turn_margin)
        sudden = like.mirrored or SECTORS - 4 > like.turn > 4
        if sudden and like.best > t.turn_likeness and like.best - like.as_it_is > t.turn_margin:
            self._orientation = self._orientation.followed_by(like.turn, mirrored=like.mirrored)
            # A straight street looks the same turned and mirrored.
            self._ambiguous = like.best - like.other < AMBIGUOUS
        now = self._orientation
        self._turned_s += elapsed_s
        if not now.mirrored and abs(now.turn_deg) < 15.0:
            self._orientation, self._turned_s = _Orientation(), 0.0
            return []
        if self._turned_s > t.turn_holds_s:
            self._orientation = _Orientation()
            return []
        turned = f'turned by {abs(now.turn_deg):.0f} degrees to the ' + (
            'left' if now.turn_deg > 0 else 'right')  # fmt: skip
        besides = '' if abs(now.turn_deg) < 15.0 else f' and {turned}'
        kind, words = SweepFault.TURNED, turned
        if now.mirrored:
            kind, words = SweepFault.MIRRORED, f'mirrored, left is right{besides}'
        if self._ambiguous:
            kind, words = SweepFault.TURNED, 'turned or mirrored, the street looks the same so'
        reason = f'the sweep is {words} (correlation with those before {like.best:.2f})'
        return [make_finding(kind, reason, like.best, t.turn_likeness, Severity.UNUSABLE)]


def _side(azimuth_deg: float) -> str:
    """Where an azimuth lies, from the lidar, in words."""
    sides = ('ahead', 'ahead on the left', 'on the left', 'behind on the left', 'behind',
             'behind on the right', 'on the right', 'ahead on the right')  # fmt: skip
    return sides[round(azimuth_deg / 45.0) % 8]
