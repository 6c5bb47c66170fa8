"""The check of dataset folders, on miniature trees and on the sample frames."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training.datasets.catalog import open_dataset
from training.frames.contact_sheet import TILE_WIDTH, draw_sheet
from training.frames.frame import DatasetError, LabelledFrame
from training.frames.inspection import inspect_dataset
from training.prepare import main

SIZE = (36, 48)


@pytest.fixture
def tree(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A part of CamVid: four training frames and two of validation, blocks of labels."""
    root = tmp_path / 'camvid'
    for split, count in (('train', 4), ('val', 2)):
        for folder in (split, f'{split}annot'):
            (root / folder).mkdir(parents=True)
        for k in range(count):
            picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / split / f'{split}_{k}.png')
            labels = rng.integers(0, 12, (3, 4), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
            Image.fromarray(labels).save(root / f'{split}annot' / f'{split}_{k}.png')
    return root


def check(root: Path, out: Path, capsys, *more: str) -> tuple[int, str, dict]:
    status = main(['camvid', str(root), '--out', str(out), *more])
    content = json.loads((out / 'camvid_index.json').read_text())
    return status, ' '.join(capsys.readouterr().out.split()), content


def test_a_part_is_read_and_indexed_and_said_to_be_one(tree, tmp_path, capsys):
    status, shown, content = check(tree, tmp_path / 'out', capsys)
    assert status == 1
    assert 'train: 4 frames, 367 were published' in shown
    assert 'test: not there (233 frames were published)' in shown
    split = content['splits']['train']
    assert split['problems'] == ['4 frames, 367 were published']
    assert split['sizes'] == {'48x36': 4}
    counted = Counter()
    for path in (tree / 'trainannot').iterdir():
        raw = np.array(Image.open(path))
        counted.update(np.where(raw == 11, 255, raw).ravel().tolist())
    assert {int(k): n for k, n in split['pixels'].items()} == counted


def test_every_odd_file_is_named_and_left_out_of_the_index(tree, tmp_path, capsys, rng):
    (tree / 'trainannot/train_0.png').unlink()
    (tree / 'train/train_1.png').write_bytes(b'damaged')
    Image.fromarray(np.full(SIZE, 99, np.uint8)).save(tree / 'valannot/val_0.png')
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tree / 'valannot/nobody.png')
    Image.fromarray(np.full(SIZE, 11, np.uint8)).save(tree / 'trainannot/train_3.png')
    (tree / 'val/val_1.png').write_bytes((tree / 'train/train_2.png').read_bytes())
    status, shown, content = check(tree, tmp_path / 'out', capsys)
    assert status == 1
    for text in (
        'trainannot/train_0.png is missing',
        'train/train_1.png is damaged',
        'train_3 has no labelled pixel',
        'valannot/val_0.png has label id 99',
        'valannot/nobody.png belongs to no picture',
        'val: val_1 is the same picture as train_2 of train',
    ):
        assert text in shown, text
    names = {s: [f['name'] for f in each['frames']] for s, each in content['splits'].items()}
    assert names == {'train': ['train_2', 'train_3'], 'val': ['val_1']}


def test_what_befalls_many_frames_is_said_once():
    class Refusing:
        space = LABEL_SPACES['camvid']

        def __len__(self):
            return 5

        def read(self, index):
            raise DatasetError('a package is not installed' if index else 'the first is damaged')

    findings = inspect_dataset(Refusing(), 'train', found=5, published=0)
    assert findings.problems == [
        'the first is damaged',
        'a package is not installed (4 frames)',
    ]
    assert findings.sound == []


def test_training_may_take_the_index(tree, tmp_path, capsys):
    (tree / 'train/train_1.png').write_bytes(b'damaged')
    check(tree, tmp_path / 'out', capsys)
    index = tmp_path / 'out' / 'camvid_index.json'
    moved = tree.rename(tmp_path / 'moved')
    data = open_dataset('camvid', moved, 'train', partial=True, index=index)
    plain = open_dataset('camvid', moved, 'train', partial=True)
    assert [f.name for f in data.frames] == ['train_0', 'train_2', 'train_3']
    assert data.frames[1] == plain.frames[2]
    np.testing.assert_array_equal(data.read(1).labels, plain.read(2).labels)
    with pytest.raises(DatasetError, match=r'has 3 sound frames .* 367 were published'):
        open_dataset('camvid', moved, 'train', index=index)
    with pytest.raises(DatasetError, match='is an index of camvid with train, val, expected'):
        open_dataset('camvid', moved, 'test', partial=True, index=index)
    with pytest.raises(DatasetError, match='is no index'):
        open_dataset('camvid', moved, 'train', partial=True, index=moved / 'train/train_0.png')


def test_one_odd_size_among_many_is_named(tree, tmp_path, capsys):
    for k in range(4, 16):
        for folder in ('train', 'trainannot'):
            content = (tree / folder / 'train_3.png').read_bytes()
            (tree / folder / f'train_{k}.png').write_bytes(content)
    for folder in ('train', 'trainannot'):
        image = Image.open(tree / folder / 'train_2.png')
        image.crop((0, 0, 40, 30)).save(tree / folder / 'train_2.png')
    shown = check(tree, tmp_path / 'out', capsys)[1]
    assert 'train_2 is 40x30, the others are 48x36' in shown


def test_the_sheet_shows_pictures_beside_their_labels(tree, tmp_path, capsys):
    check(tree, tmp_path / 'out', capsys, '--frames', '1')
    sheet = cv2.imread(str(tmp_path / 'out' / 'camvid_frames.png'))[:, :, ::-1]
    space = LABEL_SPACES['camvid']
    raw = np.array(Image.open(tree / 'trainannot/train_0.png'))
    raw = np.where(raw == 11, 255, raw)
    left, top = TILE_WIDTH + 4, 36  # of the labels, below two lines of text
    scale = TILE_WIDTH // SIZE[1]
    for v, u in ((6, 6), (18, 30), (30, 42)):
        shown = sheet[top + v * scale, left + u * scale]
        assert shown.tolist() == space.palette[raw[v, u]].tolist()


def test_every_sensor_of_the_simulator_can_be_shown():
    drive = Drive(DriveConfig(seed=1, duration_s=1.0))
    bundle, truth = drive.bundle(drive.config.start_ns + 500_000_000)
    pictures = {'nir': np.linspace(-1, 1, 400 * 640 * 3, dtype=np.float32).reshape(400, 640, 3)}
    frame = LabelledFrame('one', bundle, truth.labels, pictures=pictures)
    sheet = draw_sheet([('one', frame)], LABEL_SPACES['cityscapes'])
    tiles = len(bundle.frames) + 2
    assert sheet.shape[1] == tiles * (TILE_WIDTH + 4)
    for k in range(tiles):
        tile = sheet[36:180, k * (TILE_WIDTH + 4) :][:, :TILE_WIDTH]
        assert tile.std() > 5


def test_the_sample_frames_are_whole(sample_data, tmp_path, capsys):
    status, shown, content = check(sample_data / 'camvid', tmp_path, capsys)
    assert status == 0
    assert 'nothing is missing, nothing is odd' in shown
    found = {name: len(split['frames']) for name, split in content['splits'].items()}
    assert found == {'train': 367, 'val': 101}


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['cityscapes', str(tmp_path)])
    assert 'has no split of cityscapes' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(['recordings', str(tmp_path)])
    assert 'holds no recording' in capsys.readouterr().err
