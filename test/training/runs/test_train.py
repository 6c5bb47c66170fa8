from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from sam_ad_perception.core.sensors import Events, PointCloud, SensorFrame
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training.augmentation.batches import augment_batch, choose_subset
from training.configuration.data import SubsetConfig
from training.configuration.optimization import ScheduleConfig
from training.configuration.run import TrainConfig, load_config, to_mapping
from training.datasets.own.simulated import (
    FrameCache,
    SimulatedDrives,
    frame_times,
    start_rendering,
)
from training.frames.frame import Batch
from training.networks.checkpoint import load_run
from training.optimization.losses import total_loss
from training.optimization.optimizer import WeightAverage, learning_rate
from training.runs.batches import OpenFrames, resize_inputs
from training.runs.trainer import Trainer
from training.train import Run

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(
    p.name for p in (ROOT / 'training/configs').glob('*.yaml') if not p.stem.endswith('_zoo')
)
NAMES = ['camera', 'thermal', 'event', 'lidar']


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    places = [
        f'zoo={ROOT}/training/configs/debug_zoo.yaml',
        f'cache_dir={tmp_path}/cache',
        f'output_dir={tmp_path}/run',
    ]
    return load_config(ROOT / 'training' / 'configs' / 'debug.yaml', places)


@pytest.fixture
def trainer(config: TrainConfig) -> Trainer:
    return Trainer(config, Console(quiet=True))


def random_batch(size: tuple[int, int] = (64, 96), seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    channels = dict(zip(NAMES, (3, 1, 2, 3), strict=True))
    inputs = {n: torch.randn(2, c, *size, generator=generator) for n, c in channels.items()}
    coarse = torch.randint(0, 6, (2, 5, 8), generator=generator)
    labels = coarse.repeat_interleave(80, 1).repeat_interleave(80, 2)
    return Batch(inputs, labels)


@pytest.fixture(scope='module')
def frames(tmp_path_factory) -> tuple[Path, Path]:
    """The frames of debug.yaml, rendered once by a spawned worker, as training does it."""
    folder = tmp_path_factory.mktemp('frames')
    zoo = ROOT / 'training' / 'configs' / 'debug_zoo.yaml'
    data = load_config(ROOT / 'training' / 'configs' / 'debug.yaml').data
    for process in start_rendering(folder, zoo, 'debug', data):
        process.join(240)
        assert process.exitcode == 0
    return folder, zoo


def test_a_spawned_worker_renders_what_the_simulator_shows(frames, config):
    from sam_ad_perception.modeling.inputs.preparation import prepare_bundle
    from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

    folder, zoo = frames
    spec = load_zoo(zoo)['debug']
    cache = FrameCache(folder, spec, config.data)
    assert cache.rendered().tolist() == [0, 1, 2, 3]
    drive = Drive(DriveConfig(seed=1001, duration_s=2.0))
    bundle, truth = drive.bundle(drive.config.start_ns + frame_times(config.data, 1001)[1])
    batch = cache.read([3])
    np.testing.assert_array_equal(batch.labels[0].numpy(), truth.labels)
    prepared = prepare_bundle(bundle, spec.inputs, spec.input_size)
    assert set(batch.inputs) == set(prepared.inputs)
    for name, image in prepared.inputs.items():
        np.testing.assert_allclose(batch.inputs[name][0].numpy(), image, atol=2e-3)


def test_conditions_take_turns_drive_by_drive(config):
    from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

    data = dataclasses.replace(config.data, conditions=('day', 'night'))
    frame = SimulatedDrives(data).read(data.frames_per_drive)
    drive = Drive(DriveConfig(seed=1001, duration_s=data.duration_s, condition='night'))
    bundle, truth = drive.bundle(drive.config.start_ns + frame_times(data, 1001)[0])
    assert frame.condition == 'night'
    np.testing.assert_array_equal(frame.labels, truth.labels)
    for name, measured in bundle.frames.items():
        np.testing.assert_array_equal(pixels(frame.bundle.frames[name]), pixels(measured))
    with pytest.raises(ValueError, match='hail'):
        dataclasses.replace(data, conditions=('hail',))


def pixels(frame: SensorFrame) -> np.ndarray:
    if isinstance(frame.data, PointCloud):
        return frame.data.points
    return frame.data.t_ns if isinstance(frame.data, Events) else frame.data


def test_networks_that_take_the_same_input_share_what_is_rendered(frames, config):
    folder, zoo = frames
    spec = load_zoo(zoo)['debug']
    camera = dataclasses.replace(spec, inputs={'camera': spec.inputs['camera']})
    cache = FrameCache(folder, camera, config.data)
    assert cache.rendered().tolist() == [0, 1, 2, 3]
    smaller = dataclasses.replace(spec, input_size=(32, 64))
    assert not FrameCache(folder, smaller, config.data).rendered().size


def test_a_run_goes_on_from_the_weights_of_another(config, tmp_path):
    first = Trainer(config, Console(quiet=True))
    first.train_step([random_batch()])
    first.save()
    start = Path(config.output_dir) / f'{config.model}.safetensors'
    again = dataclasses.replace(config, start=str(start), output_dir=str(tmp_path / 'second'))
    network = Trainer(again, Console(quiet=True)).network
    for name, tensor in first.average.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.half().float()), name
    absent = dataclasses.replace(again, start=str(tmp_path / 'absent.safetensors'))
    with pytest.raises(CheckpointError, match=r'absent\.safetensors'):
        Trainer(absent, Console(quiet=True))


