"""The shipped experiments: what they need, and that they fit their networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam_ad_perception.modeling.zoo import build_model
from training.batches import open_frames
from training.config import SIMULATED, TrainConfig, load_config
from training.datasets.catalog import layout_of
from training.datasets.frames import DatasetError
from training.networks import find_entry
from training.optimization import learning_rate, make_optimizer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'training/configs'
NAMES = sorted(p.stem for p in FOLDER.glob('*.yaml') if not p.stem.endswith('_zoo'))

# What each data set has to show: the sensors that its loader reads.
SENSORS = {
    'cityscapes': {'camera'},
    'bdd100k': {'camera'},
    'camvid': {'camera'},
    'mfnet': {'camera', 'thermal'},
    'fmb15': {'camera', 'thermal'},
    'deliver': {'camera', 'depth', 'event', 'lidar'},
    'muses': {'camera', 'event', 'lidar'},
    'muses_projected': {'camera', 'event', 'lidar'},
    'mcubes': {'camera', 'aolp', 'dolp', 'nir'},
    SIMULATED: {'camera', 'thermal', 'event', 'lidar'},
}


def load(name: str, monkeypatch) -> TrainConfig:
    monkeypatch.chdir(ROOT)  # configurations name the zoo from there
    return load_config(FOLDER / f'{name}.yaml')


@pytest.mark.parametrize('name', NAMES)
def test_configuration_fits_its_network_and_its_data(name, monkeypatch):
    config = load(name, monkeypatch)
    spec = find_entry(config)
    assert set(spec.inputs) <= SENSORS[config.dataset]
    assert (ROOT / config.output_dir).parent == ROOT / 'runs'
    with torch.device('meta'):
        network = build_model(spec)
    optimizer = make_optimizer(network, config.optimizer)
    wanted = {id(p) for p in network.parameters() if p.requires_grad}
    assert {id(p) for g in optimizer.param_groups for p in g['params']} == wanted
    if config.dataset != SIMULATED:
        layout = layout_of(config.dataset)
        assert {config.data.split, config.validation.split} <= set(layout.published)
        with pytest.raises(DatasetError, match=f'{config.dataset} needs its folder: root='):
            open_frames(spec, config, config.data)


@pytest.mark.parametrize(
    'name', [n for n in NAMES if n.startswith('mle_sam_deliver') and 'robust' not in n]
)
def test_published_networks_have_the_published_parameters(name, monkeypatch):
    """5.2, 10.4, 15.6 and 20.79 million for one to four sensors (arXiv 2412.04220, Table IV)."""
    spec = find_entry(load(name, monkeypatch))
    with torch.device('meta'):
        network = build_model(spec)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    assert trained == pytest.approx(
        {1: 5.2, 2: 10.4, 3: 15.6, 4: 20.79}[len(spec.inputs)], abs=0.02
    )


def test_ad_sams_rates_fall_once_per_epoch_to_their_floor(monkeypatch):
    optimizer = load('ad_sam_cityscapes', monkeypatch).optimizer
    for scale, highest in ((1.0, 2e-4), (0.1, 2e-5)):
        assert learning_rate(optimizer, 0, 0.0, scale) == pytest.approx(highest)
        middle = learning_rate(optimizer, 9, 0.5, scale)
        assert middle == pytest.approx((highest + 1e-6) / 2)  # CosineAnnealingLR
        assert learning_rate(optimizer, 99, 1.0, scale) == pytest.approx(1e-6)


def test_cosine_is_torchs(monkeypatch):
    optimizer = load('ad_sam_cityscapes', monkeypatch).optimizer
    sgd = torch.optim.SGD([torch.zeros(1)], lr=2e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=20, eta_min=1e-6)
    for epoch in range(20):
        assert learning_rate(optimizer, epoch, epoch / 20) == pytest.approx(
            sgd.param_groups[0]['lr']
        )
        sgd.step()
        schedule.step()


def test_polynomial_decay_with_warm_up(monkeypatch):
    optimizer = load('mle_sam_deliver_rgbdel', monkeypatch).optimizer
    assert learning_rate(optimizer, 10**6, 0.5) == pytest.approx(3e-4 * 0.5**0.9, rel=1e-3)
    assert learning_rate(optimizer, 10**6, 1.0) == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['machine.accelerator=tpu'], 'accelerator must be one of'),
        (['machine.precision=8'], r'precision must be one of|must be str'),
        (['machine.devices=0'], 'devices and nodes must be 1 or more'),
        (['optimizer.name=sgd'], 'name must be one of'),
        (['optimizer.decay=step'], 'decay must be one of'),
        (['optimizer.ema=1.0'], r'ema in \[0, 1\)'),
        (['validation.best=0'], 'best 1'),
    ],
)
def test_what_no_machine_can_do_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        load_config(FOLDER / 'debug.yaml', more)
