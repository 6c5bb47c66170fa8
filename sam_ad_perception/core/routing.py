"""Which network runs on which sensors: the best that was measured of those that can run now.

The router does not guess. It compares measured mIoU only, gives way at once when what it chose
cannot run any more, and takes something better only after that was possible for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.core.parameters import parameter
from sam_ad_perception.core.routing_table import RoutingRow, RoutingTable


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
    min_condition_confidence: float = parameter(
        0.8,
        'From this confidence on, mIoU measured in the present condition (day, night ...) counts '
        'instead of that over all conditions.',
        ge=0.0,
        le=1.0,
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
class Expert:
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
class Choice:
    """A network and the sensors that it is given, in the network's order."""

    expert: str
    subset: tuple[str, ...]

    def __str__(self) -> str:
        return f'{self.expert} on {"+".join(self.subset)}'


@dataclass(frozen=True)
class Situation:
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
    latency_ms: Mapping[Choice, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What is to run.

    Attributes:
        choice: The choice, None where nothing can run.
        reason: Why, in one sentence.
    """

    choice: Choice | None
    reason: str


@dataclass(frozen=True)
class RouterState:
    """What one frame leaves to the next.

    Attributes:
        choice: What ran.
        better: For each better choice, the number of frames on end for which it was possible.
    """

    choice: Choice | None = None
    better: Mapping[Choice, int] = field(default_factory=dict)


def route(
    situation: Situation,
    state: RouterState,
    experts: Sequence[Expert],
    table: RoutingTable | None,
    config: RoutingConfig,
) -> tuple[Decision, RouterState]:
    """Decide for one frame; a pure function of its arguments.

    Measured choices go before unmeasured ones; of the measured ones the higher mIoU goes first,
    less `min_gain` for each sensor of the network that is there and left out.
    A network without a row for any possible subset takes all sensors that are there, in the order
    of `experts`: with a single network and no table that is all that happens.

    Args:
        situation: What holds now.
        state: What the last frame left.
        experts: The networks, in the order of preference where nothing was measured.
        table: What was measured.
        config: Limits.

    Returns:
        The decision, and what the next call needs.
    """
    refused: dict[str, str] = {}
    scores: dict[Choice, tuple[float, ...]] = {}
    rows: dict[Choice, RoutingRow] = {}
    for rank, expert in enumerate(experts):
        why = _refusal(expert, situation)
        if not why:
            found = _possible(expert, situation.present, state.choice, table, config)
            kept = {c: row for c, row in found.items() if _in_time(c, row, situation, config)}
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
        return Decision(None, f'no network can run: {why}'), RouterState()
    condition = _counted_condition(situation, rows.values(), config)
    modalities = {expert.key: frozenset(expert.modalities) for expert in experts}
    for choice, row in rows.items():
        miou = row.conditions[condition] if condition else row.miou
        spared = len(situation.present & modalities[choice.expert]) - len(choice.subset)
        scores[choice] = (miou - config.min_gain * spared, *scores[choice])
    ranking = {c: (c in rows, *score) for c, score in scores.items()}
    choice, state = _settle(ranking, state, config.recovery_frames)
    return Decision(choice, _explain(choice, ranking, rows, condition, table, situation)), state


class Router:
    """Decides frame by frame; holds the state of `route`.

    Args:
        experts: The networks.
        table: What was measured, None for nothing.
        config: Limits; may be replaced at any time.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        table: RoutingTable | None = None,
        config: RoutingConfig | None = None,
    ) -> None:
        self.experts = tuple(experts)
        self.table = table
        self.config = config or RoutingConfig()
        self._state = RouterState()

    def decide(self, situation: Situation) -> Decision:
        """Decide for the next frame.

        Args:
            situation: What holds now.

        Returns:
            The decision.
        """
        decision, self._state = route(
            situation, self._state, self.experts, self.table, self.config
        )
        return decision

    def reset(self) -> None:
        """Forget what ran: the next frame takes the best at once."""
        self._state = RouterState()


def _refusal(expert: Expert, situation: Situation) -> str:
    """Say why a network cannot run, empty where it can."""
    if expert.unusable:
        return expert.unusable
    lacking = [name for name in expert.required if name not in situation.present]
    if not lacking and not situation.present.isdisjoint(expert.modalities):
        return ''
    wanted = lacking or list(expert.modalities)
    reasons = [f'{name}: {situation.missing.get(name, "not there")}' for name in wanted]
    return f'needs {"" if lacking else "one of "}{", ".join(wanted)} ({"; ".join(reasons)})'


def _possible(
    expert: Expert,
    present: frozenset[str],
    last: Choice | None,
    table: RoutingTable | None,
    config: RoutingConfig,
) -> dict[Choice, RoutingRow | None]:
    """List what a network can run on, with what was measured of it.

    What ran last stays possible as long as its sensors are there, measured or not: else a sensor
    that flaps would make an unmeasured network flap with it.
    """
    everything = tuple(name for name in expert.modalities if name in present)
    found: dict[Choice, RoutingRow | None] = {}
    for row in table.rows if table is not None else ():
        subset = tuple(name for name in everything if name in row.subset)
        fits = row.expert == expert.key and len(subset) == len(row.subset)
        allowed = config.choose_subsets or subset == everything
        if fits and allowed and set(expert.required) <= set(subset):
            found[Choice(expert.key, subset)] = row
    if not found:
        found[Choice(expert.key, everything)] = None
    if last is not None and last.expert == expert.key and present.issuperset(last.subset):
        found.setdefault(last, None)
    return found


def _in_time(
    choice: Choice, row: RoutingRow | None, situation: Situation, config: RoutingConfig
) -> bool:
    """Tell whether a choice keeps the latency budget; what was never timed does."""
    latency_ms = situation.latency_ms.get(choice, row.latency_ms if row else None)
    return not config.latency_budget_ms or (latency_ms or 0.0) <= config.latency_budget_ms


def _counted_condition(
    situation: Situation, rows: Iterable[RoutingRow], config: RoutingConfig
) -> str:
    """Name the condition whose figures count: only where every row has one, else like for like."""
    sure = situation.condition and situation.confidence >= config.min_condition_confidence
    return (
        situation.condition
        if sure and all(situation.condition in r.conditions for r in rows)
        else ''
    )


def _settle(
    ranking: Mapping[Choice, tuple[float, ...]], state: RouterState, recovery_frames: int
) -> tuple[Choice, RouterState]:
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
    choice: Choice,
    ranking: Mapping[Choice, tuple[float, ...]],
    rows: Mapping[Choice, RoutingRow],
    condition: str,
    table: RoutingTable | None,
    situation: Situation,
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
    gone = [f'{name} {why}' for name, why in situation.missing.items()]
    return f'{text}; missing: {", ".join(gone)}' if gone else text
