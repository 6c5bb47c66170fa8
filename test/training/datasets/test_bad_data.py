"""Bad data of every kind are named: never dropped in silence, never trained on."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.zoo.entries import load_zoo
from training.configuration.augmentation import AugmentationConfig
from training.configuration.data import SubsetConfig
from training.configuration.run import load_config
from training.datasets.catalog import open_dataset
from training.datasets.cityscapes import LABEL_IDS
from training.frames.frame import DatasetError
from training.frames.image_files import find_damage, read_grey, read_rgb
from training.frames.label_images import read_ids
from training.prepare import main as prepare
from training.runs.batches import BatchReader
from training.runs.prepared_batches import PreparedFrames

ROOT = Path(__file__).parents[3]
ZOO = ROOT / 'training/configs/debug_zoo.yaml'
SIZE = (48, 64)


def save(path: Path, array: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return path


def smooth(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A picture as a camera takes one: it changes slowly, so that JPEG can hold it."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize('side', [9_000, 60_000])
def test_a_small_file_that_tells_of_a_huge_picture_is_refused_before_its_pixels(tmp_path, side):
    """60,000 x 60,000 pixels would be 10 GB; the file has under 200 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    path = tmp_path / 'huge.png'
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(100)))
        + chunk(b'IEND', b'')
    )
    tracemalloc.start()
    for read in (read_rgb, read_grey, read_ids):
        with pytest.raises(DatasetError, match=r'huge\.png'):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize('kind', ['baseline', 'progressive', 'restart markers', 'grey'])
def test_a_jpeg_that_was_cut_off_is_refused_wherever_it_ends(tmp_path, rng, kind):
    picture = smooth(rng, (90, 160))
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(kind == 'progressive')]
    options += [cv2.IMWRITE_JPEG_RST_INTERVAL, 4 * (kind == 'restart markers')]
    shown = picture[:, :, 0] if kind == 'grey' else picture
    whole = cv2.imencode('.jpg', shown, options)[1].tobytes()
    path = tmp_path / 'a.jpg'
    for trailer in (b'', b'\x00' * 100):  # cameras append what they like
        path.write_bytes(whole + trailer)
        assert read_rgb(path).shape == (90, 160, 3)
    for keep in np.linspace(0, len(whole) - 1, 25, dtype=int):
        path.write_bytes(whole[:keep])
        with pytest.raises(DatasetError, match=r'a\.jpg is damaged'):
            read_rgb(path)
        path.write_bytes(whole[:keep] + b'\x00' * (len(whole) - keep))  # a download with a hole
        if keep < len(whole) - 2:
            with pytest.raises(DatasetError, match=r'a\.jpg is damaged'):
                read_rgb(path)


def test_a_png_with_one_flipped_bit_is_refused(tmp_path, rng):
    path = save(tmp_path / 'a.png', smooth(rng, SIZE))
    whole = path.read_bytes()
    assert find_damage(whole) == ''
    for place in np.linspace(8, len(whole) - 1, 40, dtype=int):
        spoilt = bytearray(whole)
        spoilt[place] ^= 4
        assert find_damage(bytes(spoilt)), place
        assert find_damage(whole[:place]), place


def test_a_truncated_jpeg_is_no_sound_frame(tmp_path, rng, capsys):
    for k in range(3):
        picture = smooth(rng, (90, 160))
        image = save(tmp_path / f'images/10k/train/{k:08x}.jpg', picture, quality=95)
        labels = rng.integers(0, 19, (90, 160), dtype=np.uint8)
        save(tmp_path / f'labels/sem_seg/masks/train/{k:08x}.png', labels)
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    data = open_dataset('bdd100k', tmp_path, 'train', partial=True)
    data.read(0)
    with pytest.raises(DatasetError, match=f'{image.name} is damaged'):
        data.read(2)
    assert (
        prepare(['bdd100k', str(tmp_path), '--out', str(tmp_path / 'out'), '--frames', '0']) == 1
    )
    index = json.loads((tmp_path / 'out/bdd100k_index.json').read_text())
    assert [f['name'] for f in index['splits']['train']['frames']] == ['00000000', '00000001']
    assert f'{image.name} is damaged' in ' '.join(capsys.readouterr().out.split())


def mfnet(root: Path, rng: np.random.Generator, count: int, thermal=None) -> list[str]:
    names = [f'{k:05d}{"DN"[k % 2]}' for k in range(count)]
    for name in names:
        picture = smooth(rng, SIZE)
        grey = picture.mean(axis=2).astype(np.uint8)
        save(root / f'rgb/{name}.png', picture)
        save(root / f'ther/{name}.png', grey if thermal is None else thermal(grey))
        save(root / f'labels/{name}.png', rng.integers(0, 9, SIZE, dtype=np.uint8))
    (root / 'train.txt').write_text('\n'.join(names) + '\n')
    return names


