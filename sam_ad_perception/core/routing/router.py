"""The router: which network runs on which sensors, by measured mIoU, latency and health.

The router does not guess. It compares measured mIoU only, gives way at once when what it chose
cannot run any more, and takes something better only after that was possible for a while.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.core.routing.table import RoutingRow, RoutingTable
from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import share


@dataclass(frozen=True)
class RoutingConfig:
    """How a network is chosen."""

    recovery_frames: int = parameter(
        3,
        'A better choice is taken when it was possible for so many frames on end; a worse one is '
        'taken at once where the present one cannot run.',
        ge=1,
        le=1000,
    )
    latency_budget_ms: float = parameter(
        0.0,
        'A network that takes longer for a frame is not chosen; 0 for no limit.',
        ge=0.0,
        unit='ms',
    )
    min_condition_confidence: float = share(
        0.8,
        'From this confidence on, mIoU measured in the present condition (day, night ...) counts '
        'instead of that over all conditions.',
    )
    choose_subsets: bool = parameter(
        True, 'Leave a sensor out where the mask was measured to be better without it.'
    )
    min_gain: float = parameter(
        1.0,
        'So much better, for each sensor left out: less may be chance.',
        ge=0.0,
        le=100.0,
        unit='% mIoU',
    )


@dataclass(frozen=True)
class ExpertSpec:
    """A network that may be chosen.

    Attributes:
        key: Its entry in the zoo.
        modalities: Sensors that it takes, in its order.
        required: Those without which it cannot run; at least one of `modalities` is always needed.
        unusable: Why it cannot run at all (no checkpoint, other classes ...); empty where it can.
    """

    key: str
    modalities: tuple[str, ...]
    required: tuple[str, ...] = ()
    unusable: str = ''


@dataclass(frozen=True)
class Route:
    """A network and the sensors that it is given, in the network's order."""

    expert: str
    subset: tuple[str, ...]

    def __str__(self) -> str:
        return f'{self.expert} on {"+".join(self.subset)}'