def test_debug_run_makes_two_steps_and_its_weights_load(frames, config):
    folder, _ = frames
    trainer = Trainer(config, Console(quiet=True))
    cache = FrameCache(folder, trainer.spec, config.data)
    digest = Run(trainer, OpenFrames(cache), Console(quiet=True)).finish()
    assert trainer.step == 2
    network = build_model(trainer.spec)
    checkpoint = CheckpointSpec('debug.safetensors', digest)
    load_checkpoint(network, checkpoint, Path(config.output_dir))
    exported = trainer.average.network.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, exported[name].half().float()), name


def test_loss_falls_on_a_repeated_batch(trainer):
    batch = random_batch()
    fast = dataclasses.replace(trainer.config.optimizer, lr=1e-2, warmup_steps=1)
    schedule = dataclasses.replace(trainer.config.schedule, steps=100)
    trainer.config = dataclasses.replace(trainer.config, optimizer=fast, schedule=schedule)
    losses = [trainer.train_step([batch, batch]) for _ in range(12)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


def test_replicas_accumulation_and_one_batch_after_the_other_are_the_same_step(config, tmp_path):
    batches = [random_batch(seed=i) for i in range(4)]
    weights = []
    for replicas in (4, 2, 1):
        schedule = dataclasses.replace(
            config.schedule, replicas=replicas, accumulate=4 // replicas, steps=9
        )
        own = dataclasses.replace(
            config, schedule=schedule, output_dir=str(tmp_path / str(replicas))
        )
        trainer = Trainer(own, Console(quiet=True))
        losses = [trainer.train_step(batches) for _ in range(3)]
        weights.append((losses, trainer.network.state_dict()))
    (losses, expected), *others = weights
    assert len(set(losses)) == 3
    for other, got in others:
        assert other == pytest.approx(losses, rel=1e-5)
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, atol=2e-4, rtol=1e-3, msg=name)


def test_gradient_is_that_of_the_mean_loss(trainer):
    """By hand, without dropout, replicas or Fabric."""
    for network in trainer.replicas:
        network.eval()
    reference = build_model(trainer.spec).eval()
    reference.load_state_dict(trainer.network.state_dict())
    batches = [random_batch(seed=1), random_batch(seed=2)]
    total = sum(
        total_loss(reference(b.inputs), b.labels, trainer.config.loss, trainer.offset(i)) / 2
        for i, b in enumerate(batches)
    )
    total.backward()
    names = {name for name, p in reference.named_parameters() if p.grad is not None}
    torch.nn.utils.clip_grad_norm_(reference.parameters(), trainer.config.optimizer.clip)
    assert trainer.train_step(batches) == pytest.approx(float(total.detach()), rel=1e-5)
    gradients = {n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None}
    assert set(gradients) == names
    for name, expected in reference.named_parameters():
        if name in names:
            torch.testing.assert_close(
                gradients[name], expected.grad, atol=1e-5, rtol=1e-3, msg=name
            )


def test_a_step_moves_all_replicas(trainer):
    trainer.train_step([random_batch(), random_batch()])
    first, second = trainer.replicas
    for own, other in zip(first.parameters(), second.parameters(), strict=True):
        assert own.data_ptr() == other.data_ptr()


def test_checkpoint_is_whole_or_absent(trainer, tmp_path):
    trainer.save()
    files = sorted(p.name for p in (tmp_path / 'run').iterdir())
    assert files == ['debug.safetensors', 'run.pt']
    assert load_run(tmp_path / 'run' / 'run.pt')['step'] == 0