@pytest.mark.parametrize('table', [cv2.COLORMAP_INFERNO, cv2.COLORMAP_JET, cv2.COLORMAP_BONE])
def test_a_colour_mapped_thermal_picture_is_refused(tmp_path, rng, table):
    mfnet(tmp_path, rng, 2, lambda t: cv2.applyColorMap(t, table)[:, :, ::-1])
    with pytest.raises(DatasetError, match=r'ther/00000D\.png has channels that differ by'):
        open_dataset('mfnet', tmp_path, 'train', partial=True).read(0)
    assert prepare(['mfnet', str(tmp_path), '--out', str(tmp_path / 'out'), '--frames', '0']) == 1


def test_grey_pictures_of_any_codec_are_taken(tmp_path, rng):
    grey = smooth(rng, SIZE)[:, :, 0]
    three = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_grey(save(tmp_path / 'a.png', three)), grey)
    wide = grey.astype(np.uint16) * 200
    np.testing.assert_array_equal(read_grey(save(tmp_path / 'b.png', wide)), wide)
    seen = read_grey(save(tmp_path / 'c.jpg', three, quality=95))
    assert np.abs(seen.astype(int) - grey).mean() < 2


def cityscapes(root: Path, rng: np.random.Generator, write) -> None:
    for k in range(2):
        name = f'aachen_{k:06d}_000019'
        train_ids = rng.integers(0, 19, SIZE, dtype=np.uint8)
        train_ids[:3] = 255
        save(root / f'leftImg8bit/train/aachen/{name}_leftImg8bit.png', smooth(rng, SIZE))
        write(root / f'gtFine/train/aachen/{name}_gtFine_', train_ids)


LABEL_TABLE = np.append(LABEL_IDS, [0] * 237).astype(np.uint8)
WRONG = {
    'holds 255, which label ids never': ('labelIds', lambda ids: ids),
    'has no id above 18': ('labelIds', lambda ids: np.where(ids == 255, 0, ids)),
    'has label ids': ('labelTrainIds', lambda ids: LABEL_TABLE[ids]),
    'channels that differ': ('labelIds', lambda ids: np.dstack([ids % 34, ids % 7, ids % 5])),
    'stored as JPEG': ('labelIds', lambda ids: ids % 34),
}
"""What is wrong to the kind of the file, and what is written into it."""


@pytest.mark.parametrize('message', WRONG)
def test_ids_of_the_wrong_list_are_refused(tmp_path, rng, message, capsys):
    kind, make = WRONG[message]
    how = {'format': 'JPEG'} if 'JPEG' in message else {}

    def write(start: Path, ids: np.ndarray) -> None:
        save(Path(f'{start}{kind}.png'), make(ids).astype(np.uint8), **how)

    cityscapes(tmp_path, rng, write)
    with pytest.raises(DatasetError, match=message):
        open_dataset('cityscapes', tmp_path, 'train', partial=True).read(0)
    words = ['cityscapes', str(tmp_path), '--out', str(tmp_path / 'out'), '--frames', '0']
    assert prepare(words) == 1
    assert '_gtFine_label' in capsys.readouterr().out


def test_lists_with_line_ends_and_marks_of_other_systems(tmp_path, rng):
    names = mfnet(tmp_path, rng, 3)
    for text in ('\r\n'.join(names), '\ufeff' + '\n'.join(names), '\n'.join(names) + '\r\n\r\n'):
        (tmp_path / 'train.txt').write_bytes(text.encode())
        data = open_dataset('mfnet', tmp_path, 'train', partial=True)
        assert [frame.name for frame in data.frames] == names
    (tmp_path / 'train.txt').write_text('\n'.join(f'{name}.png' for name in names))
    with pytest.raises(DatasetError, match=r"none of the 3 frames .* names '00000D\.png'"):
        open_dataset('mfnet', tmp_path, 'train', partial=True)


def test_what_lacks_a_file_is_counted_and_endings_have_no_case(tmp_path, rng, capsys):
    for k in range(10):
        save(tmp_path / f'images/10k/train/{k}.{"JPG" if k % 2 else "jpg"}', smooth(rng, SIZE),
             format='JPEG')  # fmt: skip
        if k < 4:
            labels = rng.integers(0, 19, SIZE, dtype=np.uint8)
            save(tmp_path / f'labels/sem_seg/masks/train/{k}.png', labels)
    data = open_dataset('bdd100k', tmp_path, 'train', partial=True)
    assert [frame.name for frame in data.frames] == ['0', '1', '2', '3']
    prepare(['bdd100k', str(tmp_path), '--out', str(tmp_path / 'out'), '--frames', '0'])
    said = ' '.join(capsys.readouterr().out.split())
    assert 'train: 4 of 10 frames; 6 lack a file, first 4' in said


