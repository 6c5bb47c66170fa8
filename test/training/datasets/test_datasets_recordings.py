"""Labelled recordings, and that training sees of them what the vehicle sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter, read_note
from sam_ad_perception.commands import cli
from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.messages.from_ros import image_to_array, stamp_of
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record
from training import evaluate, prepare
from training.configuration.run import load_config
from training.datasets.catalog import open_dataset
from training.datasets.own.recordings import Recordings, find_bags
from training.frames.frame import DatasetError, prepare_frame
from training.runs.batches import open_frames
from training.runs.validation import validation_data

ROOT = Path(__file__).parents[3]
SENSORS = {Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR}


class Witness(ExpertNetwork):
    """Keeps what the vehicle's code gives to the network."""

    def __init__(self, spec: ModelSpec) -> None:
        torch.manual_seed(0)
        super().__init__(spec, build_model(spec))
        self.seen = []

    def run(self, items):
        self.seen += items
        return super().run(items)


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('simulated') / 'drive'
    with BagWriter(path) as writer:
        record(Drive(DriveConfig(seed=3, duration_s=0.4)), writer)
    return path


@pytest.fixture(scope='module')
def labelled(drive, tmp_path_factory):
    """The drive with masks of a network, without the simulator's truth, and what that got."""
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug']
    witness = Witness(spec)
    segmenter = Segmenter([witness], health=UNCHECKED)
    plain = tmp_path_factory.mktemp('plain') / 'drive'
    with BagReader(drive) as reader, BagWriter(plain) as writer:
        kept = [t for t in reader.topics if 'ground_truth' not in t.name]
        for topic in kept:
            writer.copy_topic(topic)
        for message in reader.messages([t.name for t in kept]):
            writer.copy(message)
    bag = tmp_path_factory.mktemp('labelled') / 'drive'
    label_bag(plain, bag, segmenter, segmenter.labels, options=LabelOptions())
    return bag, witness


def masks_of(bag: Path, topic: str) -> dict[int, np.ndarray]:
    with BagReader(bag) as reader:
        images = [reader.deserialize(m) for m in reader.messages([topic])]
    return {stamp_of(image): np.array(image_to_array(image)[0]) for image in images}


def test_training_sees_the_bits_that_the_vehicle_sees(labelled, tmp_path):
    bag, witness = labelled
    with pytest.raises(DatasetError, match='are predictions of a network'):
        open_dataset('recordings', bag, 'train', cache=tmp_path)
    data = open_dataset('recordings', bag, 'train', cache=tmp_path, pseudo_labels=True)
    frames = [data.read(k) for k in range(len(data))]
    assert all(frame.pseudo for frame in frames)
    masks = masks_of(bag, '/semantic/image')
    driven = witness.seen[-len(masks) :]  # what came before was the warm-up
    assert len(frames) == len(driven) == len(masks) >= 3
    inputs = set()
    for frame, seen in zip(frames, driven, strict=True):
        prepared = prepare_frame(frame, witness.spec.inputs, witness.spec.input_size)
        assert list(prepared.inputs) == list(seen.inputs)
        inputs |= set(prepared.inputs)
        for name, image in seen.inputs.items():
            assert prepared.inputs[name].tobytes() == image.tobytes(), name
        np.testing.assert_array_equal(frame.labels, masks[frame.bundle.stamp_ns])
    assert inputs == set(map(str, SENSORS))
    assert data.space.name == 'cityscapes'


def test_the_truth_of_a_simulated_bag_goes_before_masks(drive, tmp_path):
    data = open_dataset('recordings', drive, 'train', cache=tmp_path)
    truth = masks_of(drive, '/ground_truth/image')
    assert len(data) >= 3
    for k in range(len(data)):
        frame = data.read(k)
        np.testing.assert_array_equal(frame.labels, truth[frame.bundle.stamp_ns])
        assert frame.name == f'drive/{frame.bundle.stamp_ns}'


