"""Own folders and own classes: from a YAML file to masks of a recording, with one file between."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands import cli
from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.core.labels import LABEL_SPACES, mapping
from sam_ad_perception.core.messages.from_ros import image_to_array, status_from_message
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.modeling.zoo.packed import pack_entry, read_entries
from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig
from sam_ad_perception.nodes.segmentation.model_loading import load_model
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record
from test.pictures import OWN_SIZE, draw_own_frames
from training.datasets.catalog import open_dataset
from training.datasets.own.data_file import read_data_file
from training.datasets.own.folders import named_sensors
from training.frames.frame import DatasetError
from training.networks.checkpoint import export_weights
from training.networks.start import entry_metadata, keep_inputs
from training.networks.transfer import fit_state, read_state

ROOT = Path(__file__).parents[2]
ZOO = ROOT / 'training/configs/debug_zoo.yaml'
NAMES = ['ground', 'sky', 'bush', 'cart', 'person']


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A small network of Cityscapes' classes in one file, as somebody may have it."""
    spec = load_zoo(ZOO)['debug']
    torch.manual_seed(0)
    path = tmp_path / 'start.safetensors'
    metadata = pack_entry(read_entries(ZOO)['debug'], 'debug', spec.labels)
    export_weights(build_model(spec).state_dict(), path, metadata=metadata)
    return path


def test_from_twenty_frames_to_masks_of_a_recording(tmp_path, start, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_own_frames(tmp_path / 'own')
    file = tmp_path / 'own/data.yaml'
    file.write_text(f'names: {NAMES}\ncolours: {{cart: "#ff0000"}}\nstart: {start}\n')
    assert cli.main(['prepare', str(file), '--out', 'prepared', '--frames', '2']) == 0
    assert 'nothing is missing' in capsys.readouterr().out
    more = ['schedule.steps=60', 'threads=1', 'optimizer.lr=3.0e-3', 'output_dir=run']
    more += ['machine.accelerator=cpu', 'augmentation={vary: false, scales: [1.0, 1.0]}']
    assert cli.main(['train', str(file), *more]) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'are kept' in said
    assert 'are new: fusion.gates.0.input.weight (8, 8) to (8, 2), ' in said, said
    assert 'validation mIoU' in said
    words = ['run', str(file), '--subsets', 'full', '--threads', '1', '--out', 'figures']
    assert cli.main(['evaluate', *words, '--routing', 'table.yaml']) == 0
    table = yaml.safe_load(Path('table.yaml').read_text())
    assert table['classes'] == NAMES
    assert table['rows'][0]['miou'] > 25  # one class everywhere is 10
    assert cli.main(['export', 'run', '--out', 'out', '--name', 'mine']) == 0
    one = tmp_path / 'vehicle.safetensors'
    Path('out/checkpoints/mine.safetensors').rename(one)  # alone, wherever it lies
    with BagWriter(tmp_path / 'drive') as writer:
        record(Drive(DriveConfig(seed=3, duration_s=0.2)), writer)
    assert cli.main(['label', 'drive', '--out', 'labelled', '--model', str(one)]) == 0
    with BagReader(tmp_path / 'labelled') as reader:
        info = next(iter(reader.messages(['/semantic/label_info'])))
        classes = reader.deserialize(info).class_map
        assert [(c.class_id, c.class_name) for c in classes] == list(enumerate(NAMES))
        for message in reader.messages(['/semantic/image']):
            mask = image_to_array(reader.deserialize(message))[0]
            assert set(np.unique(mask)) <= {*range(5), 255}
    loaded = load_model(SegmentationConfig(model=ModelConfig(key=str(one))), lambda text: None)
    assert loaded.labels.names == tuple(NAMES)
    # the pictures are all that was learned from, though the drive has four sensors
    (expert,) = Segmenter.from_pretrained(one).experts.values()
    assert tuple(expert.spec.inputs) == ('camera',)
    with BagReader(tmp_path / 'labelled') as reader:
        for message in reader.messages(['/semantic/status']):
            assert status_from_message(reader.deserialize(message)).used == ('camera',)
    assert loaded.labels.classes[3].color == (255, 0, 0)
    picture = np.array(Image.open('own/images/019.png'))
    truth = np.array(Image.open('own/masks/019.png'))
    answer = Segmenter.from_pretrained(one)(camera=picture).mask
    assert (answer == truth)[truth < 255].mean() > 0.5


def test_an_export_is_found_relative_to_itself(tmp_path, start):
    assert cli.main(['export', str(start), '--out', str(tmp_path / 'out'), '--name', 'mine']) == 0
    for name in (tmp_path / 'out', tmp_path / 'out/zoo.yaml'):
        loaded = Segmenter.from_pretrained(name)
        assert list(loaded.experts) == ['mine']
    model = ModelConfig(key='mine', zoo=str(tmp_path / 'out/zoo.yaml'))
    assert (
        load_model(SegmentationConfig(model=model), lambda text: None).labels.name == 'cityscapes'
    )


def test_graphs_of_earlier_weights_go_and_other_entries_stay(tmp_path, start, capsys):
    out = tmp_path / 'out'
    words = ['export', str(start), '--out', str(out), '--name', 'first']
    assert cli.main([*words, '--sensors', 'camera']) == 0
    graph = out / 'onnx/first.camera.onnx'
    import onnx

    props = {p.key: p.value for p in onnx.load(graph).metadata_props}
    assert json.loads(props['label_space'])['names'] == list(LABEL_SPACES['cityscapes'].names)
    assert props['weights_sha256'] == load_zoo(out / 'zoo.yaml')['first'].checkpoint.sha256
    assert cli.main(['export', str(start), '--out', str(out), '--name', 'second']) == 0
    assert graph.exists()
    assert list(load_zoo(out / 'zoo.yaml')) == ['first', 'second']
    assert cli.main(words) == 0
    assert not graph.exists()
    assert 'is of earlier weights and was removed' in ' '.join(capsys.readouterr().out.split())


def test_weights_of_others_are_recognised(tmp_path):
    spec = load_zoo(ZOO)['debug']
    torch.manual_seed(1)
    network, other = build_model(spec), build_model(spec)
    state = other.state_dict()
    for number, (holder, prefix) in enumerate(
        [('', 'module.'), ('state_dict', 'model._orig_mod.'), ('model', 'network.'), ('', '')]
    ):
        named = {f'{prefix}{name}': tensor for name, tensor in state.items()}
        path = tmp_path / f'{number}.ckpt'
        torch.save({holder: named, 'epoch': 3} if holder else named, path)
        report = fit_state(network, read_state(path), str(path))
        assert report.share == 1.0
        assert not report.fresh
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name])
            tensor.zero_()
    save_file({'a': torch.zeros(3)}, tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match='is of another network'):
        fit_state(network, read_state(tmp_path / 'a.safetensors'), 'a')
    (tmp_path / 'b.pt').write_bytes(b'no weights')
    with pytest.raises(CheckpointError, match='is not a file of weights'):
        read_state(tmp_path / 'b.pt')


