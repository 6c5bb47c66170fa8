"""Whole runs: over two processes, cut off and resumed, and ended by what goes wrong."""

from __future__ import annotations

import csv
import dataclasses
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from sam_ad_perception.modeling.zoo.entries import load_zoo
from training.configuration.data import DataConfig, SubsetConfig
from training.configuration.run import load_config
from training.datasets.own.simulated import FrameCache
from training.latents import LatentTrainer
from training.networks.checkpoint import BestWeights, load_run
from training.runs.batches import BatchReader, OpenFrames, ReadAhead
from training.runs.failures import TrainingError
from training.runs.machine import checkpoint_blocks
from training.runs.trainer import Trainer
from training.runs.validation import validation_data
from training.train import Run

ROOT = Path(__file__).parents[3]
DEBUG = ROOT / 'training/configs/debug.yaml'
ZOO = ROOT / 'training/configs/debug_zoo.yaml'


@pytest.fixture(scope='module')
def cache_dir(tmp_path_factory) -> Path:
    """Eight frames to learn from and four to measure on, of coarse shapes that all sensors see."""
    folder = tmp_path_factory.mktemp('cache')
    config = load_config(DEBUG, overrides(folder, folder))
    fill(FrameCache(folder, load_zoo(ZOO)['debug'], config.data))
    fill(FrameCache(folder, load_zoo(ZOO)['debug'], validation_data(config)))
    return folder


def fill(cache: FrameCache) -> None:
    rng = np.random.default_rng(cache.length)
    for index in range(cache.length):
        coarse = rng.integers(0, 6, (5, 8)).astype(np.uint8)
        cache.labels[index] = np.kron(coarse, np.ones((80, 80), np.uint8))
        for images in cache.inputs.values():
            shape = images.shape[1:]
            seen = cv2.resize(coarse, (shape[2], shape[1]), interpolation=cv2.INTER_NEAREST)
            images[index] = seen / 3 - 1 + 0.1 * rng.standard_normal(shape)
        for state in cache.states.values():
            state[index] = 2


def overrides(cache: Path, output: Path, *more: str) -> list[str]:
    return [
        f'zoo={ZOO}',
        f'cache_dir={cache}',
        f'output_dir={output}',
        'data={seeds: [1000, 1004], frames_per_drive: 2, duration_s: 2.0, workers: 0}',
        'validation.seeds=[900, 902]',
        'machine.accelerator=cpu',
        'schedule.steps=6',
        *more,
    ]


def start(cache: Path, output: Path, *more: str) -> Run:
    config = load_config(DEBUG, overrides(cache, output, *more))
    trainer = Trainer(config, Console(quiet=True))
    frames = OpenFrames(FrameCache(cache, trainer.spec, config.data))
    return Run(trainer, frames, Console(quiet=True))


def rows(output: Path, name: str = 'metrics') -> list[dict[str, str]]:
    with (output / f'{name}.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def losses(output: Path) -> list[float]:
    return [float(row['loss']) for row in rows(output)]


def command(*arguments: str) -> list[str]:
    return [sys.executable, '-m', 'training.train', str(DEBUG), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


def assert_same(first: Path, second: Path) -> None:
    """That two runs left the same, bit by bit, but for the time they took."""
    states = [load_run(folder / 'run.pt') for folder in (first, second)]
    assert states[0]['step'] == states[1]['step']
    for part in ('network', 'average'):
        assert states[0][part].keys() == states[1][part].keys()
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name]), f'{part} {name}'
    optimizers = [state['optimizer'] for state in states]
    assert optimizers[0]['param_groups'] == optimizers[1]['param_groups']
    for index, values in optimizers[0]['state'].items():
        for name, value in values.items():
            assert torch.equal(value, optimizers[1]['state'][index][name]), f'{index} {name}'
    assert losses(first) == losses(second)
    assert [row['step'] for row in rows(first)] == [row['step'] for row in rows(second)]


