"""Targets of the committed networks, and the routed vehicle beside single networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.measurement import Score, Setting
from training.evaluation.plan import ROUTED
from training.evidence_report.bench import (
    DRIVEN,
    FAULTS,
    JUDGED,
    SUBSETS,
    NetworkFacts,
    Scores,
    checked_name,
)

MIX = 'mix'
TIE = 0.05
"""Points of mIoU within which two figures are equal: half of the last digit that is shown."""


@dataclass(frozen=True)
class Evidence:
    """All that was measured.

    Attributes:
        networks: The networks.
        sensors: All sensors.
        conditions: Light and weather; their mix has equally many frames of each.
        parts: Scores by part, see `bench`.
        full: Key of the network that the targets for all inputs are for; empty for none.
        fast: Key of the one that the targets for speed are for; likewise.
    """

    networks: Sequence[NetworkFacts]
    sensors: tuple[str, ...]
    conditions: tuple[str, ...]
    parts: Mapping[str, Scores]
    full: str = ''
    fast: str = ''


@dataclass(frozen=True)
class Target:
    """One bar.

    Attributes:
        name: What is to be reached.
        goal: Least figure, or most where `at_most`.
        reached: The figure.
        at_most: Whether less is better.
        note: What else to know.
    """

    name: str
    goal: float
    reached: float
    at_most: bool = False
    note: str = ''

    @property
    def missed_by(self) -> float:
        """How far off it is; 0 where it was met."""
        short = self.reached - self.goal if self.at_most else self.goal - self.reached
        return max(0.0, short)


@dataclass(frozen=True)
class Comparison:
    """The routed vehicle beside single networks, on the same frames.

    Attributes:
        fault: `sensor:kind`; `no SENSOR` where one was unplugged; empty for none.
        condition: Light and weather, or `mix`.
        routed: mIoU of the vehicle, percent.
        best: Best of the single networks with the same sensors, with and without health checks.
        best_key: Which one that is.
        worst: Worst network on the sensors that are left.
    """

    fault: str
    condition: str
    routed: float
    best: float
    best_key: str
    worst: float


def figures(score: Score) -> dict[str, float]:
    """MIoU over the classes that occur, of all frames and by condition.

    Args:
        score: What a system reached.

    Returns:
        `mix` (one confusion matrix of all conditions) and each condition, to percent.
    """
    groups = {MIX: score.native, **score.conditions}
    return {name: 100 * matrix.miou_of_present() for name, matrix in groups.items()}


def compare_all(evidence: Evidence) -> list[Comparison]:
    """Put the routed vehicle beside single networks, wherever both were measured.

    Args:
        evidence: The measurements.

    Returns:
        For all sensors, each one unplugged and each fault: one comparison per condition, after
        that of their mix.
    """
    found = []
    subsets, driven = evidence.parts.get(JUDGED, {}), evidence.parts.get(DRIVEN, {})
    for setting, routed in driven.get(ROUTED, {}).items():
        gone = [name for name in evidence.sensors if name not in setting.subset]
        singles = _singles(evidence, subsets, setting.subset)
        fault = f'no {gone[0]}' if gone else ''
        found += _compare(fault, routed, singles, singles)
    faulty = evidence.parts.get(FAULTS, {})
    for setting, routed in faulty.get(ROUTED, {}).items():
        if not setting.fault:
            continue
        sensor = setting.fault.split(':')[0]
        singles, rest = {}, {}
        for facts in evidence.networks:
            checked = faulty[checked_name(facts.key)]
            own = tuple(name for name in facts.sensors if name in evidence.sensors)
            fault = setting.fault if sensor in own else ''
            left = tuple(name for name in own if name != sensor)
            singles[facts.key] = faulty[facts.key][Setting(own, fault)]
            singles[checked_name(facts.key)] = checked[Setting(own, fault, checked=True)]
            if left:
                rest[facts.key] = checked[Setting(left, checked=True)]
        found += _compare(setting.fault, routed, singles, rest)
    return found


def _singles(evidence: Evidence, subsets: Scores, present: tuple[str, ...]) -> dict[str, Score]:
    """Each network that can run, on all of its sensors that are there."""
    found = {}
    for facts in evidence.networks:
        own = tuple(name for name in facts.sensors if name in present)
        score = subsets[facts.key].get(Setting(own))
        if score is not None:
            found[facts.key] = score
    return found


def _compare(
    fault: str, routed: Score, singles: Mapping[str, Score], rest: Mapping[str, Score]
) -> list[Comparison]:
    reached = {key: figures(score) for key, score in singles.items()}
    left = [figures(score) for score in rest.values() if score.masks == score.frames]
    found = []
    for condition, value in figures(routed).items():
        best = max(reached, key=lambda key: reached[key][condition])
        worst = min((each[condition] for each in left), default=0.0)
        found.append(Comparison(fault, condition, value, reached[best][condition], best, worst))
    return found


def hold_targets(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[Target]:
    """Hold the measurements against the targets.

    Args:
        evidence: The measurements.
        comparisons: See `compare_all`.

    Returns:
        The targets for which there is a figure.
    """
    targets = []
    by_key = {facts.key: facts for facts in evidence.networks}
    for key, goal in ((evidence.full, 80.0), (evidence.fast, 65.0)):
        if key in by_key:
            targets.append(_mix_target(evidence, by_key[key], goal))
    if evidence.full in by_key:
        targets += _sensor_targets(evidence)
    if any(each.fault for each in comparisons):
        targets += _routing_targets(comparisons)
    return targets


def _mix_target(evidence: Evidence, facts: NetworkFacts, goal: float) -> Target:
    subsets = evidence.parts[SUBSETS]
    reached = figures(subsets[facts.key][Setting(facts.sensors)])[MIX]
    ceiling = figures(subsets[facts.ceiling][Setting(evidence.sensors)])[MIX]
    note = f'{facts.ceiling}: {ceiling:.1f}'
    return Target(f'{facts.key}: mIoU of the mix with all sensors', goal, reached, note=note)


def _sensor_targets(evidence: Evidence) -> list[Target]:
    key = evidence.full
    scores = evidence.parts[SUBSETS][key]
    reached = {frozenset(s.subset): figures(v) for s, v in scores.items()}
    everything = reached[frozenset(evidence.sensors)]
    targets = [
        Target(
            f'{key}: points that the mix loses without {gone}',
            15.0 if gone == 'camera' else 8.0,
            everything[MIX] - reached[frozenset(evidence.sensors) - {gone}][MIX],
            at_most=True,
        )
        for gone in evidence.sensors
    ]
    pair, camera = frozenset(('lidar', 'thermal')), frozenset(('camera',))
    if pair in reached:
        name = f'{key}: mIoU of the mix with lidar and thermal alone'
        targets.append(Target(name, 50.0, reached[pair][MIX]))
    if 'night' in everything and camera in reached:
        gain = everything['night'] - reached[camera]['night']
        name = f'{key}: points that all sensors are above the camera alone by night'
        targets.append(Target(name, 12.0, gain))
    return targets


def _routing_targets(comparisons: Sequence[Comparison]) -> list[Target]:
    clear = [each for each in comparisons if not each.fault]
    faulty = [each for each in comparisons if each.fault]
    targets = []
    for name, group in (('in each condition', clear), ('with each fault in each', faulty)):
        margin = [each.routed - each.best for each in group]
        targets.append(
            _least(f'routed vehicle above the best single network, {name}', margin, group)
        )
    margin = [each.routed - each.worst for each in faulty]
    title = 'routed vehicle above the worst of what remains, with each fault in each condition'
    return [*targets, _least(title, margin, faulty)]


def _least(name: str, margins: Sequence[float], group: Sequence[Comparison]) -> Target:
    """The least margin of many, 0 for a tie."""
    least = min(margins)
    where = group[margins.index(least)]
    behind = sum(margin < -TIE for margin in margins)
    note = f'behind in {behind} of {len(margins)}, farthest: {where.condition}'
    note += f', {where.fault.replace(":", " ").replace("_", " ")}' if where.fault else ''
    return Target(name, 0.0, 0.0 if abs(least) <= TIE else least, note=note)