def test_mirroring_keeps_sensors_and_labels_together():
    rng = np.random.default_rng(0)
    ramp = torch.arange(96.0).expand(8, 1, 64, 96)
    labels = torch.arange(640).expand(8, 400, 640)
    batch = Batch({'event': ramp.repeat(1, 2, 1, 1), 'lidar': ramp.repeat(1, 3, 1, 1)}, labels)
    out = augment_batch(batch, rng)
    mirrored = out.labels[:, 0, 0] == 639
    assert 0 < int(mirrored.sum()) < 8
    for i in range(8):
        event = out.inputs['event'][i, 0, 0]
        lidar = out.inputs['lidar'][i, 0].amax(dim=0)
        assert bool(event[0] > event[-1]) == bool(mirrored[i])
        assert bool(lidar[0] > lidar[-1]) == bool(mirrored[i])


def test_subsets_are_never_empty_and_all_occur():
    rng = np.random.default_rng(0)
    seen = {tuple(choose_subset(NAMES, SubsetConfig(0.25, 0.15), rng)) for _ in range(2000)}
    assert len(seen) == 15
    assert () not in seen
    assert choose_subset(NAMES, SubsetConfig(0.0, 0.0), rng) == NAMES
    for drop, single in ((0.9, 0.0), (0.0, 1.0)):
        subsets = SubsetConfig(drop, single)
        kept = [choose_subset(NAMES, subsets, rng, NAMES[:2]) for _ in range(100)]
        assert all(set(NAMES[:2]) <= set(k) for k in kept)


def test_learning_rate_warms_up_and_ends_low(config):
    optimizer = dataclasses.replace(config.optimizer, lr=1.0, warmup_steps=10, final_lr_ratio=0.1)
    assert learning_rate(optimizer, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(optimizer, 9, 0.0) == pytest.approx(1.0)
    assert learning_rate(optimizer, 99, 0.5) == pytest.approx(0.55)
    assert learning_rate(optimizer, 99, 1.0) == pytest.approx(0.1)


def test_average_is_exponential(trainer):
    average = WeightAverage(trainer.network, 0.9)
    start = trainer.network.aux_head.classify.bias.detach().clone()
    with torch.no_grad():
        trainer.network.aux_head.classify.bias.add_(1.0)
    average.update(trainer.network, step=1000)
    torch.testing.assert_close(average.network.aux_head.classify.bias, start + 0.1)


def test_sparse_lidar_is_picked_not_averaged():
    image = torch.zeros(1, 3, 64, 96)
    image[:, :, ::2, ::2] = 5.0
    small = resize_inputs({'lidar': image}, (32, 48))['lidar']
    assert set(small.unique().tolist()) <= {0.0, 5.0}
    assert resize_inputs({'lidar': small}, (32, 48))['lidar'] is small


def test_schedule_gives_sizes_in_turn():
    schedule = ScheduleConfig(sizes=((32, 32), (64, 64)), size_ends=(0.5, 0.75))
    assert [schedule.input_size(p) for p in (0.0, 0.5, 0.75)] == [(32, 32), (64, 64), None]
    with pytest.raises(ValueError, match='one rising share per size'):
        ScheduleConfig(sizes=((32, 32),), size_ends=())


@pytest.mark.parametrize('name', CONFIGS)
def test_shipped_configurations_round_trip(name, tmp_path):
    import yaml

    config = load_config(ROOT / 'training' / 'configs' / name)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(dict(to_mapping(config))))
    assert load_config(path) == config
    assert set(range(*config.data.seeds)).isdisjoint(range(100))


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('speed=1', r"unknown fields \['speed'\]"),
        ('optimizer.lr=fast', r'optimizer\.lr must be float'),
        ('optimizer.lr.x=1', "'lr' is a value, not a section"),
        ('data.seeds=[5, 9]', '0-99 are held back'),
        ('data.workers=-1', 'workers and limit 0 or more'),
        ('schedule.batch_size=0', 'must be 1 or more'),
        ('nonsense', 'must be name=value'),
    ],
)
def test_wrong_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(ROOT / 'training' / 'configs' / 'debug.yaml', [override])


def test_unknown_model_is_refused(config):
    with pytest.raises(ValueError, match=r"model must be one of \['debug', .*\], got 'big'"):
        Trainer(dataclasses.replace(config, model='big'), Console(quiet=True))