def test_two_processes_learn_as_one_does(cache_dir, tmp_path):
    more = ['schedule.steps=3', 'schedule.replicas=1']
    two = overrides(cache_dir, tmp_path / 'two', *more, 'machine.devices=2')
    done = subprocess.run(
        command(*two), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    start(cache_dir, tmp_path / 'one', *more, 'schedule.accumulate=2').finish()
    one = losses(tmp_path / 'one')
    assert len(set(one)) == 3
    assert losses(tmp_path / 'two') == pytest.approx(one, abs=1e-4)
    first, second = (load_run(tmp_path / name / 'run.pt')['network'] for name in ('one', 'two'))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-3, rtol=1e-2, msg=name)


@pytest.fixture(scope='module')
def straight(cache_dir, tmp_path_factory) -> Path:
    """A run that nothing disturbed, of two batches a step that a thread read."""
    folder = tmp_path_factory.mktemp('straight')
    start(cache_dir, folder, 'schedule.accumulate=2').finish()
    return folder


@pytest.mark.parametrize('readers', [0, 2])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    cache_dir, straight, tmp_path, readers
):
    more = [f'machine.readers={readers}', 'schedule.accumulate=2']
    run = start(cache_dir, tmp_path / 'cut', *more)
    step = run.trainer.train_step

    def step_and_stop(*arguments: object) -> float:
        if run.trainer.step == 2:
            run.stop(signal.SIGTERM)
        return step(*arguments)  # type: ignore[arg-type]

    run.trainer.train_step = step_and_stop  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match='SIGTERM asked for it'):
        run.finish()
    run.trainer.save()
    torch.manual_seed(99)
    np.random.seed(99)  # nothing may depend on it
    again = start(cache_dir, tmp_path / 'cut', *more)
    assert again.trainer.step == 3
    again.finish()
    assert len(losses(tmp_path / 'cut')) == 6
    assert_same(straight, tmp_path / 'cut')


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(cache_dir, tmp_path):
    more = ['schedule.steps=12', 'schedule.replicas=1']
    always = 'schedule.checkpoint_minutes=0.0'
    arguments = overrides(cache_dir, tmp_path / 'killed', *more, always)
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / 'killed/run.pt').exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        process.kill()
    step = load_run(tmp_path / 'killed/run.pt')['step']
    assert 0 < step < 12
    start(cache_dir, tmp_path / 'killed', *more).finish()
    start(cache_dir, tmp_path / 'straight', *more).finish()
    assert_same(tmp_path / 'straight', tmp_path / 'killed')


def test_several_readers_bring_the_batches_in_order(cache_dir):
    config = load_config(DEBUG, overrides(cache_dir, cache_dir))
    cache = FrameCache(cache_dir, load_zoo(ZOO)['debug'], config.data)
    reader = BatchReader(cache, 2, SubsetConfig(), seed=3)
    ahead = ReadAhead(reader, count(5), processes=2)
    drawn = [ahead.next() for _ in range(4)]
    ahead.close()
    assert [each.number for each in drawn] == [5, 6, 7, 8]
    for each in drawn:
        again = reader.read(each.number)
        assert again.frames == each.frames
        for name, image in again.batch.inputs.items():
            assert torch.equal(image, each.batch.inputs[name])


