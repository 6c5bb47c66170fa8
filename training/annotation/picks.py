"""Which frames of a recording a person should look at: conditions in words, and the doubtful ones.

Doubt is what the network says itself (one minus the mean confidence of the labelled pixels), plus,
where it was measured, how much of the mask changes when a sensor is left out.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sam_ad_perception.core.console.suggestions import did_you_mean
from training.frames.frame import DatasetError

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {'<=': operator.le, '>=': operator.ge, '<': operator.lt, '>': operator.gt}
)
_CLAUSE = re.compile(r'\s*(\w+)\s*(!=|<=|>=|=|<|>)\s*(.+?)\s*')


@dataclass(frozen=True)
class FrameFacts:
    """What is known of one mask of a recording.

    Attributes:
        stamp_ns: Its stamp, nanoseconds.
        seconds: Since the first mask.
        confidence: Mean over its labelled pixels, 0 to 1; NaN where it was not recorded.
        used: Sensors that made it.
        missing: Sensors that were missing.
        expert: The network.
        condition: `day` or `night`, of the camera's last usable picture; '' where unknown.
        disagreement: Share of pixels that change when a sensor is left out, mean over the sensors;
            NaN where it was not measured.
        corrected: Whether the recording has truth of it already.
    """

    stamp_ns: int
    seconds: float = 0.0
    confidence: float = math.nan
    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    expert: str = ''
    condition: str = ''
    disagreement: float = math.nan
    corrected: bool = False

    @property
    def doubt(self) -> float:
        """How much a person's look is worth, 0 to 2; NaN where nothing was recorded of it."""
        parts = [1.0 - self.confidence, self.disagreement]
        known = [part for part in parts if not math.isnan(part)]
        return math.fsum(known) if known else math.nan


_LISTS: Mapping[str, Callable[[FrameFacts], Sequence[str]]] = MappingProxyType(
    {
        'condition': lambda each: (each.condition,),
        'expert': lambda each: (each.expert,),
        'used': lambda each: each.used,
        'missing': lambda each: each.missing,
    }
)
_NUMBERS: Mapping[str, Callable[[FrameFacts], float]] = MappingProxyType(
    {
        'confidence': lambda each: each.confidence,
        'seconds': lambda each: each.seconds,
    }
)
KEYS = (*_LISTS, *_NUMBERS)
Test = Callable[[FrameFacts], bool]


def parse_where(text: str, facts: Sequence[FrameFacts]) -> Test:
    """Read a condition such as `condition=night and missing=camera or confidence<0.6`.

    Args:
        text: Clauses `KEY=VALUE`, `KEY!=VALUE` or, of numbers, `KEY<VALUE` and the like, joined by
            `and` and, binding less, `or`.
        facts: All frames; words that none of them has are refused.

    Returns:
        Whether a frame fulfils it.

    Raises:
        DatasetError: A clause cannot be read, or names what is not there.
    """
    choices = [
        [_clause(each, facts) for each in re.split(r'\s+and\s+', part)]
        for part in re.split(r'\s+or\s+', text.strip())
    ]
    return lambda frame: any(all(test(frame) for test in tests) for tests in choices)


def _clause(text: str, facts: Sequence[FrameFacts]) -> Test:
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise DatasetError(
            f'--where has the clause {text!r}, expected KEY=VALUE with KEY one of {KEYS}'
        )
    key, sign, value = found[1], found[2], found[3].strip('\'"')
    if key not in KEYS:
        raise DatasetError(f'--where knows {KEYS}, got {key!r}{did_you_mean(key, KEYS)}')
    if key in _NUMBERS:
        return _number_test(key, sign, value)
    read = _LISTS[key]
    if sign not in ('=', '!='):
        raise DatasetError(f'--where compares {key} by = or !=, got {sign!r}')
    known = sorted({word for each in facts for word in read(each)} - {''})
    # A sensor that was always there is no mistake, so both lists of sensors count.
    sensors = {word for each in facts for word in (*each.used, *each.missing)}
    if value not in known and not (key in ('used', 'missing') and value in sensors):
        raise DatasetError(f'--where {key}: no frame has {value!r}, they have {known or "none"}')
    return lambda frame: (value in read(frame)) == (sign == '=')


def _number_test(key: str, sign: str, value: str) -> Test:
    read = _NUMBERS[key]
    try:
        limit = float(value)
    except ValueError as error:
        raise DatasetError(f'--where {key} needs a number, got {value!r}') from error
    if sign not in _OPERATORS:
        raise DatasetError(f'--where compares {key} by <, <=, > or >=, got {sign!r}')
    compare = _OPERATORS[sign]
    return lambda frame: compare(read(frame), limit)


def pick_frames(
    facts: Sequence[FrameFacts], *, every: int = 1, least_confident: int = 0
) -> list[FrameFacts]:
    """Choose frames.

    Args:
        facts: Of those that come into question, in the order of time.
        every: Take every so many of them.
        least_confident: Of the rest, so many of the most doubtful: the conditions in turn, each
            time the most doubtful frame that is not near one that was taken; frames that were
            corrected before are left out. 0 takes all.

    Returns:
        The chosen ones, in the order of time.

    Raises:
        DatasetError: `every` or `least_confident` is too small, or no confidence was recorded.
    """
    if every < 1 or least_confident < 0:
        raise DatasetError(
            f'--every must be 1 or more and --least-confident 0 or more, got {every} and '
            f'{least_confident}'
        )
    left = list(facts[::every])
    if not least_confident:
        return left
    left = [each for each in left if not each.corrected]
    if left and all(math.isnan(each.doubt) for each in left):
        raise DatasetError(
            '--least-confident needs semantic/confidence, which the recording does not have: '
            'label it with sam_ad label, or pick by --every'
        )
    groups: dict[str, list[FrameFacts]] = {}
    for each in left:
        if not math.isnan(each.doubt):
            groups.setdefault(each.condition, []).append(each)
    shares = _shares({name: len(group) for name, group in groups.items()}, least_confident)
    chosen = [f for name, group in groups.items() for f in _spread(group, shares[name])]
    return sorted(chosen, key=lambda each: each.stamp_ns)


def _shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Deal a number out to groups in turn, none gets more than it has."""
    shares = dict.fromkeys(sizes, 0)
    while sum(shares.values()) < min(count, sum(sizes.values())):
        open_ones = [name for name in sizes if shares[name] < sizes[name]]
        for name in open_ones[: count - sum(shares.values())]:
            shares[name] += 1
    return shares


def _spread(group: Sequence[FrameFacts], count: int) -> list[FrameFacts]:
    """Take the most doubtful ones, first far apart, then nearer until there are enough."""
    by_doubt = sorted(group, key=lambda each: (-each.doubt, each.stamp_ns))
    chosen: list[FrameFacts] = []
    span = group[-1].stamp_ns - group[0].stamp_ns if group else 0
    gap = span // (2 * count) if count else 0
    while len(chosen) < count:
        for each in by_doubt:
            if len(chosen) == count:
                break
            if all(abs(each.stamp_ns - other.stamp_ns) > gap for other in chosen):
                chosen.append(each)
        gap = gap // 2 if gap else -1
    return chosen
