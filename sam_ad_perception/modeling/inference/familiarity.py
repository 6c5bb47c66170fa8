"""How unlike the frames of its training a frame looks to a network.

What is compared is the network's own answer: mean and spread of each class's logit over the grid.
A frame is as far as its Mahalanobis distance from frames of the kind that the network was trained
on (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks", 2018, there on features of the layers). Logits are there whatever runs the
network. 1 is where one in twenty frames like those of the training lies further out.

The statistics lie beside the weights, `familiarity_ENTRY.safetensors`, and hold for exactly them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

SHRINKAGE = 0.1
"""So much of the covariance is that of independent figures: frames of a fit are few."""
FOLDS = 5
USUAL_SHARE = 0.95
"""The distance within which so many frames like those of the training lie counts as 1."""
FEWEST = 20
"""A fit needs so many frames."""


class FamiliarityError(ValueError):
    """Statistics that cannot be read, or are of other weights."""


@dataclass(frozen=True, eq=False)
class SetStatistics:
    """Frames like those of the training, as the network sees them with one set of sensors.

    Attributes:
        mean: (F,) float32, see `pool_logits`.
        precision: (F, F) float32, the inverse of the covariance.
        usual: Distance that counts as 1.
    """

    mean: NDArray[np.float32]
    precision: NDArray[np.float32]
    usual: float

    def unlike(self, features: NDArray[np.float32]) -> float:
        """How far a frame lies out.

        Args:
            features: (F,) float32 of the frame.

        Returns:
            From 0 (as the mean frame); above 1 is unlike the training.
        """
        return _distance(features, self.mean, self.precision) / self.usual


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What a network knows.

    Attributes:
        sets: By sensors, in the order of the alphabet.
    """

    sets: Mapping[tuple[str, ...], SetStatistics]

    def unlike(self, subset: Sequence[str], logits: NDArray[np.float32]) -> float | None:
        """Tell how unlike the training a frame is.

        Args:
            subset: Sensors that the network was given.
            logits: (classes, h, w) float32 of the network.

        Returns:
            See `SetStatistics.unlike`; None where nothing is known of this set of sensors.
        """
        known = self.sets.get(tuple(sorted(subset)))
        return None if known is None else known.unlike(pool_logits(logits))


def pool_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum a frame up: mean and standard deviation of each class's logit over the grid.

    Args:
        logits: (classes, h, w) float32; what is common to all classes of a cell does not count.

    Returns:
        (2 * classes,) float32.
    """
    relative = logits - logits.mean(axis=0)
    flat = relative.reshape(len(relative), -1)
    return np.concatenate([flat.mean(axis=1), flat.std(axis=1)]).astype(np.float32)


def fit_statistics(features: NDArray[np.float32]) -> SetStatistics:
    """Fit the statistics of one set of sensors.

    Args:
        features: (N, F) float32 of frames like those of the training, at least `FEWEST`, in an
            order in which neighbours may be alike.

    Returns:
        The statistics; the distance that counts as 1 is that of frames that were left out.

    Raises:
        ValueError: Too few frames.
    """
    if len(features) < FEWEST:
        raise ValueError(f'statistics need {FEWEST} frames or more, got {len(features)}')
    folds = np.array_split(np.arange(len(features)), FOLDS)
    left_out = []
    for fold in folds:
        mean, precision = _moments(np.delete(features, fold, axis=0))
        left_out += [_distance(features[i], mean, precision) for i in fold]
    mean, precision = _moments(features)
    return SetStatistics(mean, precision, float(np.quantile(left_out, USUAL_SHARE)))


def save_familiarity(familiarity: Familiarity, path: Path, sha256: str) -> None:
    """Write statistics.

    Args:
        familiarity: What a network knows.
        path: Where.
        sha256: Of its weights.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {}
    for subset, each in familiarity.sets.items():
        name = '+'.join(subset)
        tensors[f'{name}/mean'] = np.asarray(each.mean, np.float32)
        tensors[f'{name}/precision'] = np.asarray(each.precision, np.float32)
        tensors[f'{name}/usual'] = np.array([each.usual], np.float32)
    path.write_bytes(save_tensors(tensors, {'weights_sha256': sha256}))


def load_familiarity(path: Path, sha256: str) -> Familiarity | None:
    """Read statistics.

    Args:
        path: Of the file.
        sha256: Of the weights that they must be of.

    Returns:
        What the network knows; None where there is no such file.

    Raises:
        FamiliarityError: The file is damaged, or of other weights.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, 'numpy') as file:
            of = (file.metadata() or {}).get('weights_sha256', '')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as err:
        raise FamiliarityError(f'{path} cannot be read: {err}') from err
    if of != sha256:
        raise FamiliarityError(
            f'{path} is of weights with sha256 {of[:12] or "unknown"}, expected {sha256[:12]}'
        )
    sets = {}
    for name in sorted({name.rpartition('/')[0] for name in tensors}):
        try:
            mean, precision = tensors[f'{name}/mean'], tensors[f'{name}/precision']
            usual = float(tensors[f'{name}/usual'][0])
        except (KeyError, IndexError) as err:
            raise FamiliarityError(f'{path} lacks a part of {name}: {err}') from err
        if mean.ndim != 1 or precision.shape != (len(mean), len(mean)) or not usual > 0:
            raise FamiliarityError(
                f'{path}: {name} has a mean {mean.shape}, a precision {precision.shape} and '
                f'{usual:g} as its usual distance'
            )
        sets[tuple(name.split('+'))] = SetStatistics(mean, precision, usual)
    return Familiarity(sets)


def familiarity_file(folder: Path, key: str) -> Path:
    """Where the statistics of an entry of the zoo lie.

    Args:
        folder: Of its weights.
        key: The entry: one file of weights may serve several, at other sizes of input.
    """
    return folder / f'familiarity_{key}.safetensors'


def _moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = features.mean(axis=0)
    covariance = np.cov(features.astype(np.float64), rowvar=False)
    own = np.diag(np.diag(covariance))
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * own
    # a class that never varies says something once it does
    shrunk += np.eye(len(own)) * 1e-6 * max(float(np.trace(own)) / len(own), 1e-6)
    return mean, np.linalg.inv(shrunk).astype(np.float32)


def _distance(
    features: NDArray[np.float32], mean: NDArray[np.float32], precision: NDArray[np.float32]
) -> float:
    if features.shape != mean.shape:
        return float('inf')  # another number of classes: nothing that was known
    away = (features - mean).astype(np.float64)
    square = float(away @ precision.astype(np.float64) @ away)
    return math.sqrt(max(square, 0.0))
