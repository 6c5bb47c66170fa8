"""Label pictures in every form that annotation tools write, against ids that were drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES
from training.datasets.catalog import open_dataset
from training.frames.frame import DatasetError
from training.frames.label_images import read_ids, read_label_image
from training.frames.label_maps import find_label_map

SPACE = LABEL_SPACES['camvid']
SIZE = (24, 32)


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    """Labels of every class, and some pixels without one."""
    drawn = rng.integers(0, len(SPACE), SIZE, dtype=np.uint8)
    drawn[0, :3] = 255
    return drawn


def write(path: Path, array: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return path


def write_palette(path: Path, index: np.ndarray, colours: dict[int, tuple]) -> Path:
    image = Image.fromarray(index).convert('P')
    table = np.zeros((256, 3), np.uint8)
    for place, colour in colours.items():
        table[place] = colour
    image.putpalette(table.tobytes())
    image.putdata(index.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def read(path: Path) -> np.ndarray:
    return read_label_image(path, SPACE, find_label_map(path.parent, SPACE))


def test_grey_ids_and_colours_of_the_label_space(tmp_path, ids):
    grey = write(tmp_path / 'grey.png', ids)
    np.testing.assert_array_equal(read(grey), ids)
    three = write(tmp_path / 'three.png', np.repeat(ids[..., None], 3, axis=2))
    np.testing.assert_array_equal(read(three), ids)
    colour = write(tmp_path / 'colour.png', SPACE.palette[ids])
    np.testing.assert_array_equal(read(colour), ids)
    alpha = np.dstack([SPACE.palette[ids], np.full(SIZE, 255, np.uint8)])
    alpha[5, :, 3] = 0  # not drawn
    expected = ids.copy()
    expected[5] = 255
    np.testing.assert_array_equal(read(write(tmp_path / 'rgba.png', alpha)), expected)


@pytest.mark.parametrize('shift', [0, 1])
def test_a_palette_says_what_its_indices_mean(tmp_path, ids, shift):
    """VOC has a background before the first class: every index is one higher than the id."""
    index = np.where(ids == 255, 0 if shift else 255, ids + shift).astype(np.uint8)
    colours = {c.id + shift: c.color for c in SPACE.classes}
    path = write_palette(tmp_path / 'voc.png', index, colours)
    np.testing.assert_array_equal(read(path), ids)


def test_a_label_map_beside_the_pictures_goes_first(tmp_path, ids):
    lines = ['# label:color_rgb:parts:actions', 'background:0,0,0::']
    own = {c.name: (10 + 20 * c.id, 5, 200 - 10 * c.id) for c in SPACE.classes}
    lines += [f'{name}:{",".join(map(str, colour))}::' for name, colour in own.items()]
    (tmp_path / 'labelmap.txt').write_text('\r\n'.join(lines))
    table = np.zeros((256, 3), np.uint8)
    table[: len(SPACE)] = list(own.values())
    labels = tmp_path / 'labels'
    np.testing.assert_array_equal(read(write(labels / 'rgb.png', table[ids])), ids)
    index = np.where(ids == 255, 0, ids + 1).astype(np.uint8)
    colours = {i + 1: c for i, c in enumerate(own.values())}
    np.testing.assert_array_equal(read(write_palette(labels / 'p.png', index, colours)), ids)
    (tmp_path / 'labelmap.txt').unlink()
    reverse = {str(10 - c.id): c.name for c in SPACE.classes}
    (tmp_path / 'classes.json').write_text(json.dumps(reverse))
    turned = np.where(ids == 255, 255, 10 - ids).astype(np.uint8)
    np.testing.assert_array_equal(read(write(labels / 'ids.png', turned)), ids)
    (tmp_path / 'classes.json').write_text(json.dumps(['Sky', 'Buildin']))
    with pytest.raises(DatasetError, match=r"'Buildin' .* did you mean 'Building'"):
        find_label_map(labels, SPACE)


def test_instances_in_green_and_blue(tmp_path, ids, rng):
    ids[ids == 255] = 0
    numbers = np.arange(ids.size, dtype=np.uint16).reshape(SIZE) + 1
    picture = np.dstack([ids, numbers >> 8, numbers & 255, np.full(SIZE, 255)]).astype(np.uint8)
    np.testing.assert_array_equal(read(write(tmp_path / 'carla.png', picture)), ids)


def test_what_is_not_certain_is_refused(tmp_path, ids, rng):
    colour = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cases = {
        'is a colour picture': write(tmp_path / 'a.png', colour),
        'is stored as JPEG': write(tmp_path / 'b.png', ids, format='JPEG', quality=95),
        'is stored as WEBP': write(tmp_path / 'c.png', colour, format='WEBP', lossless=True),
        r'label ids \[99\]': write(tmp_path / 'd.png', np.full(SIZE, 99, np.uint8)),
        'no label ids': write(tmp_path / 'e.png', ids.astype(np.uint16) * 1000),
        'in its alpha channel': write(
            tmp_path / 'f.png', np.dstack([np.zeros((*SIZE, 3), np.uint8), ids])
        ),
        'transparent everywhere': write(
            tmp_path / 'g.png', np.dstack([colour, np.zeros(SIZE, np.uint8)])
        ),
        'has a palette in which 0 is': write_palette(
            tmp_path / 'h.png', ids % 3, {0: (1, 2, 3), 1: (9, 9, 8), 2: (7, 1, 7)}
        ),
        'channel|colour picture': write(
            tmp_path / 'i.png', np.dstack([0 * ids, ids % 11, 0 * ids])
        ),
        'is missing': tmp_path / 'absent.png',
    }
    for message, path in cases.items():
        with pytest.raises(DatasetError, match=f'{path.name}.*({message})'):
            read(path)


@pytest.mark.parametrize('mode', ['RGB', 'palette', 'JPEG', 'green'])
def test_a_published_layout_refuses_pictures_that_are_no_ids(tmp_path, ids, rng, mode):
    write(tmp_path / 'train/1.png', rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    path = tmp_path / 'trainannot/1.png'
    drawn = np.where(ids == 255, 11, ids).astype(np.uint8)
    message = {
        'RGB': 'channels that differ',
        'palette': "in which 1 is the colour of 'Sky', whose id in camvid is 0",
        'JPEG': 'is stored as JPEG',
        'green': 'channels that differ',
    }[mode]
    if mode == 'RGB':
        write(path, SPACE.palette[ids])
    elif mode == 'palette':
        write_palette(path, drawn + 1, {c.id + 1: c.color for c in SPACE.classes})
    elif mode == 'JPEG':
        write(path, drawn, format='JPEG', quality=95)
    else:
        write(path, np.dstack([0 * drawn, drawn, 0 * drawn]))
    with pytest.raises(DatasetError, match=message):
        open_dataset('camvid', tmp_path, 'train', partial=True).read(0)


def test_ids_of_a_published_layout(tmp_path, ids):
    np.testing.assert_array_equal(read_ids(write(tmp_path / 'a.png', ids)), ids)
    red = np.dstack([ids, 0 * ids, 0 * ids])
    path = write(tmp_path / 'b.png', red)
    np.testing.assert_array_equal(read_ids(path, first_channel=True), ids)
    green = write(tmp_path / 'c.png', red[..., [1, 0, 2]])
    with pytest.raises(DatasetError, match='values in the green channel'):
        read_ids(green, first_channel=True)
