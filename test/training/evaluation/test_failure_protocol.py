"""EMM, RMM and NM against the published arithmetic, step by step, and against torch's noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sam_ad_perception.core.labels import LABEL_SPACES
from training.evaluation.failure_protocol import (
    failing_sets,
    failure_figures,
    failure_settings,
    is_of_protocol,
    spoil_input,
    sum_up,
)
from training.evaluation.measurement import Setting, empty_scores
from training.evaluation.presentation.failures import failure_tables
from training.evaluation.presentation.published import load_published_failures
from training.evaluation.routing_rows import SystemResult

SENSORS = ('camera', 'thermal', 'event', 'lidar')


def published_sums(results, n):
    """The sums of the published code: (mean, E at 0.2, 0.1, 0.05)."""
    sums, totals = dict.fromkeys((0.2, 0.1, 0.05), 0.0), dict.fromkeys((0.2, 0.1, 0.05), 0.0)
    for missing, miou in results.items():
        for p in sums:
            probability = (p ** len(missing)) * ((1 - p) ** (n - len(missing)))
            totals[p] += probability
            sums[p] += miou * probability
    return [sum(results.values()) / len(results), *(sums[p] / totals[p] for p in sums)]


@pytest.mark.parametrize('count', [2, 3, 4])
def test_sums_are_those_of_the_published_code(rng, count):
    sensors = SENSORS[:count]
    results = {
        missing: float(rng.uniform(10, 80))
        for number in range(count)
        for missing in itertools.combinations(sensors, number)
    }
    assert failing_sets(sensors) == list(results)
    assert len(results) == 2**count - 1
    found = sum_up(results, count)
    mean, *expected = published_sums(results, count)
    assert found.average == pytest.approx(mean)
    assert found.expected == pytest.approx(expected)
    # with rare failures what all sensors reach is what counts
    assert abs(found.expected[-1] - results[()]) < abs(found.average - results[()])


def test_published_figures_are_those_of_the_tables():
    rows = {(each.method, each.case): each.miou for each in load_published_failures()}
    assert len(rows) == 25
    assert rows['MAGIC++', 'EMM'] == (44.85, 59.18, 63.52, 65.50)
    assert rows['CMNeXt', 'NM'] == (35.23, 16.37, 2.31)
    assert rows['StitchFusion', 'RMM 0.5'] == (48.33, 60.58, 64.53, 66.41)
    for (method, case), miou in rows.items():
        if case == 'NM':
            assert list(miou) == sorted(miou, reverse=True)
        elif (method, case) != ('MAGIC', 'RMM 0.25'):  # a misprint of the source
            assert list(miou) == sorted(miou), (method, case)


@pytest.mark.parametrize('share', ['0.25', '0.5', '0.75'])
def test_so_many_values_go_missing(rng, share):
    image = rng.uniform(1, 2, (3, 64, 80)).astype(np.float32)
    out = spoil_input(image, 'camera', f'missing {share}', rng)
    gone = out == 0
    assert gone.mean() == pytest.approx(float(share), abs=0.02)
    np.testing.assert_array_equal(out[~gone], image[~gone])


def published_noise(image, density, std, sensor):
    """Salt, pepper and Gaussian noise of the published code, in torch."""
    noisy = image.clone()
    count = int(np.ceil(density * image.numel() * 0.5))
    for value in (image.max(), image.min()):
        noisy[tuple(torch.randint(0, i, (count,)) for i in image.shape)] = value
    return noisy if sensor == 'event' else noisy + torch.randn(image.size()) * std


@pytest.mark.parametrize('sensor', ['camera', 'event'])
@pytest.mark.parametrize(('level', 'density', 'std'), [('low', 0.05, 0.1), ('high', 0.2, 0.5)])
def test_noise_is_distributed_as_that_of_the_published_code(rng, sensor, level, density, std):
    torch.manual_seed(0)
    image = rng.normal(0, 1, (3, 96, 120)).astype(np.float32)
    image[0, 0, :2] = -6, 6  # the ends, far from all other values
    ours = spoil_input(image, sensor, f'noisy {level}', rng)
    theirs = published_noise(torch.from_numpy(image), density, std, sensor).numpy()
    shares = [0.001, 0.02, 0.1, 0.5, 0.9, 0.98, 0.999]
    for found, expected in zip(*(np.quantile(x, shares) for x in (ours, theirs)), strict=True):
        assert found == pytest.approx(expected, abs=0.12)
    changed = [(np.abs(x - image) > 1e-6).mean() for x in (ours, theirs)]
    assert changed[0] == pytest.approx(changed[1], abs=0.01)


@pytest.mark.parametrize('kind', ['missing', 'noisy loud', 'gaussian'])
def test_an_unknown_failure_is_refused(rng, kind):
    with pytest.raises(ValueError, match=r'could not convert|failure must be'):
        spoil_input(np.zeros((1, 2, 2), np.float32), 'camera', kind, rng)


def test_figures_are_found_among_the_settings(rng):
    """Every setting has a known mIoU, so that each figure can be made by hand."""
    space = LABEL_SPACES['cityscapes']
    left = [tuple(n for n in SENSORS if n not in failed) for failed in failing_sets(SENSORS)]
    settings = [Setting(subset) for subset in left] + failure_settings(SENSORS)
    assert len(settings) == 15 + 3 * 14 + 3
    assert [is_of_protocol(s.noise) for s in settings] == [False] * 15 + [True] * 45
    assert not is_of_protocol('camera:gaussian')
    (scores,) = empty_scores([(None, settings)], space)
    known = {}
    truth = np.zeros((1, 100), np.uint8)
    for number, (setting, score) in enumerate(scores.items()):
        mask = truth.copy()
        mask[0, : 1 + number] = 1
        score.native.update(mask, truth)
        score.masks = 1
        known[setting] = score.miou
    found, noisy = failure_figures(scores)
    assert list(found) == ['EMM', 'RMM 0.25', 'RMM 0.5', 'RMM 0.75']
    emm = dict(zip(failing_sets(SENSORS), list(known.values())[:15], strict=True))
    assert [found['EMM'].average, *found['EMM'].expected] == pytest.approx(published_sums(emm, 4))
    rmm = {(): known[Setting(SENSORS)]} | {
        tuple(s.noise.split(':')[0].split('+')): value
        for s, value in known.items()
        if s.noise.endswith('missing 0.5')
    }
    half = found['RMM 0.5']
    assert [half.average, *half.expected] == pytest.approx(published_sums(rmm, 4))
    assert list(noisy.values()) == list(known.values())[-3:]
    missing, noise = failure_tables(SystemResult('mine', scores, 0, ''))
    assert missing.rows[0] == (
        'mine, EMM', *(f'{value:.2f}' for value in published_sums(emm, 4))
    )  # fmt: skip
    assert len(missing.rows) == 4 + 20
    assert len(noise.rows) == 1 + 5
    few = {s: score for s, score in scores.items() if s.plain}
    assert failure_tables(SystemResult('mine', few, 0, '')) == []