def test_a_simulated_folder_gives_training_the_bits_of_its_drives(tmp_path):
    out = tmp_path / 'drives'
    words = ['--seed', '5', '--duration', '0.3', '--condition', 'night', '--condition', 'fog']
    folder = ['--format', 'folder', '--drives', '2', '--val', '1', '--workers', '1']
    assert cli.main(['simulate', str(out), *words, *folder]) == 0
    drive = Drive(DriveConfig(seed=5, duration_s=0.3, condition='night'))
    data = open_dataset('recordings', out, 'train', cache=tmp_path)
    frames = [data.read(k) for k in range(len(data))]
    assert len(frames) >= 2
    for frame in frames:
        bundle = frame.bundle
        assert frame.name == f'seed_5_night/{bundle.stamp_ns}'
        np.testing.assert_array_equal(frame.labels, drive.truth(bundle.stamp_ns).labels)
        for sensor in (Modality.CAMERA, Modality.THERMAL):
            seen = bundle.frames[sensor]
            expected = drive.measure(sensor, seen.stamp_ns).data
            np.testing.assert_array_equal(seen.data, expected)
        sweep, cloud = bundle.frames[Modality.LIDAR], bundle.frames[Modality.LIDAR].data
        known = drive.measure(Modality.LIDAR, sweep.stamp_ns).data
        np.testing.assert_array_equal(cloud.points, known.points)
        np.testing.assert_array_equal(cloud.intensity, known.intensity)
        events = bundle.frames[Modality.EVENT].data
        first, last = int(events.t_ns[0]), int(events.t_ns[-1])
        every = drive.events_between(first // 10**7 * 10**7, last + 1)
        same = slice(len(every.x) - len(events.x), None)
        np.testing.assert_array_equal(events.x, every.x[same])
        np.testing.assert_array_equal(events.polarity, every.polarity[same])
    (held_back,) = {f.name.split('/')[0] for f in [open_dataset(
        'recordings', out, 'val', cache=tmp_path).read(0)]}  # fmt: skip
    assert held_back == 'seed_6_fog'
    assert cli.main(['simulate', str(out), *words, *folder]) == 2


def test_a_folder_of_label_images_goes_before_the_topics(drive, tmp_path, rng):
    bag = tmp_path / 'bags' / 'train' / 'drive'
    shutil.copytree(drive, bag)
    stamp = sorted(masks_of(drive, '/ground_truth/image'))[2]
    labels = rng.integers(0, 11, (400, 640), dtype=np.uint8)
    (bag / 'labels').mkdir()
    Image.fromarray(labels).save(bag / 'labels' / f'{stamp}.png')
    with pytest.raises(DatasetError, match='give label_space'):
        Recordings([bag], tmp_path)
    data = open_dataset(
        'recordings', tmp_path / 'bags', 'train', cache=tmp_path, label_space='camvid'
    )
    assert (len(data), data.space.name) == (1, 'camvid')
    np.testing.assert_array_equal(data.read(0).labels, labels)
    # a corrected label is noticed
    Image.fromarray(labels // 2).save(bag / 'labels' / f'{stamp}.png')
    again = Recordings([bag], tmp_path, 'camvid')
    np.testing.assert_array_equal(again.read(0).labels, labels // 2)
    Image.fromarray(labels + 100).save(bag / 'labels' / f'{stamp}.png')
    with pytest.raises(DatasetError, match='has label ids'):
        Recordings([bag], tmp_path, 'camvid')
    (bag / 'labels' / 'first.png').touch()
    with pytest.raises(DatasetError, match=r'first\.png is not named by its stamp'):
        Recordings([bag], tmp_path, 'camvid')


def test_bundles_are_made_once(drive, tmp_path):
    seen = []
    for _ in range(2):
        data = Recordings([drive], tmp_path, progress=lambda *done: seen.append(done))
        times = [file.stat().st_mtime_ns for file in data.files]
        assert len(times) == len(set(times)) == len(data)
        seen.append(times)
    assert seen[:2] == seen[2:]
    assert seen[0] == (1, 1)


def test_splits_of_recordings_are_folders(drive, labelled, tmp_path):
    for split, bag in (('train', drive), ('val', labelled[0])):
        (tmp_path / split).mkdir()
        (tmp_path / split / 'drive').symlink_to(bag)
    assert find_bags(tmp_path, 'val') == [tmp_path / 'val' / 'drive']
    with pytest.raises(DatasetError, match='holds no recording'):
        find_bags(tmp_path, 'test')
    with pytest.raises(DatasetError, match='all its recordings are for training'):
        find_bags(drive, 'val')
    with pytest.raises(DatasetError, match='does not exist'):
        find_bags(tmp_path / 'absent', 'train')


def test_a_bag_without_labels_is_refused(drive, tmp_path):
    with BagReader(drive) as reader, BagWriter(tmp_path / 'plain') as writer:
        kept = [t for t in reader.topics if t.name == '/tf_static']
        for topic in kept:
            writer.copy_topic(topic)
        for message in reader.messages(['/tf_static']):
            writer.copy(message)
    with pytest.raises(DatasetError, match='no folder labels/, no topic'):
        Recordings([tmp_path / 'plain'], tmp_path, 'cityscapes')
    with pytest.raises(DatasetError, match='label_space must be one of'):
        Recordings([drive], tmp_path, 'all')


def test_a_calibration_file_gives_what_a_recording_lacks(drive, tmp_path):
    bare = tmp_path / 'bare'
    with BagReader(drive) as reader, BagWriter(bare) as writer:
        kept = [t for t in reader.topics if t.name != '/camera/camera_info']
        for topic in kept:
            writer.copy_topic(topic)
        for message in reader.messages([t.name for t in kept]):
            writer.copy(message)
    alone = Recordings([bare], tmp_path).read(0).bundle  # a camera needs no lens of its own
    assert set(alone.frames) == {Modality.CAMERA}
    whole = Recordings([drive], tmp_path)
    camera = whole.read(0).bundle.camera
    written = {
        'frame_id': camera.frame_id,
        'width': camera.width,
        'height': camera.height,
        'K': camera.K.ravel().tolist(),
    }
    calibration = tmp_path / 'calibration.yaml'
    calibration.write_text(yaml.safe_dump({'cameras': {'camera': written}}))
    given = open_dataset('recordings', bare, 'train', cache=tmp_path, calibration=calibration)
    assert len(given) == len(whole)
    for k in range(len(whole)):
        one, other = whole.read(k).bundle, given.read(k).bundle
        np.testing.assert_array_equal(one.camera.K, other.camera.K)
        assert set(one.frames) == set(other.frames)
        for sensor, T in one.T_camera.items():
            np.testing.assert_array_equal(T, other.T_camera[sensor])
    with pytest.raises(DatasetError, match=r'absent\.yaml is not a file'):
        Recordings([bare], tmp_path, calibration=tmp_path / 'absent.yaml')


def draw_labels(drive: Path, bag: Path, tmp_path: Path, *, off) -> dict[int, np.ndarray]:
    """Copy a drive and put its truth into labels/, with other stamps."""
    truth = masks_of(drive, '/ground_truth/image')
    shutil.copytree(drive, bag)
    (bag / 'labels').mkdir()
    for number, (stamp, mask) in enumerate(truth.items()):
        Image.fromarray(mask).save(bag / 'labels' / f'{off(number, stamp)}.png')
    return truth


def test_labels_a_little_off_belong_to_their_frames_and_are_counted(drive, tmp_path, capsys):
    bag = tmp_path / 'bags/train/drive'
    truth = draw_labels(drive, bag, tmp_path, off=lambda k, stamp: stamp + (k % 3 > 0))
    data = Recordings([bag], tmp_path / 'cache', 'cityscapes')
    assert len(data) == len(Recordings([drive], tmp_path / 'cache'))
    for k in range(len(data)):
        frame = data.read(k)
        np.testing.assert_array_equal(frame.labels, truth[frame.bundle.stamp_ns])
    moved = sum(k % 3 > 0 for k in range(len(truth)))
    assert f'{moved} of {len(truth)} labels have another stamp than their frame, by 1 ns' in (
        data.reports[bag].moved
    )
    words = ['recordings', str(tmp_path / 'bags'), '--label-space', 'cityscapes', '--frames', '0']
    words += ['--cache', str(tmp_path / 'cache'), '--out', str(tmp_path / 'out')]
    assert prepare.main(words) == 0
    assert 'another stamp than their frame' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ('off', 'message'),
    [
        (lambda k, stamp: stamp + 30_000_000 * (k % 2), 'is 30000000 ns off the nearest frame'),
        (lambda k, stamp: stamp if k else stamp // 1000, 'names are in microseconds'),
        (lambda k, stamp: stamp if k else stamp + 10**12, 'have the stamp of no frame'),
    ],
)
def test_labels_of_no_frame_are_named_and_end_prepare_with_1(
    drive, tmp_path, capsys, off, message
):
    draw_labels(drive, tmp_path / 'bags/train/drive', tmp_path, off=off)
    words = ['recordings', str(tmp_path / 'bags'), '--label-space', 'cityscapes', '--frames', '0']
    words += ['--cache', str(tmp_path / 'cache'), '--out', str(tmp_path / 'out')]
    assert prepare.main(words) == 1
    said = ' '.join(capsys.readouterr().out.split())
    assert message in said
    assert 'nothing is odd' not in said


def test_one_label_that_is_refused_leaves_the_others(drive, tmp_path, capsys):
    bag = tmp_path / 'bags/train/drive'
    truth = draw_labels(drive, bag, tmp_path, off=lambda k, stamp: stamp)
    stamps = sorted(truth)
    bad = bag / 'labels' / f'{stamps[2]}.png'
    Image.fromarray(np.full((400, 640), 77, np.uint8)).save(bad)
    with pytest.raises(DatasetError, match=rf'{stamps[2]}\.png has label ids \[77\]'):
        Recordings([bag], tmp_path / 'cache', 'cityscapes')
    data = Recordings([bag], tmp_path / 'cache', 'cityscapes', skip_refused=True)
    assert len(data) == len(Recordings([drive], tmp_path / 'cache')) - 1
    words = ['recordings', str(tmp_path / 'bags'), '--label-space', 'cityscapes', '--frames', '0']
    words += ['--cache', str(tmp_path / 'cache'), '--out', str(tmp_path / 'out')]
    assert prepare.main(words) == 1
    assert f'{stamps[2]}.png has label ids [77]' in ' '.join(capsys.readouterr().out.split())


def test_the_cache_knows_label_space_options_and_damage(drive, tmp_path):
    bag = tmp_path / 'drive'
    draw_labels(drive, bag, tmp_path, off=lambda k, stamp: stamp)
    data = Recordings([bag], tmp_path / 'cache', 'cityscapes')
    assert max(data.read(k).labels[data.read(k).labels < 255].max() for k in range(len(data))) > 10
    with pytest.raises(DatasetError, match=r'has label ids .* camvid has 0 to 10'):
        Recordings([bag], tmp_path / 'cache', 'camvid')
    whole = data.read(1)
    content = bytearray(data.files[1].read_bytes())
    content[len(content) // 2] ^= 1
    for spoilt in (bytes(content), bytes(content[:100]), b''):
        data.files[1].write_bytes(spoilt)
        again = data.read(1)
        np.testing.assert_array_equal(again.labels, whole.labels)
        for sensor, frame in whole.bundle.frames.items():
            one, other = frame.data, again.bundle.frames[sensor].data
            if isinstance(one, np.ndarray):
                np.testing.assert_array_equal(one, other)
            elif sensor is Modality.LIDAR:
                np.testing.assert_array_equal(one.points, other.points)
                np.testing.assert_array_equal(one.time_offset_ns, other.time_offset_ns)


def test_predictions_never_pass_as_truth(labelled, tmp_path, capsys, monkeypatch):
    bag, _ = labelled
    for split in ('train', 'val'):
        (tmp_path / 'bags' / split).mkdir(parents=True)
        shutil.copytree(bag, tmp_path / 'bags' / split / 'drive')
    routing = tmp_path / 'routing.yaml'
    words = ['evaluate', 'debug', 'recordings', '--root', str(tmp_path / 'bags')]
    words += ['--zoo', str(ROOT / 'training/configs/debug_zoo.yaml'), '--routing', str(routing)]
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug']
    save_file(build_model(spec).state_dict(), tmp_path / 'debug.safetensors')
    words[1] = str(tmp_path / 'debug.safetensors')
    monkeypatch.setattr('sys.argv', words)
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    assert end.value.code == 2
    assert 'are predictions of a network, and nothing is measured' in capsys.readouterr().err
    assert not routing.exists()
    config = load_config(
        ROOT / 'training/configs/debug_camvid.yaml',
        [
            'model=debug', 'dataset=recordings', f'root={tmp_path}/bags', 'validation.steps=1',
            f'zoo={ROOT}/training/configs/debug_zoo.yaml', 'data.pseudo_labels=true',
            f'cache_dir={tmp_path}', f'output_dir={tmp_path}/run',
        ],
    )  # fmt: skip
    assert open_frames(spec, config, config.data).source.length >= 3
    with pytest.raises(DatasetError, match='are predictions'):
        open_frames(spec, config, validation_data(config))


@pytest.mark.parametrize('place', ['drive/label', 'drive/Masks', 'labels', 'drive_label'])
def test_a_folder_named_almost_like_labels_is_not_passed_over(drive, tmp_path, place):
    bag = tmp_path / 'drive'
    shutil.copytree(drive, bag)
    folder = tmp_path / place
    folder.mkdir()
    Image.fromarray(np.zeros((400, 640), np.uint8)).save(folder / '17.png')
    with pytest.raises(DatasetError, match='holds pictures, but labels of'):
        Recordings([bag], tmp_path / 'cache', 'cityscapes')


def test_labelling_again_keeps_what_people_drew(labelled, tmp_path):
    bag, witness = labelled
    out = tmp_path / 'drive'
    shutil.copytree(bag, out)
    (out / 'labels').mkdir()
    drawn = out / 'labels' / '17.png'
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(drawn)
    content = drawn.read_bytes()
    segmenter = Segmenter([witness], health=UNCHECKED)
    label_bag(
        bag, out, segmenter, segmenter.labels, options=LabelOptions(), overwrite=True, note='two'
    )
    assert drawn.read_bytes() == content
    assert read_note(out) == 'two'
