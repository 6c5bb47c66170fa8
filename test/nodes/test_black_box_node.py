"""The black box of a running vehicle: what it wrote gives the masks that the vehicle published."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.bags.black_box.episodes import read_episode
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands import cli
from sam_ad_perception.core.messages import from_ros

pytestmark = pytest.mark.ros

BEGIN_NS, MS, FRAMES, BLACK = 1_700_000_000_000_000_000, 1_000_000, 14, 8


def picture(number):
    """A street of blocks that moves, with a little noise: (48, 64, 3) uint8."""
    random = np.random.default_rng(7)
    blocks = random.integers(40, 220, (8, 24, 3)).repeat(6, axis=0).repeat(8, axis=1)
    noise = np.random.default_rng(number).normal(0, 2, (48, 64, 3))
    return np.clip(blocks[:, 2 * number : 2 * number + 64] + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Frames at 10 Hz of a camera, which is black from the eighth on, and a lidar."""
    from test.nodes.conftest import Sensors

    folder = tmp_path_factory.mktemp('blackening') / 'drive'
    random = np.random.default_rng(0)
    with BagWriter(folder) as writer:
        sensors = Sensors(writer.types)
        writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
        writer.add_topic('/camera/camera_info', 'sensor_msgs/msg/CameraInfo')
        writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
        writer.add_topic('/points', 'sensor_msgs/msg/PointCloud2')
        # Time runs for a while before the first picture: the recorder has to find who publishes.
        writer.write('/tf_static', sensors.places(), BEGIN_NS - 4000 * MS)
        for i in range(FRAMES):
            stamp = BEGIN_NS + i * 100 * MS
            sweep = stamp + int(random.integers(-8, 9)) * MS
            image = sensors.image('camera', stamp)
            image.data = picture(i).reshape(-1)  # pure noise counts as a broken camera
            if i >= BLACK:
                image.data = np.zeros_like(image.data)
            writer.write('/camera/camera_info', sensors.geometry('camera', stamp), stamp + 14 * MS)
            writer.write('/camera/image_rect', image, stamp + 15 * MS)
            writer.write('/points', sensors.cloud(sweep), stamp + 16 * MS)
    return folder


def masks_of(bag):
    with BagReader(bag) as reader:
        images = [reader.deserialize(m) for m in reader.messages(['/semantic/image'])]
    return {from_ros.stamp_of(image): bytes(image.data) for image in images}


def test_an_episode_gives_the_masks_of_the_vehicle_to_the_byte(
    start, graph, repository, tiny_model, drive, tmp_path, capsys
):
    files = ['segmentation.param.yaml', 'replay.param.yaml']
    params = [a for f in files for a in ('--params-file', str(repository / 'config' / f))]
    node = start('segmentation_node', ros=[*params, *tiny_model])
    folder = tmp_path / 'box'
    topics = ['camera/camera_info', 'camera/image_rect', 'points', '/tf_static', '/diagnostics']
    topics += ['semantic/status', 'semantic/image', 'semantic/label_info']
    options = ['--black-box', '--before', '60', '--after', '30', '--memory', '64', '--disk', '256']
    box = start('recorder_node', str(folder), *topics, *options, ros=['-p', 'use_sim_time:=true'])
    from std_srvs.srv import Trigger

    client = graph.node.create_client(Trigger, 'recorder/trigger')
    graph.until(client.service_is_ready, 'the recorder')
    # On a vehicle the drivers are there before the drive; the replay would begin with the node.
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

    kinds = {'camera/camera_info': 'CameraInfo', 'camera/image_rect': 'Image'}
    kinds['points'] = 'PointCloud2'
    drivers = [
        graph.node.create_publisher(message_type(f'sensor_msgs/msg/{kind}'), name, 10)
        for name, kind in kinds.items()
    ]
    graph.until(
        lambda: all(
            any(i.node_name == 'recorder' for i in graph.node.get_subscriptions_info_by_topic(n))
            for n in (*kinds, 'semantic/image', 'semantic/status')
        ),
        'the recorder to listen',
        120.0,
    )
    graph.until(lambda: 'configured' in node.output, 'the network', 120.0)
    graph.spin(1.0)
    process = start('replay_node', str(drive), '--lockstep', '--timeout=60')
    graph.until(lambda: not process.running, 'the replay to end', 180.0)
    assert process.process.returncode == 0, process.output + node.output + box.output
    assert len(drivers) == 3
    graph.spin(2.0)  # parameters are asked for once a second
    answer = graph.result(client.call_async(Trigger.Request()), 'an answer')
    assert answer.success
    code, _ = box.end()
    assert code == 0
    (bag,) = [each for each in folder.iterdir() if not each.name.startswith('.')]
    note = read_episode(bag)
    published = masks_of(bag)
    assert len(published) == FRAMES
    kinds = [each[0] for each in note.triggers]
    assert kinds == ['fallback', 'service'], box.output  # the camera went black, then we asked
    assert 'camera missing' in note.triggers[0][1]
    assert note.losses == []
    parameters = bag / 'parameters.yaml'
    told = yaml.safe_load(parameters.read_text())['segmentation']['ros__parameters']
    assert told['model.key'] == 'tiny'
    out = tmp_path / 'labelled'
    words = ['label', str(bag), '--out', str(out), '--params', str(parameters)]
    assert cli.main(words) == 0
    again = masks_of(out)
    assert set(again) == set(published)
    assert [stamp for stamp in published if again[stamp] != published[stamp]] == []
    with BagReader(out) as reader:
        used = [
            from_ros.status_from_message(reader.deserialize(m)).used
            for m in reader.messages(['/semantic/status'])
        ]
    assert used == [('camera', 'lidar')] * BLACK + [('lidar',)] * (FRAMES - BLACK)


def test_label_says_which_input_was_lost(drive, tmp_path, capsys, tiny_model):
    from sam_ad_perception.bags.black_box.recorder import BlackBox
    from sam_ad_perception.bags.black_box.triggers import Trigger

    box = BlackBox(tmp_path / 'box')
    with BagReader(drive) as reader:
        for topic in reader.topics:
            box.announce(topic.name, latched=topic.latched)
        for number, message in enumerate(reader.messages()):
            box.take(message)
            if number == 20:
                box.lose('/points', 4)
    assert box.trigger(Trigger('drop', 'no mask'), 0.0) == ''
    box.close()
    given = dict(each.split(':=') for each in tiny_model[1::2])
    words = ['--model', 'tiny', '--zoo', given['model.zoo'], '--threads', '1']
    words += ['--checkpoints', given['model.checkpoint_dir']]
    (bag,) = box.written
    assert cli.main(['label', str(bag), '--out', str(tmp_path / 'out'), *words]) == 0
    told = ' '.join(capsys.readouterr().err.split())
    assert 'written by a black box (drop: no mask)' in told
    assert '4 messages of /points did not reach the recorder' in told


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--black-box', '--on', 'crash'], '--on knows fault, fallback, drop, service, got crash'),
        (['--black-box', '--before', '0'], 'before_s must be more than 0, got 0.0'),
        ([], 'topics must be named'),
    ],
)
def test_wrong_options(start, options, words, tmp_path):
    process = start('recorder_node', str(tmp_path / 'box'), *options)
    code = process.process.wait(30)
    assert code in (1, 2)
    assert words in process.output
