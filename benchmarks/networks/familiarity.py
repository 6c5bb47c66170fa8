"""How well the score "unlike its training" tells frames apart, and the fit of its statistics.

    python -m benchmarks.networks.familiarity [--data FOLDER] [--fit FRAMES]

`--fit` writes `models/checkpoints/familiarity_NETWORK.safetensors` of so many simulated frames in
each condition (held-back seeds 50-99), for the camera alone and for all sensors. Measured is the
AUROC by which the score of a frame is above that of healthy simulated frames of other seeds
(0-49): of CamVid's validation frames, and of the same simulated frames with a ruined camera.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.real_faults import camera_damage as damage
from benchmarks.result_files import save_results
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.familiarity import (
    Familiarity,
    familiarity_file,
    fit_statistics,
    pool_logits,
    save_familiarity,
)
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.files import zoo_files
from training.datasets.camvid import find_frames, read_frame
from training.evaluation.data import HeldBackDrives

CONDITIONS = ('day', 'night', 'fog', 'rain')
CAMERA = ('camera',)
RUINED = {
    'mud': damage.mud,
    'drops': damage.drops,
    'wrong stride': damage.wrong_stride,
    'upside down': damage.upside_down,
    'channels exchanged': damage.bgr,
    'bits shifted': damage.bits_shifted,
    'row noise': damage.row_noise,
    'half black': damage.half_black,
}


def logits_of(
    expert: ExpertNetwork, bundle: SensorBundle, subset: Sequence[str]
) -> NDArray[np.float32]:
    """What the network says of a bundle with some sensors, (classes, h, w)."""
    prepared = expert.prepare(bundle, subset, ThermalRanges())
    _, logits = expert.run([prepared])
    return logits[0].cpu().numpy()


def simulated(frames: int, seeds: range) -> Iterator[SensorBundle]:
    """Frames like those of the training, by condition in turn."""
    for frame in HeldBackDrives(frames, CONDITIONS, seeds):
        yield frame.bundle


def fit(expert: ExpertNetwork, frames: int) -> Familiarity:
    """Fit the statistics of a network."""
    sets = {CAMERA, tuple(expert.spec.inputs)}
    features: dict[tuple[str, ...], list[NDArray[np.float32]]] = {each: [] for each in sets}
    for bundle in simulated(frames, range(50, 100)):
        for subset, found in features.items():
            found.append(pool_logits(logits_of(expert, bundle, subset)))
    return Familiarity(
        {tuple(sorted(each)): fit_statistics(np.stack(found)) for each, found in features.items()}
    )


def auroc(low: Sequence[float], high: Sequence[float]) -> float:
    """How probable it is that one of `high` is above one of `low`."""
    pairs = np.subtract.outer(np.array(high), np.array(low))
    return float(np.mean(pairs > 0) + 0.5 * np.mean(pairs == 0))


def measure(
    expert: ExpertNetwork, familiarity: Familiarity, frames: int, camvid: Path
) -> list[dict[str, Any]]:
    """The rows of the results."""

    def score(bundle: SensorBundle, subset: Sequence[str]) -> float:
        value = familiarity.unlike(subset, logits_of(expert, bundle, subset))
        assert value is not None
        return value

    everything = tuple(expert.spec.inputs)
    healthy: dict[tuple[str, ...], list[float]] = {CAMERA: [], everything: []}
    ruined: dict[str, list[float]] = {name: [] for name in RUINED}
    ruined_all: dict[str, list[float]] = {name: [] for name in RUINED}
    rng = np.random.default_rng(0)
    for bundle in simulated(frames, range(50)):
        for subset, scores in healthy.items():
            scores.append(score(bundle, subset))
        camera = bundle.frames[Modality.CAMERA]
        for name, act in RUINED.items():
            picture = replace(camera, data=act(np.asarray(camera.data, np.uint8), 2, rng))
            spoilt = replace(bundle, frames={**bundle.frames, Modality.CAMERA: picture})
            ruined[name].append(score(spoilt, CAMERA))
            ruined_all[name].append(score(spoilt, everything))
    real = []
    if camvid.is_dir():
        real = [score(read_frame(each).bundle, CAMERA) for each in find_frames(camvid, 'val')]
    rows = [_row('healthy, other seeds', CAMERA, healthy[CAMERA], healthy[CAMERA])]
    rows += [_row('CamVid', CAMERA, healthy[CAMERA], real)] if real else []
    rows += [_row(name, CAMERA, healthy[CAMERA], each) for name, each in ruined.items()]
    rows.append(_row('healthy, other seeds', everything, *[healthy[everything]] * 2))
    rows += [
        _row(name, everything, healthy[everything], each) for name, each in ruined_all.items()
    ]
    return rows


def _row(
    what: str, subset: Sequence[str], low: Sequence[float], high: Sequence[float]
) -> dict[str, Any]:
    return {
        'frames': what,
        'sensors': '+'.join(subset),
        'count': len(high),
        'median score': float(np.median(high)),
        'above 1, %': 100 * float(np.mean(np.array(high) > 1)),
        'AUROC': auroc(low, high),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = os.environ.get('SAM_AD_TEST_DATA', '../shared/data')
    parser.add_argument('--data', type=Path, default=Path(known))
    parser.add_argument('--network', default='mle_sam_demo')
    parser.add_argument('--fit', type=int, default=0, help='frames in each condition')
    parser.add_argument('--frames', type=int, default=8, help='healthy ones in each condition')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (expert,) = Segmenter.from_pretrained(arguments.network).experts.values()
    _, folder = zoo_files('', '')
    path = familiarity_file(folder, expert.spec.key)
    if arguments.fit:
        save_familiarity(fit(expert, arguments.fit), path, expert.spec.checkpoint.sha256)
    (expert,) = Segmenter.from_pretrained(arguments.network).experts.values()
    if expert.familiarity is None:
        parser.error(f'{path} is not there: --fit writes it')
    rows = measure(expert, expert.familiarity, arguments.frames, arguments.data / 'camvid')
    for row in rows:
        print(row)
    save_results('familiarity', rows)


if __name__ == '__main__':
    main()
