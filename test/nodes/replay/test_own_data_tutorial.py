"""The tutorial on own data, by its own file and commands: from twenty frames to a live node."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('lightning', reason='training needs lightning')

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.commands.cli import main
from sam_ad_perception.core.messages.from_ros import image_to_array, stamp_of
from sam_ad_perception.nodes.launch.model import PerceptionLaunch, parameter_files
from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, message_type
from test.pictures import draw_own_frames

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / 'docs' / 'tutorials' / 'own_training_data.md'
QUICK = {'schedule.max_minutes=2': 'schedule.steps=16'}
THREADS = {'evaluate': ['--threads', '1'], 'label': ['--threads', '1'], 'train': ['threads=1']}


def blocks(language: str) -> list[str]:
    """The page's blocks of code of one language."""
    found = re.findall(r'^```(\w*)\n(.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A folder in which every command of the page was run, but for the launch."""
    folder = tmp_path_factory.mktemp('tutorial')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_own_frames(folder / 'own', size=(240, 384))
        (told,) = blocks('yaml')
        Path(told.splitlines()[0].lstrip('# ')).write_text(told)
        assert main(['simulate', 'drive', '--duration', '0.4', '--workers', '1']) == 0
        lines = [line for block in blocks('') for line in block.splitlines()]
        commands = [shlex.split(line) for line in lines if line.startswith('sam_ad ')]
        assert [words[1] for words in commands] == [
            'prepare', 'train', 'evaluate', 'export', 'label',
        ]  # fmt: skip
        for words in commands:
            quick = [QUICK.get(word, word) for word in words[1:]]
            assert main([*quick, *THREADS.get(quick[0], [])]) == 0, words
    return folder


def test_the_network_learned_the_own_classes(folder):
    import csv

    with (folder / 'runs/data/validation.csv').open(newline='') as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last['miou']) > 0.3, last  # one class everywhere is 0.1


def test_the_live_node_gives_the_masks_of_label(folder, graph, start):
    (line,) = [
        line for block in blocks('') for line in block.splitlines() if line.startswith('ros2 ')
    ]
    words = shlex.split(line)
    assert words[:4] == ['ros2', 'launch', 'sam_ad_perception', 'segmentation.launch.py']
    given = dict(word.removeprefix('sam_ad_').split(':=') for word in words[4:])
    given['model'] = str(folder / given['model'])  # a launch begins where the user is
    names = ('segmentation.param.yaml', 'replay.param.yaml')
    files = parameter_files(
        'sam_ad_segmentation_params_file', ':'.join(str(ROOT / 'config' / n) for n in names)
    )
    (node,) = PerceptionLaunch(given, {'segmentation': files}).nodes('segmentation')
    ros = [word for file in node.files for word in ('--params-file', file)]
    ros += [word for pair in node.remappings for word in ('-r', ':='.join(pair))]
    for name, value in {**node.parameters, 'model.threads': 1}.items():
        ros += ['-p', f'{name}:={value}']
    masks, classes = {}, []
    image, info = message_type('sensor_msgs/msg/Image'), message_type('vision_msgs/msg/LabelInfo')
    graph.node.create_subscription(
        image, 'semantic/image', lambda m: masks.update({stamp_of(m): bytes(m.data)}), 50
    )
    graph.node.create_subscription(info, 'semantic/label_info', classes.append, LATCHED_QOS)
    start(node.executable, ros=ros)
    replay = start('replay_node', str(folder / 'drive'), '--lockstep', '--timeout=240')
    graph.until(lambda: not replay.running, 'the replay to end', 300.0)
    assert replay.process.returncode == 0, replay.output
    graph.until(lambda: classes, 'the label info')
    graph.spin(0.5)
    told = [(each.class_id, each.class_name) for each in classes[0].class_map]
    assert told == list(enumerate(['ground', 'sky', 'bush', 'cart', 'person']))
    with BagReader(folder / 'labelled') as reader:
        labelled = [reader.deserialize(m) for m in reader.messages(['/semantic/image'])]
    assert {stamp_of(m): bytes(m.data) for m in labelled} == masks
    assert len(masks) >= 4
    for message in labelled:
        assert set(np.unique(image_to_array(message)[0])) <= {*range(5), 255}