def test_a_file_of_own_data_is_refused_by_field(tmp_path):
    draw_own_frames(tmp_path, 4)
    for text, message in (
        ('nmes: [a]', "unknown field 'nmes', did you mean 'names'"),
        ('camera: images', r"lacks \['names'\]"),
        ('names: [a, a]', 'a class name is given twice'),
        ('names: [a, b]\ncolours: {c: [1, 2, 3]}', r"colours name \['c'\]"),
        ('names: [a]\npath: nowhere', 'nowhere is not a folder'),
        ('names: [a, b]\nignore: 0', 'ignore id 0 must be a free uint8'),
    ):
        (tmp_path / 'data.yaml').write_text(text)
        with pytest.raises(DatasetError, match=message):
            read_data_file(tmp_path / 'data.yaml')
    for text, message in (
        (f'names: {NAMES}\nthermal: ther', 'thermal: .* finds no file'),
        (f'names: {NAMES}\ntrain: nothing/', "'nothing/' finds no frame"),
        (f'names: {NAMES}\ntrain: images/\nval: images/00*', 'train and val share 4 frames'),
        ('names: [a, b]', r'masks/000\.png has label ids \[2, 3, 4\]'),
    ):
        (tmp_path / 'data.yaml').write_text(text)
        with pytest.raises(DatasetError, match=message):
            open_dataset('folders', tmp_path / 'data.yaml', 'train', cache=tmp_path).read(0)


