"""Masks out to each format and back, read by others on the way: 100.00 % of the pixels."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages.labelled_cloud import read_labelled_points
from training.annotation.export import ExportOptions, export_labels
from training.annotation.formats import FORMATS, find_format
from training.annotation.run_lengths import (
    decode_brush,
    decode_coco,
    encode_brush,
    encode_coco,
    parse_coco_text,
)
from training.frames.frame import DatasetError

SPACE = LABEL_SPACES['cityscapes']
OTHERS = {
    'voc': 'voc_segmentation',
    'coco': 'coco_instances',
    'cvat': 'cvat',
    'cityscapes': 'cityscapes',
}


@pytest.fixture
def frames(rng):
    """Masks with all classes, void, a class of one pixel, and one frame that is all void."""
    made = {}
    for stamp_ns in (1_700_000_000_100_000_000, 12_000_000_345):
        coarse = rng.integers(0, 20, (7, 11), dtype=np.uint8)
        mask = np.kron(coarse, np.ones((6, 5), np.uint8))
        mask[mask == 19] = 255
        mask[3, 4] = (int(mask[3, 4]) + 1) % 19
        made[stamp_ns] = mask
    made[77] = np.full((42, 55), 255, np.uint8)
    return made


def write(name, folder, frames, space=SPACE):
    folder.mkdir()
    writer = FORMATS[name].writer(folder, space, 'drive_1')
    for stamp_ns, mask in frames.items():
        writer.add(stamp_ns, np.repeat(mask[:, :, None], 3, axis=2), mask)
    writer.finish()
    if name == 'labelstudio':
        submit(folder / 'tasks.json')


def submit(path):
    """Submit each task as it is, as a person does in Label Studio."""
    tasks = json.loads(path.read_text())
    for task in tasks:
        task['annotations'] = [{'result': task.pop('predictions')[0]['result']}]
    path.write_text(json.dumps(tasks))


def check_same(read, frames):
    assert sorted(read) == sorted(frames)
    for stamp_ns, mask in frames.items():
        np.testing.assert_array_equal(read[stamp_ns](), mask)


@pytest.mark.parametrize('name', FORMATS)
def test_out_and_back(name, frames, tmp_path):
    if name == 'labelstudio':
        frames.pop(77)  # a task without a brush is no answer, see below
    write(name, tmp_path / name, frames)
    found = find_format(tmp_path / name)
    assert found.name == name
    check_same(found.read(tmp_path / name, SPACE), frames)


@pytest.mark.parametrize('name', [n for n in FORMATS if n != 'cityscapes'])
def test_classes_of_ones_own(name, frames, tmp_path):
    space = label_space_from({'names': ['ground', 'Traffic_cone', 'tree-trunk']}, 'own', 'test')
    own = {s: np.where(m < 250, m % 3, m).astype(np.uint8) for s, m in frames.items() if s != 77}
    write(name, tmp_path / 'own', own, space)
    check_same(find_format(tmp_path / 'own').read(tmp_path / 'own', space), own)


def test_pictures_as_others_read_them(frames, tmp_path):
    """OpenCV and the palette of PIL, beside our reader."""
    for name in ('masks', 'voc', 'cityscapes'):
        write(name, tmp_path / name, frames)
    for stamp_ns, mask in frames.items():
        grey = cv2.imread(str(tmp_path / f'masks/masks/{stamp_ns}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(grey, mask)
        path = tmp_path / f'voc/SegmentationClass/{stamp_ns}.png'
        with Image.open(path) as image:
            assert image.mode == 'P'
            indices, palette = np.array(image), np.reshape(image.getpalette()[:60], (-1, 3))
        np.testing.assert_array_equal(indices, np.where(mask == 255, 255, mask + 1))
        np.testing.assert_array_equal(palette[1:20], SPACE.palette[:19])
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], SPACE.palette[mask])
        name = f'{stamp_ns // 10**9:06d}_{stamp_ns % 10**9:09d}_gtFine'
        found = {p.stem.split('_')[-1]: p for p in tmp_path.rglob(f'drive1_{name}_*.png')}
        assert sorted(found) == ['color', 'instanceIds', 'labelIds']
        drawn = cv2.imread(str(found['color']))[..., ::-1]
        np.testing.assert_array_equal(drawn, SPACE.palette[mask])
        ids = cv2.imread(str(found['labelIds']), cv2.IMREAD_UNCHANGED)
        # published: road 7, person 24, bicycle 33, unlabeled 0
        for label, published in ((0, 7), (11, 24), (18, 33), (255, 0)):
            assert (ids[mask == label] == published).all()
    lines = (tmp_path / 'voc/labelmap.txt').read_text().splitlines()
    assert lines[1:3] == ['background:0,0,0::', 'road:128,64,128::']


def test_coco_as_its_own_tools_read_it(frames, tmp_path):
    mask_tools = pytest.importorskip('pycocotools.mask')
    from pycocotools.coco import COCO

    write('coco', tmp_path / 'coco', frames)
    path = tmp_path / 'coco/annotations/instances_default.json'
    coco = COCO(str(path))
    for number, (stamp_ns, mask) in enumerate(frames.items(), 1):
        assert coco.imgs[number]['file_name'] == f'{stamp_ns}.png'
        drawn = np.full(mask.shape, 255, np.uint8)
        for each in coco.imgToAnns[number]:
            one = coco.annToMask(each)
            assert each['area'] == one.sum()
            box = mask_tools.toBbox(mask_tools.encode(np.asfortranarray(one)))
            assert each['bbox'] == box.tolist()
            drawn[one > 0] = each['category_id'] - 1
        np.testing.assert_array_equal(drawn, mask)
    content = json.loads(path.read_text())
    for each in content['annotations']:  # as its tools write them: text
        size = each['segmentation']['size']
        packed = mask_tools.frPyObjects(each['segmentation'], *size)
        each['segmentation'] = {'size': size, 'counts': packed['counts'].decode()}
    path.write_text(json.dumps(content))
    check_same(find_format(tmp_path / 'coco').read(tmp_path / 'coco', SPACE), frames)


def test_run_lengths_by_brute_force(rng):
    for _ in range(60):
        mask = rng.random((int(rng.integers(1, 12)), int(rng.integers(1, 90)))) < rng.random()
        counts, value, length = [], False, 0
        for bit in mask.T.reshape(-1):
            if bit != value:
                counts.append(length)
                value, length = bit, 0
            length += 1
        assert encode_coco(mask) == [*counts, length]
        np.testing.assert_array_equal(decode_coco(encode_coco(mask), mask.shape), mask)
        np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
    long = np.zeros((300, 400), bool)
    long[100:] = True  # runs longer than the stream can say at once
    np.testing.assert_array_equal(decode_brush(encode_brush(long), long.shape), long)


def test_the_brush_stream_is_that_of_rle_pack():
    """Bit by bit by hand: 32 bits of count, 5 of word, 4 sizes, one run of 4 zeros, one of 4."""
    stream = encode_brush(np.array([[False, True]]))
    bits = ''.join(f'{byte:08b}' for byte in stream)
    head = f'{8:032b}' + f'{7:05b}' + ''.join(f'{n:04b}' for n in (2, 3, 7, 15))
    runs = '1' + '00' + '011' + '00000000' + '1' + '00' + '011' + '11111111'
    assert bits.rstrip('0') == (head + runs).rstrip('0')
    # a stream with single values between runs, as its encoder writes them
    mixed = head + '0' + '00' + '111' + ('00000000' * 4 + '11111111' * 4)
    mixed += '0' * (-len(mixed) % 8)
    content = [int(mixed[k : k + 8], 2) for k in range(0, len(mixed), 8)]
    np.testing.assert_array_equal(decode_brush(content, (1, 2)), [[False, True]])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda s: s[:-3], 'the brush ends after'),
        (lambda s: [0, 0, 0, 9, *s[4:]], 'the brush has 9 values'),
    ],
)
def test_a_damaged_brush(change, words, rng):
    stream = encode_brush(rng.random((6, 9)) < 0.5)
    with pytest.raises(ValueError, match=words):
        decode_brush(change(stream), (6, 9))


def test_damaged_counts():
    with pytest.raises(ValueError, match='add up to 7, expected 6'):
        decode_coco([3, 4], (2, 3))
    with pytest.raises(ValueError, match='ends within a number'):
        parse_coco_text('1P')
    assert parse_coco_text('0101') == [0, 1, 0, 2]


def test_sweeps_as_the_official_loader_reads_them(labelled_drive, tmp_path):
    out = tmp_path / 'out'
    export_labels(labelled_drive, out, ExportOptions('masks', every=2))
    facts = yaml.safe_load((out / 'semantic-kitti.yaml').read_text())
    with BagReader(labelled_drive) as reader:
        clouds = [reader.deserialize(m) for m in reader.messages(['/semantic/points'])]
    written = sorted((out / 'sequences/00/velodyne').glob('*.bin'))
    assert len(written) >= 2
    for path in written:
        scan = np.fromfile(path, np.float32).reshape(-1, 4)
        raw = np.fromfile(out / f'sequences/00/labels/{path.stem}.label', np.uint32)
        assert (raw >> 16 == 0).all()
        learned = np.array([facts['learning_map'][int(k)] for k in raw & 0xFFFF])
        (cloud,) = [
            c
            for c in clouds
            if c.header.stamp.sec * 10**9 + c.header.stamp.nanosec == int(path.stem)
        ]
        points, labels = read_labelled_points(cloud)
        np.testing.assert_array_equal(scan[:, :3], points)
        assert scan[:, 3].max() > 0
        np.testing.assert_array_equal(learned, np.where(labels == 255, 0, labels.astype(int) + 1))
    assert facts['labels'][1] == 'road'
    assert facts['color_map'][1] == [128, 64, 128][::-1]


def test_datumaro_reads_and_writes_the_same(frames, tmp_path):
    """In an interpreter of its own, whose OpenCV and Pillow are older than ours."""
    python = os.environ.get('DATUMARO_PYTHON')
    if not python:
        pytest.skip('DATUMARO_PYTHON names no interpreter that has datumaro')
    frames.pop(77)  # of a frame without a mask it has no size
    script = Path(__file__).with_name('datumaro_reader.py')
    names = json.dumps(SPACE.names)
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    for name, kind in OTHERS.items():
        folder, again, seen = (tmp_path / f'{name}{end}' for end in ('', '_again', '.npz'))
        write(name, folder, frames)
        command = [python, str(script), kind, str(folder), str(seen), str(again), names]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        with np.load(seen) as read:
            assert len(read.files) == len(frames), name
            for stamp_ns, mask in frames.items():
                end = f'_{stamp_ns % 10**9:09d}' if name == 'cityscapes' else str(stamp_ns)
                (key,) = [key for key in read.files if key.endswith(end)]
                np.testing.assert_array_equal(read[key], mask, err_msg=name)
        back = find_format(again, name).read(again, SPACE)
        check_same(back, frames)


def test_what_a_format_cannot_hold(frames, tmp_path):
    camvid = LABEL_SPACES['camvid']
    (tmp_path / 'a').mkdir()
    with pytest.raises(DatasetError, match='holds the 19 classes of Cityscapes alone'):
        FORMATS['cityscapes'].writer(tmp_path / 'a', camvid, 'x')
    write('cvat', tmp_path / 'cvat', frames)
    path = tmp_path / 'cvat/annotations.xml'
    tree = ET.parse(path)
    image = tree.getroot().find('image')
    ET.SubElement(image, 'box', {'label': 'car', 'xtl': '1', 'ytl': '1', 'xbr': '5', 'ybr': '5'})
    tree.write(path)
    masks = find_format(tmp_path / 'cvat').read(tmp_path / 'cvat', SPACE)
    with pytest.raises(DatasetError, match='a box is no mask'):
        masks[1_700_000_000_100_000_000]()
    write('labelstudio', tmp_path / 'ls', frames)
    masks = find_format(tmp_path / 'ls').read(tmp_path / 'ls', SPACE)
    with pytest.raises(DatasetError, match='has nothing drawn'):
        masks[77]()
    tasks = json.loads((tmp_path / 'ls/tasks.json').read_text())
    for task in tasks:
        task['predictions'] = task.pop('annotations')
    (tmp_path / 'ls/tasks.json').write_text(json.dumps(tasks))
    with pytest.raises(DatasetError, match='predictions are not truth'):
        find_format(tmp_path / 'ls').read(tmp_path / 'ls', SPACE)


def test_a_polygon_is_filled(frames, tmp_path):
    write('cvat', tmp_path / 'cvat', frames)
    path = tmp_path / 'cvat/annotations.xml'
    tree = ET.parse(path)
    image = tree.getroot().find('image')
    points = '10.0,10.0;20.0,10.0;20.0,30.0;10.0,30.0'
    polygon = {'label': 'Traffic_Light', 'points': points, 'z_order': '3'}
    ET.SubElement(image, 'polygon', polygon)
    tree.write(path)
    expected = frames[1_700_000_000_100_000_000].copy()
    expected[10:30, 10:20] = SPACE.id_of('traffic light')
    read = find_format(tmp_path / 'cvat').read(tmp_path / 'cvat', SPACE)
    np.testing.assert_array_equal(read[1_700_000_000_100_000_000](), expected)