def test_an_epoch_sees_each_frame_once_in_an_order_of_its_own(cache_dir):
    config = load_config(DEBUG, overrides(cache_dir, cache_dir))
    reader = BatchReader(
        FrameCache(cache_dir, load_zoo(ZOO)['debug'], config.data), 4, SubsetConfig(), seed=3
    )
    order = [i for number in range(6) for i in reader.read(number).frames]
    epochs = [order[i : i + 8] for i in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_frame_that_is_not_a_number_is_named(cache_dir, tmp_path, run_main, capsys):
    config = load_config(DEBUG, overrides(tmp_path / 'cache', tmp_path))
    spec = load_zoo(ZOO)['debug']
    cache = FrameCache(tmp_path / 'cache', spec, config.data)
    fill(cache)
    order = BatchReader(cache, 2, SubsetConfig(0.0, 0.0), config.seed)
    bad = order.read(7).frames[1]  # of the fourth step
    before = {frame for number in range(6) for frame in order.read(number).frames}
    for name in cache.inputs:
        cache.inputs[name][bad] = math.nan
    arguments = overrides(tmp_path / 'cache', tmp_path / 'run', 'subsets={drop: 0.0, single: 0.0}')
    assert run_main(DEBUG, arguments) == 1
    said = capsys.readouterr().err
    step = 3 if bad not in before else load_run(tmp_path / 'run/run.pt')['step']
    assert f'training stopped at step {step}: the ' in said
    assert f'is nan at step {step}' in said
    assert str(bad) in said.split('frames ', 1)[1].split(' with ')[0]
    assert f'run.pt holds step {step}; the same command goes on from there' in said
    state = load_run(tmp_path / 'run/run.pt')['network']
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())


def test_a_full_disk_leaves_the_last_state_whole(cache_dir, tmp_path, run_main, capsys):
    arguments = overrides(cache_dir, tmp_path, 'schedule.checkpoint_minutes=0.0')
    assert run_main(DEBUG, [*arguments, 'schedule.steps=2']) == 0
    whole = load_run(tmp_path / 'run.pt')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # files end there, as on a disk
    try:
        assert run_main(DEBUG, arguments) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    said = capsys.readouterr().err
    assert f'training stopped at step 3: the disk of {tmp_path}/run.pt is full' in said
    assert 'holds step 2; the same command goes on from there, once there is room' in said
    state = load_run(tmp_path / 'run.pt')
    assert state['step'] == 2
    for name, tensor in whole['network'].items():
        assert torch.equal(state['network'][name], tensor)
    assert not list(tmp_path.glob('*.part'))
    assert run_main(DEBUG, arguments) == 0
    assert load_run(tmp_path / 'run.pt')['step'] == 6


def test_a_reader_that_is_killed_ends_the_run(cache_dir):
    config = load_config(DEBUG, overrides(cache_dir, cache_dir))
    cache = FrameCache(cache_dir, load_zoo(ZOO)['debug'], config.data)
    ahead = ReadAhead(BatchReader(cache, 2, SubsetConfig(), seed=3), count(), processes=1)
    ahead.next()
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    with pytest.raises(TrainingError, match=r'reads frames was ended from outside .*readers'):
        [ahead.next() for _ in range(20)]


def test_a_renderer_that_is_killed_ends_the_waiting(cache_dir):
    config = load_config(DEBUG, overrides(cache_dir, cache_dir))
    data = dataclasses.replace(config.data, seeds=(2000, 2001))
    cache = FrameCache(cache_dir, load_zoo(ZOO)['debug'], data)
    process = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))
    process.start()
    process.kill()
    process.join()
    with pytest.raises(TrainingError, match='renders frames was ended by signal 9'):
        OpenFrames(cache, [process]).wait(1, Console(quiet=True))


def test_a_run_leaves_figures_pictures_and_its_best_weights(cache_dir, tmp_path):
    more = ['validation.steps=2', 'validation.best=2', 'validation.pictures=1']
    config = load_config(DEBUG, overrides(cache_dir, tmp_path, *more))
    trainer = Trainer(config, Console(quiet=True))
    cache = FrameCache(cache_dir, trainer.spec, config.data)
    run = Run(trainer, OpenFrames(cache), Console(quiet=True))
    run.finish()
    figures = rows(tmp_path)
    assert [row['step'] for row in figures] == ['1', '2', '3', '4', '5', '6']
    assert float(figures[-1]['epoch']) == pytest.approx(6 * 4 / 8)
    assert float(figures[0]['images_per_s']) > 0
    assert float(figures[0]['memory_mib']) > 50
    assert (tmp_path / 'version.txt').read_text().count('code ') == 1
    assert load_config(tmp_path / 'config.yaml') == run.trainer.config
    measured = rows(tmp_path, 'validation')
    assert [row['step'] for row in measured] == ['2', '4', '6']
    kept = BestWeights(tmp_path / 'best', 2).kept()
    best = sorted(measured, key=lambda row: (float(row['miou']), int(row['step'])))[:0:-1]
    assert [f'{100 * float(row["miou"]):06.2f}_step_{int(row["step"]):08d}' for row in best] == [
        path.stem.removeprefix('miou_') for path in kept
    ]
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [p.name for p in pictures] == [f'frame_0_0000000{i}.png' for i in (2, 4, 6)]
    picture = cv2.imread(str(pictures[0]))
    assert picture is not None
    assert picture.shape == (400, 3 * 640, 3)
    held = FrameCache(cache_dir, trainer.spec, validation_data(config))
    from sam_ad_perception.core.labels import LABEL_SPACES

    truth = LABEL_SPACES['cityscapes'].palette[held.labels[0]]
    np.testing.assert_array_equal(picture[:, 640:1280, ::-1], truth)


