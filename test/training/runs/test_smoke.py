"""Shipped configurations run in small, from the first stage to a mask; all: training.smoke."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from training.configuration.run import load_config
from training.datasets.fabricated import WRITERS, fabricate
from training.smoke import CONFIGS, SmokeRun, configurations, smoke

ROOT = Path(__file__).parents[3]
RAW_MUSES = {'mle_sam_muses_robust', 'mle_sam_paper', 'mle_sam_hiera_tiny',
             'mle_sam_hiera_base_plus', 'mle_sam_hiera_large'}  # fmt: skip
"""Nothing fabricates raw MUSES yet."""


@pytest.mark.parametrize(
    ('name', 'steps'),
    [
        ('fusion_sam_mfnet', ['latents', 'train', 'resume', 'evaluate', 'export', 'drive']),
        ('mle_sam_mcubes_a', ['train', 'resume', 'evaluate', 'export', 'drive']),
    ],
)
def test_a_configuration_runs_from_its_first_step_to_a_mask(name, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = smoke(name, tmp_path, Console())
    assert done == dict.fromkeys(steps, 'passed')


def test_a_step_that_fails_is_named_and_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(SmokeRun, 'train', lambda _: (_ for _ in ()).throw(ValueError('odd')))
    done = smoke('mle_sam_deliver_d', tmp_path, Console(quiet=True))
    assert done == {'train': 'failed: ValueError: odd'}


def test_a_run_in_small_keeps_what_the_configuration_is_about(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = load_config(CONFIGS / 'mle_sam_deliver_e.yaml')
    small = SmokeRun('mle_sam_deliver_e', tmp_path).config
    assert small.loss == shipped.loss
    assert small.augmentation == shipped.augmentation
    assert small.subsets == shipped.subsets
    for field in ('name', 'lr', 'betas', 'weight_decay', 'decay', 'power', 'tail', 'clip', 'ema'):
        assert getattr(small.optimizer, field) == getattr(shipped.optimizer, field)
    assert small.machine.precision == 'bf16-mixed'


def test_every_configuration_is_run_but_those_on_raw_muses(monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = {p.stem for p in CONFIGS.glob('*.yaml') if not p.stem.endswith('_zoo')}
    assert shipped - set(configurations()) == RAW_MUSES
    with pytest.raises(ValueError, match='name must be one of'):
        fabricate('muses', ROOT, ())
    assert 'deliver' in WRITERS
