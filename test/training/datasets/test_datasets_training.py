"""A run on a dataset on disk, from the command line to the weights."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES, mapping
from sam_ad_perception.modeling.zoo.entries import load_zoo
from training.configuration.data import SubsetConfig
from training.configuration.run import TrainConfig, load_config
from training.frames.frame import DatasetError
from training.networks.checkpoint import load_run
from training.networks.start import find_entry
from training.runs.batches import BatchReader, ReadAhead, open_frames
from training.runs.validation import validation_data

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / 'training/configs/debug_camvid.yaml'
SIZE = (72, 96)


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp('camvid')
    for split, count in (('train', 5), ('val', 2)):
        for folder in (split, f'{split}annot'):
            (root / folder).mkdir()
        for k in range(count):
            picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / split / f'{split}_{k}.png')
            labels = rng.integers(0, 12, (6, 8), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
            Image.fromarray(labels).save(root / f'{split}annot' / f'{split}_{k}.png')
    return root


def configure(tree: Path, folder: Path, *overrides: str) -> TrainConfig:
    places = [
        f'root={tree}',
        f'zoo={ROOT}/training/configs/debug_zoo.yaml',
        f'cache_dir={folder}/cache',
        f'output_dir={folder}/run',
        'data.partial=true',
    ]
    return load_config(CONFIG, [*places, *overrides])


def test_a_debug_run_trains_and_is_measured_on_the_dataset(tree, tmp_path):
    command = [sys.executable, '-m', 'training.train', str(CONFIG.relative_to(ROOT))]
    command += [f'root={tree}', f'output_dir={tmp_path}/run', f'cache_dir={tmp_path}/cache']
    done = subprocess.run(
        [*command, 'data.partial=true'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / 'run' / 'debug_ad_sam.safetensors').is_file()
    (table,) = (tmp_path / 'run').glob('**/validation.csv')
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row['miou']) <= 1


def test_batches_are_the_same_for_the_same_number(tree, tmp_path):
    config = configure(tree, tmp_path)
    spec = load_zoo(Path(config.zoo))[config.model]
    drawn = []
    for _ in range(2):
        source = open_frames(spec, config, config.data).source
        reader = BatchReader(source, 2, config.subsets, 7, augmentation=config.augmentation)
        drawn.append([reader.read(k) for k in range(4)])
    for first, again in zip(*drawn, strict=True):
        assert first.frames == again.frames
        assert torch.equal(first.batch.labels, again.batch.labels)
        assert torch.equal(first.batch.inputs['camera'], again.batch.inputs['camera'])
        assert first.batch.labels.shape == (2, *spec.input_size)
    assert not torch.equal(drawn[0][0].batch.labels, drawn[0][1].batch.labels)
    # torch's own generator is the training's
    state = torch.get_rng_state()
    reader.read(9)
    assert torch.equal(torch.get_rng_state(), state)


def test_validation_reads_the_other_split_unchanged_at_its_own_size(tree, tmp_path):
    from training.runs.validation import validation_data

    config = configure(tree, tmp_path)
    spec = load_zoo(Path(config.zoo))[config.model]
    source = open_frames(spec, config, validation_data(config)).source
    assert source.length == 2
    batch = source.read([1])
    raw = np.array(Image.open(tree / 'valannot/val_1.png'))
    raw = np.where(raw == 11, 255, raw).astype(np.uint8)
    table = mapping(LABEL_SPACES['camvid'], LABEL_SPACES['cityscapes'])
    np.testing.assert_array_equal(batch.labels[0].numpy(), table[raw])
    assert batch.inputs['camera'].shape == (1, 3, *spec.input_size)


def test_closing_waits_for_the_frame_that_is_being_read(tree, tmp_path):
    config = configure(tree, tmp_path)
    spec = load_zoo(Path(config.zoo))[config.model]
    source = open_frames(spec, config, config.data).source
    read = source.dataset.read
    begun = []

    def read_slowly(index):
        begun.append(index)
        time.sleep(0.1)
        return read(index)

    source.dataset.read = read_slowly
    before = threading.active_count()
    ahead = ReadAhead(BatchReader(source, 2, config.subsets, 7), itertools.count())
    ahead.next()
    ahead.close()
    assert threading.active_count() == before
    count = len(begun)
    time.sleep(0.15)
    assert len(begun) == count


def test_processes_that_read_can_be_given_the_dataset(tree, tmp_path):
    config = configure(tree, tmp_path)
    spec = load_zoo(Path(config.zoo))[config.model]
    source = open_frames(spec, config, config.data).source
    other = pickle.loads(pickle.dumps(source))
    one, same = (s.read([3], np.random.default_rng(5)) for s in (source, other))
    assert torch.equal(one.inputs['camera'], same.inputs['camera'])
    assert torch.equal(one.labels, same.labels)


def test_classes_that_do_not_relate_are_refused(tree, tmp_path):
    config = configure(tree, tmp_path)
    spec = dataclasses.replace(load_zoo(Path(config.zoo))[config.model], label_space='mcubes')
    with pytest.raises(DatasetError, match="no mapping from label space 'camvid' to 'mcubes'"):
        open_frames(spec, config, config.data)


def test_a_whole_split_and_a_root_are_asked_for(tree, tmp_path):
    config = configure(tree, tmp_path, 'data.partial=false')
    spec = load_zoo(Path(config.zoo))[config.model]
    with pytest.raises(DatasetError, match='has 5 frames, 367 were published'):
        open_frames(spec, config, config.data)
    config = configure(tree, tmp_path, "root=''")
    with pytest.raises(DatasetError, match='camvid needs its folder: root='):
        open_frames(spec, config, config.data)


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('data.split=test', "data.split must be 'train' to train on, got 'test'"),
        ('data.split=val', "data.split must be 'train'"),
        ('dataset=simulated', 'root is of a dataset on disk'),
        ('augmentation.scales=[2, 0.5]', 'scales must be positive and rising'),
        ('augmentation.corruption.noise={camera: 2}', r'noise\.camera must be in \[0, 1\]'),
    ],
)
def test_what_does_not_go_together_is_refused(tree, tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        configure(tree, tmp_path, override)


def test_rendered_frames_take_no_changes_of_frames():
    with pytest.raises(ValueError, match='need a dataset on disk'):
        load_config(ROOT / 'training/configs/debug.yaml', ['augmentation.flip=0.5'])


def test_corruption_of_a_sensor_that_the_network_does_not_have_is_refused(tree, tmp_path):
    config = configure(tree, tmp_path, 'augmentation.corruption.drop={lidar: 0.5}')
    with pytest.raises(ValueError, match=r"names \['lidar'\], debug_ad_sam has \['camera'\]"):
        find_entry(config)


@pytest.fixture
def damaged(tmp_path) -> Path:
    """A small CamVid whose fourth training image is cut off."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'camvid'
    for folder, values in (('train', (64, 96, 3)), ('trainannot', (64, 96))):
        (root / folder).mkdir(parents=True)
        for k in range(6):
            image = rng.integers(0, 11, values, dtype=np.uint8)
            assert cv2.imwrite(str(root / folder / f'{k}.png'), image)
    image = root / 'train/3.png'
    image.write_bytes(image.read_bytes()[:200])
    return root


