"""Labelled recordings, and that training sees of them what the vehicle sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sam_ad_perception import cli
from sam_ad_perception.bags.labelling import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.conversions import image_to_array, stamp_of
from sam_ad_perception.core.health_config import UNCHECKED
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.expert_network import ExpertNetwork
from sam_ad_perception.modeling.segmenter import Segmenter
from sam_ad_perception.modeling.zoo import ModelSpec, build_model, load_zoo
from sam_ad_perception.simulation.drive import Drive, DriveConfig
from sam_ad_perception.simulation.recording import record
from training.datasets.catalog import open_dataset
from training.datasets.frames import DatasetError, prepare_frame
from training.datasets.recordings import Recordings, find_bags

ROOT = Path(__file__).parents[2]
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
    data = open_dataset('recordings', bag, 'train', cache=tmp_path)
    frames = [data.read(k) for k in range(len(data))]
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
    with pytest.raises(DatasetError, match='has no CameraInfo'):
        Recordings([bare], tmp_path)
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