@pytest.mark.parametrize('key', ['debug', 'debug_fusion_sam'])
def test_one_bad_sensor_costs_its_frame_and_not_the_batch(tmp_path, rng, key):
    names = mfnet(tmp_path, rng, 20)
    bad = [names[3], names[11]]
    for name in bad:
        save(tmp_path / f'ther/{name}.png', np.full(SIZE, 17, np.uint8))
    plain = AugmentationConfig(vary=False)
    spec = load_zoo(ZOO)[key]
    source = PreparedFrames(open_dataset('mfnet', tmp_path, 'train', partial=True), spec, plain)
    reader = BatchReader(source, 5, SubsetConfig(0.0, 0.0), 0, augmentation=plain)
    drawn = [reader.read(number) for number in range(8)]
    assert all('thermal' in each.batch.inputs for each in drawn)
    seen = {source.dataset.frames[f].name for each in drawn for f in each.frames}
    notes = {note for each in drawn for note in each.notes}
    for each in drawn:
        sizes = [len(group.labels) for group in each.batch.groups()]
        assert sum(sizes) == 5
        for group in each.batch.groups():
            if 'thermal' in group.inputs:
                assert group.inputs['thermal'].std() > 0
    if key == 'debug':
        assert seen == set(names)
        lacking = sum(5 - int(b.present['thermal'].sum()) for b in (d.batch for d in drawn)
                      if 'thermal' in b.present)  # fmt: skip
        assert lacking == 4  # two frames, twice
        assert {name for name in names if any(name in n for n in notes)} == set(bad)
        assert all('is taken without thermal' in note for note in notes)
    else:
        assert seen == set(names) - set(bad)
        assert all('lacks thermal' in note for note in notes)
        assert len(notes) == 2


def test_a_dataset_smaller_than_a_batch_repeats_its_frames(tmp_path, rng):
    for k in range(3):
        save(tmp_path / f'train/{k}.png', smooth(rng, SIZE))
        save(tmp_path / f'trainannot/{k}.png', rng.integers(0, 11, SIZE, dtype=np.uint8))
    bad = tmp_path / 'train/1.png'
    bad.write_bytes(bad.read_bytes()[:300])
    plain = AugmentationConfig(vary=False)
    spec = load_zoo(ZOO)['debug_ad_sam']
    source = PreparedFrames(open_dataset('camvid', tmp_path, 'train', partial=True), spec, plain)
    reader = BatchReader(
        source, 4, SubsetConfig(0.0, 0.0), 0, augmentation=plain, skip_damaged=True
    )
    for number in range(3):
        drawn = reader.read(number)
        assert set(drawn.frames) <= {0, 2}
        assert len(drawn.frames) == 4
        assert any('train/1.png is damaged' in note for note in drawn.notes)


def test_the_home_folder_is_put_for_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    more = ['output_dir=~/runs/x', 'cache_dir=~/cache', 'data.index=~/i.json', 'root=~/data']
    config = load_config(ROOT / 'training/configs/debug_camvid.yaml', more)
    assert config.output_dir == f'{tmp_path}/runs/x'
    assert config.cache_dir == f'{tmp_path}/cache'
    assert (config.root, config.data.index) == (f'{tmp_path}/data', f'{tmp_path}/i.json')
    with pytest.raises(ValueError, match=r'output_dir .* is not here'):
        load_config(ROOT / 'training/configs/debug_camvid.yaml', ['output_dir=~nobody_here/x'])


def test_the_depth_of_sensors_in_one_channel_is_what_is_read(tmp_path, rng):
    mfnet(tmp_path, rng, 2)
    frame = open_dataset('mfnet', tmp_path, 'train', partial=True).read(1)
    thermal = frame.bundle.frames[Modality.THERMAL].data
    np.testing.assert_array_equal(thermal, np.array(Image.open(tmp_path / 'ther/00001N.png')))


def test_no_code_is_unpacked_from_files():
    """Files of caches and checkpoints hold values; the format that runs code is not used."""
    word = 'pick' + 'le'
    for folder in ('sam_ad_perception', 'training', 'tools', 'benchmarks'):
        for file in (ROOT / folder).rglob('*.py'):
            text = file.read_text().replace(f'allow_{word}=False', '').replace(f'un{word}', '')
            assert word not in text, file