def test_recordings_of_one_split_say_that_another_has_none(tmp_path):
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag/bag.mcap').touch()
    (tmp_path / 'data.yaml').write_text('names: [a, b]\ntrain: bag\n')
    with pytest.raises(DatasetError, match='names recordings, but none of val: add `val: FOLDER`'):
        open_dataset('folders', tmp_path / 'data.yaml', 'val', cache=tmp_path)


def test_splits_are_folders_lists_shares_and_drives(tmp_path):
    for drive in ('a', 'b', 'c'):
        draw_own_frames(tmp_path, 4, f'drive_{drive}')
    head = f'names: {NAMES}\ncamera: drive_*/images/*.png\nlabels: drive_*/masks/*.png\n'
    (tmp_path / 'some.txt').write_bytes(b'\xef\xbb\xbfa/000\r\nb/001\r\n')
    for text, train, val in (
        ('', 8, 4),
        ('val: 0.5', 4, 8),
        ('val: [drive_b]', 8, 4),
        ('train: some.txt\nval: drive_c/images/*2.png', 2, 1),
    ):
        (tmp_path / 'data.yaml').write_text(head + text)
        data = {s: open_dataset('folders', tmp_path / 'data.yaml', s) for s in ('train', 'val')}
        assert (len(data['train']), len(data['val'])) == (train, val), text
        drives = [{f.name.split('/')[0] for f in data[s].frames} for s in ('train', 'val')]
        assert text.startswith('train') or not drives[0] & drives[1]
    (tmp_path / 'some.txt').write_text('a/000.png\n')
    with pytest.raises(DatasetError, match=r"'a/000\.png'; names are without '\.png'"):
        open_dataset('folders', tmp_path / 'data.yaml', 'train')


def test_every_sensor_of_a_folder_arrives(tmp_path, rng, capsys):
    draw_own_frames(tmp_path, 4)
    thermal = rng.integers(20000, 30000, OWN_SIZE, dtype=np.uint16)
    depth = rng.integers(0, 40000, OWN_SIZE, dtype=np.uint16)
    cloud = rng.uniform(-5, 5, (50, 4)).astype(np.float32)
    cloud[3] = np.nan
    for k in range(4):
        for folder in ('thermal', 'depth', 'lidar'):
            (tmp_path / folder).mkdir(exist_ok=True)
        if k != 2:
            cv2.imwrite(str(tmp_path / f'thermal/{k:03d}.png'), thermal)
        cv2.imwrite(str(tmp_path / f'depth/{k:03d}.png'), depth)
        np.save(tmp_path / f'lidar/{k:03d}.npy', cloud)
    camera = {'frame_id': 'camera', 'width': OWN_SIZE[1], 'height': OWN_SIZE[0],
              'K': [80.0, 0.0, 47.5, 0.0, 80.0, 29.5, 0.0, 0.0, 1.0]}  # fmt: skip
    link = {'parent': 'camera', 'child': 'lidar', 'translation': [0.1, 0.2, 0.3],
            'rotation': [0.0, 0.0, 0.0, 1.0]}  # fmt: skip
    text = f'names: {NAMES}\nthermal: thermal\ndepth: depth\nlidar: lidar\nval: 0.25\n'
    (tmp_path / 'data.yaml').write_text(text)
    with pytest.raises(DatasetError, match='clouds need `calibration`'):
        open_dataset('folders', tmp_path / 'data.yaml', 'train').read(0)
    (tmp_path / 'rig.yaml').write_text(
        yaml.safe_dump({'cameras': {'camera': camera}, 'transforms': [link]})
    )
    (tmp_path / 'data.yaml').write_text(text + 'calibration: rig.yaml\n')
    data = open_dataset('folders', tmp_path / 'data.yaml', 'train')
    bundle = data.read(0).bundle
    np.testing.assert_array_equal(bundle.frames[Modality.THERMAL].data, thermal)
    metres = bundle.frames[Modality.DEPTH].data
    np.testing.assert_allclose(metres[depth > 0], depth[depth > 0] / 1000, rtol=1e-6)
    assert np.isnan(metres[depth == 0]).all()
    assert len(bundle.frames[Modality.LIDAR].data.points) == 49
    np.testing.assert_allclose(bundle.T_camera[Modality.LIDAR][:3, 3], [0.1, 0.2, 0.3])
    assert Modality.THERMAL not in data.read(2).bundle.frames
    (tmp_path / 'masks/001.png').unlink()
    assert cli.main(['prepare', str(tmp_path / 'data.yaml'), '--out', str(tmp_path / 'p')]) == 1
    said = ' '.join(capsys.readouterr().out.split())
    assert '1 lack a file, first 001' in said
    assert 'masks/001.png is missing' in said
    assert 'train: 1 of 2 frames are without thermal, first 002' in said
    cv2.imwrite(str(tmp_path / 'depth/000.png'), np.zeros_like(depth))  # no distance is known
    assert cli.main(['prepare', str(tmp_path / 'data.yaml'), '--out', str(tmp_path / 'p')]) == 1
    said = ' '.join(capsys.readouterr().out.split())
    assert '000: depth has one value everywhere, or none' in said


