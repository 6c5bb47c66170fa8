"""The comparison of networks on a small data set, from configuration to figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch.nn import functional as F

from training.configuration.run import TrainConfig
from training.experiments.comparison import CONTENDERS, compare, configure
from training.experiments.runner import finish_run
from training.networks.baselines import DeepLab, EspNet, LiteDeepLab
from training.networks.start import find_entry
from training.runs.batches import open_frames
from training.runs.validation import validation_data

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(camvid_run) -> TrainConfig:
    return camvid_run({'train': 4, 'val': 3}, 'schedule.epochs=1', 'half=false')


def miou_under_torch(config: TrainConfig) -> float:
    """Mean IoU of ESPNet's exported weights, counted pixel by pixel."""
    spec = find_entry(config)
    network = EspNet(len(spec.labels.classes)).eval()
    network.load_state_dict(
        load_file(Path(config.output_dir) / 'espnet' / f'{spec.key}.safetensors')
    )
    source = open_frames(spec, config, validation_data(config)).source
    truth, answer = [], []
    for index in range(source.length):
        batch = source.read([index])
        with torch.inference_mode():
            logits = network(batch.inputs).logits
        truth.append(batch.labels.numpy())
        full = F.interpolate(logits, size=batch.labels.shape[1:], mode='bilinear')
        answer.append(full.argmax(1).numpy())
    known = np.stack(truth) != 255
    truth, answer = np.stack(truth)[known], np.stack(answer)[known]
    classes = np.union1d(truth, answer)
    hits = [((truth == c) & (answer == c)).sum() for c in classes]
    either = [((truth == c) | (answer == c)).sum() for c in classes]
    return 100 * float(np.mean(np.divide(hits, either)))


def test_a_network_is_trained_exported_measured_and_not_trained_again(config, tmp_path):
    quiet = Console(quiet=True)
    overview, classes = compare(config, ['espnet'], 1, quiet)
    assert [row[0] for row in overview.rows] == [row[0] for row in classes.rows] == ['ESPNet']
    figures = json.loads((tmp_path / 'out' / 'comparison.json').read_text())['espnet']
    steps = round(CONTENDERS['espnet'].epochs * 4 / config.schedule.batch_size)
    assert figures['steps'] == steps
    assert figures['frames'] == 3
    assert overview.rows[0][5] == f'{figures["miou"]:.1f}'
    assert classes.rows[0][1:] == tuple(f'{iou:.1f}' for iou in figures['classes'].values())
    assert figures['miou'] == pytest.approx(miou_under_torch(config), abs=0.2)
    assert 0 < figures['best_s'] <= figures['median_s']
    assert (tmp_path / 'out' / 'espnet.onnx').exists()
    weights = (tmp_path / 'out' / 'espnet' / 'debug_ad_sam.safetensors').read_bytes()
    again = finish_run(configure(config, 'espnet'), quiet, CONTENDERS['espnet'].build)
    assert again.trainer.step == steps
    assert (tmp_path / 'out' / 'espnet' / 'debug_ad_sam.safetensors').read_bytes() == weights


def test_only_epochs_folder_and_rates_of_parts_differ(config):
    ours, other = configure(config, 'zoo'), configure(config, 'espnet')
    assert ours.augmentation == other.augmentation
    assert ours.loss == other.loss
    assert other.schedule.epochs == CONTENDERS['espnet'].epochs * ours.schedule.epochs


@pytest.mark.parametrize(
    ('kind', 'millions', 'stride'), [(EspNet, 0.36, 1), (DeepLab, 11.0, 16), (LiteDeepLab, 0, 16)]
)
def test_baselines_have_their_published_sizes_and_learn(kind, millions, stride):
    torch.manual_seed(0)
    network = kind(20).train()
    if millions:
        count = sum(p.numel() for p in network.parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.03)
    logits = network({'camera': torch.randn(2, 3, 64, 96)}).logits
    assert logits.shape == (2, 20, 64 // stride, 96 // stride)
    logits.square().mean().backward()
    unused = [n for n, p in network.named_parameters() if p.grad is None]
    assert all(name.startswith('backbone.blocks.') for name in unused)  # deeper than stride 16
    assert not unused or kind is LiteDeepLab