@pytest.mark.parametrize('readers', [0, 1])
def test_a_damaged_image_is_named_and_left_out_only_where_that_is_wanted(
    damaged, tmp_path, run_main, capsys, readers
):
    arguments = [
        f'zoo={ROOT}/training/configs/debug_zoo.yaml',
        f'root={damaged}',
        'data.partial=true',
        'validation.steps=0',
    ]
    arguments += [f'cache_dir={tmp_path}', f'output_dir={tmp_path}/run', 'schedule.steps=3']
    arguments += ['machine.accelerator=cpu', f'machine.readers={readers}']
    assert run_main(CONFIG, arguments) == 1
    said = capsys.readouterr().err
    assert 'training stopped at step' in said
    assert f'{damaged}/train/3.png' in said
    assert 'Traceback' not in said
    assert run_main(CONFIG, [*arguments, 'data.skip_damaged=true']) == 0
    said = ''.join(capsys.readouterr().out.split())
    assert f'leftout:{damaged}/train/3.png' in said
    assert load_run(tmp_path / 'run/run.pt')['step'] == 3


def test_a_run_on_few_frames_takes_the_first_and_is_measured_on_all(damaged, tmp_path):
    more = [
        f'zoo={ROOT}/training/configs/debug_zoo.yaml',
        f'root={damaged}',
        'data.partial=true',
        'data.limit=3',
    ]
    config = load_config(CONFIG, more)
    source = open_frames(find_entry(config), config, config.data).source
    assert source.rendered().tolist() == [0, 1, 2]
    reader = BatchReader(source, 3, SubsetConfig(0.0, 0.0), seed=0)
    assert sorted(reader.read(7).frames) == [0, 1, 2]
    assert validation_data(config).limit == 0
    with pytest.raises(ValueError, match=r'data\.limit is of a dataset on disk, got 3'):
        load_config(ROOT / 'training/configs/debug.yaml', ['data.limit=3'])


def test_a_sensor_that_no_frame_has_ends_the_run_unless_that_is_asked_for(tree, tmp_path):
    """DELIVER's pictures once trained the camera of a vehicle's entry alone, without a word."""
    zoo = ROOT / 'training/configs/debug_zoo.yaml'
    settings = [
        f'root={tree}', f'zoo={zoo}', 'model=debug_mle_sam_copies', 'data.partial=true',
        f'cache_dir={tmp_path}', f'output_dir={tmp_path}/out',
    ]  # fmt: skip
    config = load_config(CONFIG, settings)
    spec = find_entry(config)
    spec = dataclasses.replace(spec, space=LABEL_SPACES['camvid'], label_space='camvid')
    with pytest.raises(DatasetError, match=r'without lidar \(lidar: no frame has it\)'):
        open_frames(spec, config, config.data)
    allowed = dataclasses.replace(config.data, without=('lidar',))
    frames = open_frames(spec, config, allowed).source
    assert list(frames.read([0]).inputs) == ['camera']
    strange = dataclasses.replace(config.data, without=('radar',))
    with pytest.raises(DatasetError, match=r"data.without names \['radar'\]"):
        open_frames(spec, config, strange)