@dataclass(frozen=True)
class RoutingInput:
    """What holds for one frame.

    Attributes:
        present: Sensors that are there and healthy.
        missing: For each other one, why it is not, in words.
        condition: What the surroundings seem to be (day, night, fog ...); empty for unknown.
        confidence: How sure that is, 0-1.
        latency_ms: Time that a choice took lately, milliseconds; the table's figure counts for
            one that is not here.
    """

    present: frozenset[str]
    missing: Mapping[str, str] = field(default_factory=dict)
    condition: str = ''
    confidence: float = 0.0
    latency_ms: Mapping[Route, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RoutingDecision:
    """What is to run.

    Attributes:
        choice: The choice, None where nothing can run.
        reason: Why, in one sentence.
    """

    choice: Route | None
    reason: str


@dataclass(frozen=True)
class RouterState:
    """What one frame leaves to the next.

    Attributes:
        choice: What ran.
        better: For each better choice, the number of frames on end for which it was possible.
    """

    choice: Route | None = None
    better: Mapping[Route, int] = field(default_factory=dict)


def route(
    routing_input: RoutingInput,
    state: RouterState,
    experts: Sequence[ExpertSpec],
    table: RoutingTable | None,
    config: RoutingConfig,
) -> tuple[RoutingDecision, RouterState]:
    """Decide for one frame; a pure function of its arguments.

    Measured choices go before unmeasured ones; of the measured ones the higher mIoU goes first,
    less `min_gain` for each sensor of the network that is there and left out.
    A network without a row for any possible subset takes all sensors that are there, in the order
    of `experts`: with a single network and no table that is all that happens.

    Args:
        routing_input: What holds now.
        state: What the last frame left.
        experts: The networks, in the order of preference where nothing was measured.
        table: What was measured.
        config: Limits.

    Returns:
        The decision, and what the next call needs.
    """
    refused: dict[str, str] = {}
    scores: dict[Route, tuple[float, ...]] = {}
    rows: dict[Route, RoutingRow] = {}
    for rank, expert in enumerate(experts):
        why = _refusal(expert, routing_input)
        if not why:
            found = _possible(expert, routing_input.present, state.choice, table, config)
            kept = {c: row for c, row in found.items() if _in_time(c, row, routing_input, config)}
            if not kept:
                why = f'takes longer than {config.latency_budget_ms:g} ms'
            for choice, row in kept.items():
                if row is not None:
                    rows[choice] = row
                scores[choice] = (-float(rank), float(len(choice.subset)))
        if why:
            refused[expert.key] = why
    if not scores:
        why = '; '.join(f'{key} {text}' for key, text in refused.items()) or 'none is configured'
        return RoutingDecision(None, f'no network can run: {why}'), RouterState()
    condition = _counted_condition(routing_input, rows.values(), config)
    modalities = {expert.key: frozenset(expert.modalities) for expert in experts}
    for choice, row in rows.items():
        miou = row.conditions[condition] if condition else row.miou
        spared = len(routing_input.present & modalities[choice.expert]) - len(choice.subset)
        scores[choice] = (miou - config.min_gain * spared, *scores[choice])
    ranking = {c: (c in rows, *score) for c, score in scores.items()}
    choice, state = _settle(ranking, state, config.recovery_frames)
    return RoutingDecision(
        choice, _explain(choice, ranking, rows, condition, table, routing_input)
    ), state


def _refusal(expert: ExpertSpec, routing_input: RoutingInput) -> str:
    """Say why a network cannot run, empty where it can."""
    if expert.unusable:
        return expert.unusable
    lacking = [name for name in expert.required if name not in routing_input.present]
    if not lacking and not routing_input.present.isdisjoint(expert.modalities):
        return ''
    wanted = lacking or list(expert.modalities)
    reasons = [f'{name}: {routing_input.missing.get(name, "not there")}' for name in wanted]
    return f'needs {"" if lacking else "one of "}{", ".join(wanted)} ({"; ".join(reasons)})'


def _possible(
    expert: ExpertSpec,
    present: frozenset[str],
    last: Route | None,
    table: RoutingTable | None,
    config: RoutingConfig,
) -> dict[Route, RoutingRow | None]:
    """List what a network can run on, with what was measured of it.

    What ran last stays possible as long as its sensors are there, measured or not: else a sensor
    that flaps would make an unmeasured network flap with it.
    """
    everything = tuple(name for name in expert.modalities if name in present)
    found: dict[Route, RoutingRow | None] = {}
    for row in table.rows if table is not None else ():
        subset = tuple(name for name in everything if name in row.subset)
        fits = row.expert == expert.key and len(subset) == len(row.subset)
        allowed = config.choose_subsets or subset == everything
        if fits and allowed and set(expert.required) <= set(subset):
            found[Route(expert.key, subset)] = row
    if not found:
        found[Route(expert.key, everything)] = None
    if last is not None and last.expert == expert.key and present.issuperset(last.subset):
        found.setdefault(last, None)
    return found


def _in_time(
    choice: Route, row: RoutingRow | None, routing_input: RoutingInput, config: RoutingConfig
) -> bool:
    """Tell whether a choice keeps the latency budget; what was never timed does."""
    latency_ms = routing_input.latency_ms.get(choice, row.latency_ms if row else None)
    return not config.latency_budget_ms or (latency_ms or 0.0) <= config.latency_budget_ms


def _counted_condition(
    routing_input: RoutingInput, rows: Iterable[RoutingRow], config: RoutingConfig
) -> str:
    """Name the condition whose figures count: only where every row has one, else like for like."""
    sure = routing_input.condition and routing_input.confidence >= config.min_condition_confidence
    return (
        routing_input.condition
        if sure and all(routing_input.condition in r.conditions for r in rows)
        else ''
    )


def _settle(
    ranking: Mapping[Route, tuple[float, ...]], state: RouterState, recovery_frames: int
) -> tuple[Route, RouterState]:
    """Degrade at once, recover after a while."""
    best = max(ranking, key=ranking.__getitem__)
    if state.choice is None or state.choice not in ranking:
        return best, RouterState(best)
    present = ranking[state.choice]
    better = {c: state.better.get(c, 0) + 1 for c, score in ranking.items() if score > present}
    ripe = [c for c, frames in better.items() if frames >= recovery_frames]
    if not ripe:
        return state.choice, RouterState(state.choice, better)
    choice = max(ripe, key=ranking.__getitem__)
    return choice, RouterState(choice)


def _explain(
    choice: Route,
    ranking: Mapping[Route, tuple[float, ...]],
    rows: Mapping[Route, RoutingRow],
    condition: str,
    table: RoutingTable | None,
    routing_input: RoutingInput,
) -> str:
    """Put a decision into one sentence."""
    best = max(ranking, key=ranking.__getitem__)
    row = rows.get(choice)
    if row is None or table is None:
        text = f'{choice}, which nobody has measured'
    else:
        miou = row.conditions[condition] if condition else row.miou
        where = f'{table.dataset}, {condition}' if condition else table.dataset
        text = f'{choice}: {miou:.1f} mIoU measured ({where})'
    if choice == best:
        text += f', best of {len(ranking)} possible' if len(ranking) > 1 else ''
    else:
        text += f', until {best} has been possible for a while'
    gone = [f'{name} {why}' for name, why in routing_input.missing.items()]
    return f'{text}; missing: {", ".join(gone)}' if gone else text


LATENCY_SAMPLES = 15


LATENCY_MEMORY_S = 30.0


class LatencyTracker:
    """Keeps the latest times of each choice.

    A choice that has not run for `LATENCY_MEMORY_S` is forgotten, so that a slow moment does not
    rule a network out for ever.
    """

    def __init__(self) -> None:
        self._times_ms: dict[Route, deque[float]] = {}
        self._last_s: dict[Route, float] = {}

    def record(self, choice: Route, seconds: float, now_s: float) -> None:
        """Note one run.

        Args:
            choice: What ran.
            seconds: How long it took.
            now_s: When it ended, steady seconds.
        """
        self._times_ms.setdefault(choice, deque(maxlen=LATENCY_SAMPLES)).append(1e3 * seconds)
        self._last_s[choice] = now_s

    def medians_ms(self, now_s: float) -> dict[Route, float]:
        """Sum up.

        Args:
            now_s: The time, steady seconds.

        Returns:
            Median time of each choice that ran lately, milliseconds.
        """
        for choice in [c for c, last in self._last_s.items() if now_s - last > LATENCY_MEMORY_S]:
            del self._times_ms[choice], self._last_s[choice]
        return {choice: statistics.median(times) for choice, times in self._times_ms.items()}
