"""Missing and noisy sensors as the literature measures them: EMM, RMM and NM.

Liao et al., "Benchmarking Multi-modal Semantic Segmentation under Sensor Failures: Missing and
Noisy Modality Robustness" (arXiv 2503.18445), as its published code has it:

* EMM, entire-missing modality: every set of sensors. Theirs fills what is missing with zeros;
  here a missing sensor is left out, which is what a vehicle does.
* RMM, random-missing modality: in the sensors that fail, each value of the network's input is set
  to zero with probability r.
* NM, noisy modality: salt and pepper on all sensors, then Gaussian noise on all but events, on the
  network's own input.

EMM and RMM are told as the mean over all sets that fail (Avg), and as the expectation where each
sensor fails independently with probability p (E), over the cases in which one is left whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.measurement import Score, Setting

MISSING, NOISY = 'missing', 'noisy'
SHARES = (0.25, 0.5, 0.75)
"""r of RMM."""
PROBABILITIES = (0.2, 0.1, 0.05)
"""p of the expectations."""
LEVELS: Mapping[str, tuple[float, float]] = {
    'low': (0.05, 0.1),
    'mid': (0.1, 0.2),
    'high': (0.2, 0.5),
}
"""NM's density of salt and pepper, and standard deviation of the Gaussian noise."""
WITHOUT_GAUSSIAN = 'event'


@dataclass(frozen=True)
class FailureFigures:
    """What a network keeps where sensors fail, mIoU in percent.

    Attributes:
        average: Mean over all sets of sensors that fail, none included.
        expected: Expectation for each of `PROBABILITIES`.
    """

    average: float
    expected: tuple[float, ...]


def failing_sets(sensors: Sequence[str]) -> list[tuple[str, ...]]:
    """List the sets of sensors that may fail together: none first, never all.

    Args:
        sensors: All of them.

    Returns:
        The sets, those of few sensors first.
    """
    counts = range(len(sensors))
    return [each for count in counts for each in itertools.combinations(sensors, count)]


def failure_settings(sensors: Sequence[str]) -> list[Setting]:
    """List what RMM and NM measure besides the sets of sensors.

    Args:
        sensors: Those that the network is given.

    Returns:
        The settings.
    """
    have = tuple(sensors)
    rmm = [
        Setting(have, noise=f'{"+".join(failed)}:{MISSING} {share:g}')
        for share in SHARES
        for failed in failing_sets(have)
        if failed
    ]
    return rmm + [Setting(have, noise=f'{"+".join(have)}:{NOISY} {level}') for level in LEVELS]


def is_of_protocol(noise: str) -> bool:
    """Whether the noise of a setting is one of RMM or NM.

    Args:
        noise: As of `Setting.noise`.
    """
    return noise.rpartition(':')[2].split(' ')[0] in (MISSING, NOISY)


def spoil_input(
    image: NDArray[np.float32], sensor: str, kind: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Let a sensor fail as RMM or NM has it.

    Args:
        image: (C, H, W) float32 as the network takes it.
        sensor: Its name.
        kind: `missing SHARE` or `noisy LEVEL`.
        rng: Source of randomness.

    Returns:
        New (C, H, W) float32.

    Raises:
        ValueError: The kind is unknown.
    """
    name, _, how = kind.partition(' ')
    if name == MISSING:
        return np.where(rng.random(image.shape) < float(how), np.float32(0), image)
    if name != NOISY or how not in LEVELS:
        raise ValueError(f'failure must be {MISSING} SHARE or {NOISY} LEVEL, got {kind!r}')
    density, sigma = LEVELS[how]
    out = image.copy().reshape(-1)
    count = int(np.ceil(0.5 * density * image.size))
    for value in (image.max(), image.min()):  # salt, then pepper; places are drawn with return
        out[rng.integers(0, image.size, count)] = value
    if sensor != WITHOUT_GAUSSIAN:
        out += np.float32(sigma) * rng.standard_normal(image.size, dtype=np.float32)
    return out.reshape(image.shape)


def sum_up(miou: Mapping[tuple[str, ...], float], sensors: int) -> FailureFigures:
    """Average and expectation over the sets of sensors that fail.

    Args:
        miou: By the sensors that fail, percent.
        sensors: Number of sensors.

    Returns:
        The figures.
    """
    values = np.array(list(miou.values()))
    failed = np.array([len(each) for each in miou])
    expected = []
    for p in PROBABILITIES:
        weights = p**failed * (1 - p) ** (sensors - failed)
        expected.append(float((weights * values).sum() / weights.sum()))
    return FailureFigures(float(values.mean()), tuple(expected))


def failure_figures(
    scores: Mapping[Setting, Score],
) -> tuple[dict[str, FailureFigures], dict[str, float]]:
    """Read the protocol's figures out of what a network reached.

    Args:
        scores: By setting.

    Returns:
        EMM and RMM by name, those that were measured whole; NM by level, mIoU in percent.
    """
    everything = max((s.subset for s in scores), key=len, default=())
    plain = {s.subset: score.miou for s, score in scores.items() if s.plain}
    spoilt = {s.noise: score.miou for s, score in scores.items() if is_of_protocol(s.noise)}
    found: dict[str, FailureFigures] = {}
    sets = failing_sets(everything)
    left = {failed: tuple(n for n in everything if n not in failed) for failed in sets}
    if all(subset in plain for subset in left.values()):
        emm = {failed: plain[subset] for failed, subset in left.items()}
        found['EMM'] = sum_up(emm, len(everything))
    for share in SHARES:
        names = {failed: f'{"+".join(failed)}:{MISSING} {share:g}' for failed in sets if failed}
        if names and everything in plain and all(name in spoilt for name in names.values()):
            rmm = {(): plain[everything]} | {each: spoilt[name] for each, name in names.items()}
            found[f'RMM {share:g}'] = sum_up(rmm, len(everything))
    noisy = {level: f'{"+".join(everything)}:{NOISY} {level}' for level in LEVELS}
    return found, {level: spoilt[name] for level, name in noisy.items() if name in spoilt}