def test_a_state_that_is_damaged_or_of_another_network_is_refused(tmp_path, cache_dir):
    config = load_config(DEBUG, overrides(cache_dir, tmp_path))
    Trainer(config, Console(quiet=True)).save()
    other = dataclasses.replace(config, model='debug_ad_sam')
    with pytest.raises(ValueError, match=r'run\.pt is of another experiment; choose another'):
        Trainer(other, Console(quiet=True))
    path = tmp_path / 'run.pt'
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r'run\.pt is damaged'):
        Trainer(config, Console(quiet=True))


def test_validation_sees_no_drive_that_is_trained_on(cache_dir, tmp_path):
    config = load_config(DEBUG, overrides(cache_dir, tmp_path, 'validation.seeds=[1003, 1009]'))
    with pytest.raises(ValueError, match='drives in common'):
        validation_data(config)
    assert isinstance(validation_data(load_config(DEBUG)), DataConfig)


def test_an_accelerator_that_is_not_there_is_said(cache_dir, tmp_path):
    if torch.cuda.is_available():
        pytest.skip('there is one')
    with pytest.raises(ValueError, match='machine: '):
        Trainer(
            load_config(DEBUG, overrides(cache_dir, tmp_path, 'machine.accelerator=cuda')),
            Console(quiet=True),
        )


def test_half_precision_and_recomputed_blocks_learn_the_same(cache_dir, tmp_path):
    for name, how in (
        ('plain', 'machine.checkpoint_blocks=false'),
        ('blocks', 'machine.checkpoint_blocks=true'),
        ('half', 'machine.precision=bf16-mixed'),
    ):
        start(cache_dir, tmp_path / name, 'schedule.steps=3', how).finish()
    plain = losses(tmp_path / 'plain')
    assert losses(tmp_path / 'blocks') == pytest.approx(plain, rel=1e-5)
    half = losses(tmp_path / 'half')
    assert half != plain
    assert half == pytest.approx(plain, rel=0.02)


def test_what_one_process_alone_can_do_is_refused(cache_dir, tmp_path):
    half = overrides(cache_dir, tmp_path, 'machine.precision=16-mixed')
    with pytest.raises(ValueError, match=r'schedule\.replicas must be 1 with 16-mixed, got 2'):
        Trainer(load_config(DEBUG, half), Console(quiet=True))
    stage = [f'latents.file={tmp_path}/latents', 'model=debug_fusion_sam']
    with pytest.raises(ValueError, match='first stage runs in one process, in 32 or bf16-mixed'):
        LatentTrainer(load_config(DEBUG, [*half, *stage]), Console(quiet=True))


def test_a_network_without_blocks_says_so(cache_dir, tmp_path):
    wanted = overrides(cache_dir, tmp_path, 'machine.checkpoint_blocks=true')
    network = Trainer(load_config(DEBUG, wanted), Console(quiet=True)).network
    assert checkpoint_blocks(network) == len(network.encoder.trunk.blocks)
    assert checkpoint_blocks(torch.nn.Conv2d(1, 1, 1)) == 0