def test_own_classes_relate_by_name_and_alias():
    own = label_space_from(
        {'names': ['Road', 'human', 'tower'], 'aliases': {'person': 'human'}}, 'own', 'own'
    )
    table = mapping(LABEL_SPACES['cityscapes'], own)
    city = LABEL_SPACES['cityscapes']
    assert table[city.id_of('road')] == 0
    assert table[city.id_of('person')] == 1
    assert table[city.id_of('car')] == 255
    back = mapping(own, city)
    assert back[:3].tolist() == [city.id_of('road'), city.id_of('person'), 255]


@pytest.mark.ros
def test_a_wheel_trains(tmp_path):
    """The folder lies in the wheel under a name of its own, and knows itself as `training`."""
    import subprocess
    import sys

    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q']
    subprocess.run([*command, '-w', str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / 'site')
    assert 'sam_ad_training/train.py' in names
    assert 'sam_ad_training/configs/debug_zoo.yaml' in names
    assert not any(name.startswith('training/') for name in names)
    script = (
        'from sam_ad_perception.commands.training import load_training; load_training()\n'
        'import training.train; print(training.train.__file__)'
    )
    site = tmp_path / 'site'
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={'PYTHONPATH': str(site), 'PATH': ''},
    )  # fmt: skip
    assert done.stdout.strip() == str(site / 'sam_ad_training/train.py')


def test_a_network_keeps_the_sensors_that_are_named(tmp_path):
    spec = load_zoo(ROOT / 'models/zoo.yaml')['mle_sam_fast']
    kept = keep_inputs(spec, ('camera', 'lidar'))
    assert list(kept.inputs) == ['camera', 'lidar']
    assert {frozenset(row.subset) for row in kept.temperatures} <= {
        frozenset(each) for each in (('camera',), ('lidar',), ('camera', 'lidar'))
    }
    entry = json.loads(entry_metadata(kept)['sam_ad_perception'])['models']['mle_sam_fast']
    assert list(entry['modalities']) == ['camera', 'lidar']
    with pytest.raises(
        ValueError, match=r"sensors names \['sonar'\], mle_sam_fast has \['camera'"
    ):
        keep_inputs(spec, ('camera', 'sonar'))
    needs = load_zoo(ROOT / 'models/zoo.yaml')['fusion_sam_small']
    with pytest.raises(ValueError, match=r"fusion_sam_small needs \['thermal'\]"):
        keep_inputs(needs, ('camera',))


def test_folders_name_their_sensors_and_recordings_bring_what_is_in_them(tmp_path):
    draw_own_frames(tmp_path, 2)
    with BagWriter(tmp_path / 'drive') as writer:
        writer.add_topic('/clock', 'rosgraph_msgs/msg/Clock')
    file = tmp_path / 'data.yaml'
    known = ['camera', 'thermal', 'event', 'lidar']
    for words, expected in (
        ('', ['camera']),
        ('thermal: images\n', ['camera', 'thermal']),
        ('train: [drive]\n', known),
        ('train: [drive, images]\n', ['camera']),
    ):
        file.write_text(f'names: {NAMES}\n{words}')
        assert named_sensors(read_data_file(file), known) == expected, words
    with pytest.raises(DatasetError, match=r"has \['camera'\], the network to start from"):
        named_sensors(read_data_file(file), ['lidar'])
