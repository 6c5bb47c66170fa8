"""The shipped experiments: what they need, and that they fit their networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training.configuration.run import SIMULATED, TrainConfig, load_config
from training.datasets.catalog import layout_of
from training.frames.frame import DatasetError
from training.networks.start import find_entry
from training.optimization.optimizer import learning_rate, make_optimizer
from training.runs.batches import open_frames

ROOT = Path(__file__).parents[3]
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
    assert set(spec.inputs) - set(config.data.without) <= SENSORS[config.dataset]
    assert not set(config.data.without) & SENSORS[config.dataset]
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


def test_mle_sams_rates_are_those_of_its_code_lineage(monkeypatch):
    """WarmupPolyLR: 10 epochs up from a tenth to the full rate, then power 0.9 over the rest.

    The oracle is put together from torch's own schedules, step by step.
    """
    epochs, per_epoch = 100, 7
    config = load('mle_sam_deliver_rgbdel', monkeypatch).optimizer
    assert (config.warmup_epochs, config.warmup_start, config.power) == (10.0, 0.1, 0.9)
    steps, warm = epochs * per_epoch, 10 * per_epoch
    sgd = torch.optim.SGD([torch.zeros(1)], lr=config.lr)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        sgd,
        [
            torch.optim.lr_scheduler.LinearLR(sgd, 0.1, total_iters=warm),
            torch.optim.lr_scheduler.PolynomialLR(sgd, (epochs + 1) * per_epoch - warm, 0.9),
        ],
        [warm],
    )
    config = dataclasses.replace(config, warmup_steps=warm)
    rates = []
    for step in range(steps):
        rates.append(learning_rate(config, step, step / steps))
        assert rates[-1] == pytest.approx(sgd.param_groups[0]['lr'], rel=1e-6), step
        sgd.step()
        schedule.step()
    assert max(rates) == rates[warm] == pytest.approx(config.lr)  # not 0.91 of it


def test_polynomial_decay_from_the_first_step(monkeypatch):
    optimizer = load('camvid', monkeypatch).optimizer
    low = 0.01 + 0.99 * 0.5**0.9
    assert learning_rate(optimizer, 10**6, 0.5) == pytest.approx(2e-3 * low, rel=1e-6)


PAPER = [
    n for n in NAMES
    if n.startswith(('mle_sam_deliver', 'mle_sam_muses', 'mle_sam_mcubes')) and 'robust' not in n
]  # fmt: skip


@pytest.mark.parametrize('name', PAPER)
def test_mle_sam_is_trained_as_its_appendix_says(name, monkeypatch):
    """Jitter, mirroring, blur, a random piece of 1024x1024; Table IX; no picture is squashed."""
    config = load(name, monkeypatch)
    changes = config.augmentation
    assert min(changes.colour, changes.flip, changes.blur) > 0
    assert changes.keep_aspect
    assert changes.scales == (0.5, 2.0)
    assert changes.piece_of(find_entry(config).input_size) == (1024, 1024)
    assert (config.schedule.batch_size, config.schedule.epochs) == (6, 100)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.weight_decay, optimizer.power) == ('adamw', 0.01, 0.9)
    assert (optimizer.warmup_epochs, optimizer.warmup_start) == (10, 0.1)


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


def test_every_entry_that_is_to_be_trained_has_a_configuration(monkeypatch):
    monkeypatch.chdir(ROOT)
    trained = {(load_config(FOLDER / f'{n}.yaml').zoo, load_config(FOLDER / f'{n}.yaml').model)
               for n in NAMES}  # fmt: skip
    for zoo in ('models/zoo.yaml', 'training/configs/papers_zoo.yaml'):
        for key, spec in load_zoo(ROOT / zoo).items():
            if not spec.checkpoint.file:
                assert (zoo, key) in trained, key


@pytest.mark.parametrize('zoo', ['models/zoo.yaml', 'training/configs/papers_zoo.yaml'])
def test_first_layers_of_other_channels_than_rgb_learn_to_tell_them_apart(zoo):
    """They begin as copies of one kernel: frozen, ON and OFF events would be the same."""
    for key, spec in load_zoo(ROOT / zoo).items():
        if spec.builder != 'mle_sam':
            continue
        with torch.device('meta'):
            stems = build_model(spec).encoder.stems
        for name, count in spec.channels.items():
            if name in stems and count > 1:
                assert all(p.requires_grad for p in stems[name].parameters()), (key, name)
