"""Each published layout as a miniature tree, with the traps that it is known for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inputs.published_pictures import PrerenderedImage
from sam_ad_perception.modeling.inputs.representations import Rgb
from sam_ad_perception.modeling.inputs.thermal import ThermalPercentile
from training.datasets.catalog import LAYOUTS, layout_of, open_dataset
from training.datasets.cityscapes import LABEL_IDS
from training.datasets.deliver import CASES, CONDITIONS
from training.frames.frame import DatasetError, LabelledFrame, prepare_frame

SIZE = (24, 32)


def save(path: Path, array: np.ndarray) -> np.ndarray:
    """Write a picture as PIL does, which is not what the loaders read pictures with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


def colours(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def ids(rng: np.random.Generator, high: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return rng.integers(0, high, size, dtype=np.uint8)


def read(name: str, root: Path, split: str = 'train', index: int = 0) -> LabelledFrame:
    return open_dataset(name, root, split, partial=True).read(index)


def camera_of(frame: LabelledFrame) -> np.ndarray:
    return frame.bundle.frames[Modality.CAMERA].data


@pytest.mark.parametrize('name', LAYOUTS)
def test_published_counts_and_spaces_are_stated(name):
    layout = LAYOUTS[name]
    assert layout.space in LABEL_SPACES
    assert min(layout.published.values()) > 90
    assert not set(layout.published) & set(layout.withheld)


def test_cityscapes_label_ids_are_mapped_as_published(tmp_path, rng):
    names = ('aachen_000000_000019', 'bremen_000001_000019')
    for name in names:
        city = name.split('_')[0]
        picture = save(tmp_path / f'leftImg8bit/train/{city}/{name}_leftImg8bit.png', colours(rng))
        raw = save(tmp_path / f'gtFine/train/{city}/{name}_gtFine_labelIds.png', ids(rng, 34))
        save(tmp_path / f'gtFine/train/{city}/{name}_gtFine_color.png', colours(rng))
    data = open_dataset('cityscapes', tmp_path, 'train', partial=True)
    assert [files.name for files in data.frames] == list(names)
    frame = data.read(1)
    np.testing.assert_array_equal(camera_of(frame), picture)
    expected = np.full(SIZE, 255, np.uint8)
    for train_id, label_id in enumerate(LABEL_IDS):
        expected[raw == label_id] = train_id
    np.testing.assert_array_equal(frame.labels, expected)
    # what the data set's own script writes goes before it
    made = save(
        tmp_path / 'gtFine/train/bremen' / f'{name}_gtFine_labelTrainIds.png', ids(rng, 19)
    )
    np.testing.assert_array_equal(read('cityscapes', tmp_path, index=1).labels, made)
    with pytest.raises(DatasetError, match='never published'):
        open_dataset('cityscapes', tmp_path, 'test', partial=True)


def test_label_ids_of_cityscapes_are_known():
    published = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
    published |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert {label: train for train, label in enumerate(LABEL_IDS)} == published


@pytest.mark.parametrize('old', [False, True])
def test_bdd100k_has_two_layouts(tmp_path, rng, old):
    place = 'labels/sem_seg/train' if old else 'labels/sem_seg/masks/train'
    end = '_train_id.png' if old else '.png'
    picture = colours(rng)
    image = tmp_path / 'images/10k/train/0a0a0b1a-7c39d841.jpg'
    image.parent.mkdir(parents=True)
    cv2.imwrite(str(image), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    labels = save(tmp_path / place / f'0a0a0b1a-7c39d841{end}', ids(rng, 19))
    frame = read('bdd100k', tmp_path)
    np.testing.assert_array_equal(frame.labels, labels)
    np.testing.assert_array_equal(camera_of(frame), np.array(Image.open(image)))
    with pytest.raises(DatasetError, match='withheld'):
        open_dataset('bdd100k', tmp_path, 'test', partial=True)


def mfnet_tree(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    pictures = {}
    for name in ('00001D', '00002N', '00003D'):
        pictures[name] = rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8)
        save(root / 'images' / f'{name}.png', pictures[name])
        save(root / 'labels' / f'{name}.png', ids(rng, 9))
    (root / 'train.txt').write_text('00001D\n00001D_flip\n00002N\n\n')
    (root / 'test.txt').write_text('00003D\n')
    return pictures


def test_mfnet_takes_four_channels_apart_and_drops_mirrored_copies(tmp_path, rng):
    pictures = mfnet_tree(tmp_path, rng)
    data = open_dataset('mfnet', tmp_path, 'train', partial=True)
    assert [files.name for files in data.frames] == ['00001D', '00002N']
    frame = data.read(1)
    assert frame.condition == 'night'
    np.testing.assert_array_equal(camera_of(frame), pictures['00002N'][:, :, :3])
    thermal = frame.bundle.frames[Modality.THERMAL].data
    np.testing.assert_array_equal(thermal, pictures['00002N'][:, :, 3])
    assert [f.name for f in open_dataset('mfnet', tmp_path, 'test', partial=True).frames] == [
        '00003D'
    ]
    with pytest.raises(DatasetError, match='no frame of mfnet val'):
        open_dataset('mfnet', tmp_path, 'val', partial=True)


def test_recorded_mfnet_frames_are_seen_as_pil_sees_them(sample_data, tmp_path, rng):
    source = sample_data / 'rgbt' / 'mfnet_4ch'
    for name in ('01234N', '01477D'):
        picture = np.array(Image.open(source / f'{name}.png'))
        save(tmp_path / 'images' / f'{name}.png', picture)
        save(tmp_path / 'labels' / f'{name}.png', ids(rng, 9, (480, 640)))
    (tmp_path / 'val.txt').write_text('01234N\n01477D\n')
    frame = read('mfnet', tmp_path, 'val', 1)
    np.testing.assert_array_equal(camera_of(frame), picture[:, :, :3])
    forms = {'camera': Rgb(), 'thermal': ThermalPercentile()}
    prepared = prepare_frame(frame, forms, (480, 640))
    assert not prepared.missing
    # aligned pictures stay where they are: warping by the nominal view changes nothing
    raw = picture[:, :, 3].astype(np.float32)
    low, high = np.percentile(picture[::4, ::4, 3], (1, 99))
    expected = np.clip((raw - low) * (2 / (high - low)) - 1, -3, 3)
    np.testing.assert_allclose(prepared.inputs['thermal'][0], expected, atol=1e-4)


@pytest.mark.parametrize('folders', [('rgb', 'ther', 'labels'), ('visible', 'infrared', 'label')])
def test_mfnet_in_two_pictures(tmp_path, rng, folders):
    colour, thermal, labels = folders
    picture = save(tmp_path / colour / '00009N.png', colours(rng))
    grey = ids(rng, 256)
    save(tmp_path / thermal / '00009N.png', np.repeat(grey[:, :, None], 3, axis=2))
    truth = save(tmp_path / labels / '00009N.png', ids(rng, 9))
    (tmp_path / 'train.txt').write_text('00009N\n')
    frame = read('mfnet', tmp_path)
    np.testing.assert_array_equal(camera_of(frame), picture)
    np.testing.assert_array_equal(frame.bundle.frames[Modality.THERMAL].data, grey)
    np.testing.assert_array_equal(frame.labels, truth)


def test_a_test_frame_in_the_training_list_is_refused(tmp_path, rng):
    mfnet_tree(tmp_path, rng)
    (tmp_path / 'train.txt').write_text('00001D\n00003D\n')
    with pytest.raises(DatasetError, match=r'train\.txt and test\.txt share 1 frames'):
        open_dataset('mfnet', tmp_path, 'train', partial=True)


def test_fmb_with_and_without_background(tmp_path, rng):
    save(tmp_path / 'train/Visible/00001.png', colours(rng))
    grey = save(tmp_path / 'train/Infrared/00001.png', ids(rng, 256))
    raw = save(tmp_path / 'train/Label/00001.png', ids(rng, 15))
    with_background, without = read('fmb15', tmp_path), read('fmb14', tmp_path)
    np.testing.assert_array_equal(with_background.labels, raw)
    expected = np.where(raw == 0, 255, raw.astype(int) - 1)
    np.testing.assert_array_equal(without.labels, expected)
    np.testing.assert_array_equal(without.bundle.frames[Modality.THERMAL].data, grey)
    for name in ('fmb14', 'fmb15'):
        with pytest.raises(DatasetError, match='without a validation split'):
            open_dataset(name, tmp_path, 'val', partial=True)
        raw[0, 0] = 15
        save(tmp_path / 'train/Label/00001.png', raw)
        with pytest.raises(DatasetError, match=r'00001\.png has label ids \[15\]'):
            read(name, tmp_path)


def deliver_frame(root: Path, rng: np.random.Generator, place: str, event=SIZE) -> dict:
    paths = {
        'img': 'rgb',
        'depth': 'depth',
        'hha': 'depth',
        'event': 'event',
        'lidar': 'lidar',
        'semantic': 'semantic',
    }
    made = {}
    for folder, word in paths.items():
        size = event if folder == 'event' else SIZE
        picture = rng.integers(0, 256, (*size, 4), dtype=np.uint8)
        if folder == 'semantic':
            picture[:, :, 0] = ids(rng, 26)
            picture[0, :3, 0] = (0, 1, 255)
        made[folder] = save(root / folder / place / f'000050_{word}_front.png', picture)
    return made


def test_deliver_reads_hha_and_wraps_its_ids(tmp_path, rng):
    root = tmp_path / 'rainy_sunset'  # names of conditions above the root mean nothing
    made = deliver_frame(root, rng, 'fog/val/MAP_1_point2', event=(12, 16))
    frame = read('deliver', root, 'val')
    assert (frame.condition, frame.case) == ('fog', '')
    np.testing.assert_array_equal(camera_of(frame), made['img'][:, :, :3])
    depth = frame.bundle.frames[Modality.DEPTH].data
    np.testing.assert_array_equal(depth, made['hha'][:, :, :3])  # not depth/, without alpha
    event = frame.bundle.frames[Modality.EVENT].data
    np.testing.assert_array_equal(
        event, made['event'][:, :, :3].repeat(2, axis=0).repeat(2, axis=1)
    )
    raw = made['semantic'][:, :, 0].copy()
    raw[raw == 255] = 0
    raw -= 1  # as the published loader does it
    np.testing.assert_array_equal(frame.labels, raw)
    assert frame.labels[0, :3].tolist() == [255, 0, 255]
    with pytest.raises(DatasetError, match='no frame of deliver train'):
        open_dataset('deliver', root, 'train', partial=True)


@pytest.mark.parametrize('condition', CONDITIONS)
def test_deliver_names_condition_and_case_by_the_path(tmp_path, rng, condition):
    for case in CASES:
        deliver_frame(tmp_path, rng, f'{condition}/test/MAP_2_point7_{case}')
    data = open_dataset('deliver', tmp_path, 'test', partial=True)
    assert {f.condition for f in data.frames} == {condition}
    assert sorted(f.case for f in data.frames) == sorted(CASES)


def test_pictures_of_deliver_enter_a_network_as_its_loader_scales_them(tmp_path, rng):
    made = deliver_frame(tmp_path, rng, 'sun/train/MAP_1_point1')
    forms = {'camera': Rgb(), 'depth': PrerenderedImage(), 'lidar': PrerenderedImage(nearest=True)}
    prepared = prepare_frame(read('deliver', tmp_path), forms, SIZE)
    for name, folder in (('depth', 'hha'), ('lidar', 'lidar')):
        expected = made[folder][:, :, :3].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(prepared.inputs[name], expected, atol=1e-6)
    assert prepared.missing == {'event': 'the network has no input for it'}


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_mcubes_is_cut_and_scaled(tmp_path, rng, dtype):
    root, size, name = tmp_path / 'multimodal_dataset', (16, 232), 'outscene1208_2_0000000150'
    top = np.iinfo(dtype).max
    colour = rng.integers(0, top + 1, (*size, 3)).astype(dtype)
    (root / 'polL_color').mkdir(parents=True)
    cv2.imwrite(str(root / f'polL_color/{name}.png'), colour[:, :, ::-1])
    angle = rng.uniform(0, np.pi, size)
    arrays = {'aolp_sin': np.sin(2 * angle), 'aolp_cos': np.cos(2 * angle)}
    arrays['dolp'] = rng.random(size)
    for role, array in arrays.items():
        (root / f'polL_{role}').mkdir()
        np.save(root / f'polL_{role}/{name}.npy', array)
    infrared = save(root / f'NIR_warped/{name}.png', ids(rng, 256, size))
    labels = ids(rng, 20, size)
    labels[0, 200] = 255
    save(root / f'GT/{name}.png', labels)
    (root / 'list_folder').mkdir()
    (root / 'list_folder/test.txt').write_text(f'{name}\n')
    frame = read('mcubes', tmp_path, 'test')
    assert frame.bundle.camera.size == (16, 40)
    np.testing.assert_array_equal(frame.labels, labels[:, 192:])
    expected = np.rint(colour[:, 192:] / top * 255)
    np.testing.assert_allclose(camera_of(frame), expected, atol=1)
    forms = {
        'camera': Rgb(),
        'aolp': PrerenderedImage(),
        'dolp': PrerenderedImage(),
        'nir': PrerenderedImage(),
    }
    prepared = prepare_frame(frame, forms, (16, 40))
    sine, cosine, degree = (arrays[r][:, 192:] for r in ('aolp_sin', 'aolp_cos', 'dolp'))
    np.testing.assert_allclose(prepared.inputs['aolp'], [sine, cosine, sine], atol=1e-6)
    np.testing.assert_allclose(prepared.inputs['dolp'], [degree] * 3, atol=1e-6)
    np.testing.assert_allclose(prepared.inputs['nir'], [infrared[:, 192:] / 255] * 3, atol=1e-6)
    assert list(prepared.inputs) == list(forms)
    with pytest.raises(DatasetError, match='no frame of mcubes train'):
        open_dataset('mcubes', tmp_path, 'train', partial=True)


def camvid_tree(root: Path, rng: np.random.Generator, count: int = 3) -> None:
    for k in range(count):
        save(root / 'train' / f'0001TP_00{k}.png', colours(rng))
        save(root / 'trainannot' / f'0001TP_00{k}.png', ids(rng, 12))


def test_camvid_ignores_its_twelfth_class(tmp_path, rng):
    camvid_tree(tmp_path, rng)
    raw = np.array(Image.open(tmp_path / 'trainannot/0001TP_002.png'))
    frame = read('camvid', tmp_path, index=2)
    np.testing.assert_array_equal(frame.labels, np.where(raw == 11, 255, raw))


def test_ids_of_a_label_file_with_palette_are_read_not_its_colours(tmp_path, rng):
    camvid_tree(tmp_path, rng)
    path = tmp_path / 'trainannot/0001TP_000.png'
    raw = ids(rng, 11)
    image = Image.fromarray(raw).convert('P')
    image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.putdata(raw.ravel().tolist())
    image.save(path)
    assert Image.open(path).mode == 'P'
    np.testing.assert_array_equal(read('camvid', tmp_path).labels, raw)


def test_all_sample_frames_are_the_published_split(sample_data):
    for split, count in (('train', 367), ('val', 101)):
        data = open_dataset('camvid', sample_data / 'camvid', split)
        assert len(data) == count
        assert data.read(count - 1).bundle.camera.size == (360, 480)
    with pytest.raises(DatasetError, match='no frame of camvid test'):
        open_dataset('camvid', sample_data / 'camvid', 'test')


def test_a_split_that_is_not_whole_is_refused_unless_that_is_wanted(tmp_path, rng):
    camvid_tree(tmp_path, rng)
    with pytest.raises(DatasetError, match='has 3 frames, 367 were published'):
        open_dataset('camvid', tmp_path, 'train')
    (tmp_path / 'trainannot/0001TP_001.png').unlink()
    with pytest.raises(DatasetError, match=r'lacks 1 files, first .*0001TP_001\.png'):
        open_dataset('camvid', tmp_path, 'train')
    data = open_dataset('camvid', tmp_path, 'train', partial=True)
    assert [files.name for files in data.frames] == ['0001TP_000', '0001TP_002']


def test_more_frames_than_published_are_refused(tmp_path):
    image = Image.fromarray(np.zeros((1, 1), np.uint8))
    for folder in ('val', 'valannot'):
        (tmp_path / folder).mkdir()
        for k in range(102):
            image.save(tmp_path / folder / f'{k}.png')
    with pytest.raises(DatasetError, match='has 102 frames, 101 were published'):
        open_dataset('camvid', tmp_path, 'val', partial=True)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:40]), 'is damaged'),
        (lambda p: p.write_bytes(b''), 'is damaged'),
        (lambda p: save(p, np.full(SIZE, 200, np.uint8)), 'has label id 200'),
        (lambda p: save(p, np.zeros((4, 4), np.uint8)), r'labels must be \(24, 32\)'),
        (lambda p: save(p, np.zeros(SIZE, np.uint16)), 'has uint16 labels'),
    ],
)
def test_an_odd_label_file_is_named(tmp_path, rng, spoil, message):
    camvid_tree(tmp_path, rng)
    data = open_dataset('camvid', tmp_path, 'train', partial=True)
    spoil(tmp_path / 'trainannot/0001TP_001.png')
    with pytest.raises(DatasetError, match=f'0001TP_001.*{message}'):
        data.read(1)


def test_a_damaged_picture_is_named(tmp_path, rng):
    camvid_tree(tmp_path, rng)
    (tmp_path / 'train/0001TP_001.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'train/0001TP_001\.png is damaged'):
        read('camvid', tmp_path, index=1)


def test_unknown_names_and_folders_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="got 'kitti'"):
        layout_of('kitti')
    with pytest.raises(DatasetError, match="has no split 'all'; labelled splits are train, val"):
        open_dataset('camvid', tmp_path, 'all')
    with pytest.raises(DatasetError, match='is not a folder'):
        open_dataset('camvid', tmp_path / 'absent', 'train')
