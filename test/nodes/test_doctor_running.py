"""`sam_ad doctor` beside a node that runs: renamed, remapped, with parameters of its own."""

from __future__ import annotations

import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.commands.doctor.running import Entry, RunningNode, judge_node
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def told(graph, vehicle_type, start, tiny_model, ros_domain):
    """What the doctor says of a node called `eyes` that listens to other topics."""
    ros = [*tiny_model, '-p', 'autostart:=true', '-p', 'bundler.sync.deadline_s:=0.08']
    ros += ['-p', 'diagnostics_period_s:=0.5', '-r', '__node:=eyes', '-r', '__ns:=/car']
    for topic in ('camera/image_rect', 'camera/camera_info'):
        ros += ['-r', f'{topic}:=/rig/{topic.rpartition("/")[2]}']
    eyes = start('segmentation_node', ros=ros)
    sensors = vehicle_type(graph, {})
    node = graph.node
    image, info = (message_type(f'sensor_msgs/msg/{kind}') for kind in ('Image', 'CameraInfo'))
    camera = node.create_publisher(image, '/rig/image_rect', 5)
    geometry = node.create_publisher(info, '/rig/camera_info', 5)
    # a second program uses the thermal topic for messages of another type
    node.create_publisher(image, '/car/thermal/image_rect', 5)
    other = type(graph)(ros_domain)  # one participant cannot hold both
    other.node.create_publisher(info, '/car/thermal/image_rect', 5)
    masks = []
    node.create_subscription(image, '/car/semantic/image', masks.append, 5)

    def publish() -> None:
        now_ns = time.time_ns()
        geometry.publish(sensors.geometry('camera', now_ns))
        camera.publish(sensors.image('camera', now_ns))
        graph.spin(0.05)

    end = time.monotonic() + 120
    while not masks:
        assert eyes.running, eyes.output
        assert time.monotonic() < end, eyes.output
        publish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('COLUMNS', '240')
        doctor = start('doctor', '--seconds', '4')
    end = time.monotonic() + 240
    while doctor.running:
        assert time.monotonic() < end, doctor.output
        publish()
    other.close()
    return [' '.join(line.split()) for line in doctor.output.splitlines()]


def line_with(told: list[str], *words: str) -> str:
    lines = [line for line in told if all(word in line for word in words)]
    assert len(lines) == 1, '\n'.join(told)
    return lines[0]


def test_the_topics_are_those_that_the_node_listens_to(told):
    line = line_with(told, '/rig/image_rect:', 'old on arrival')
    assert line.startswith('ok camera')
    other = [line for line in told if '/camera/image_rect' in line]
    assert all('not read' in line for line in other), other
    assert not [line for line in told if 'QoS' in line and '/rig/' in line]
    line_with(told, 'off event', 'nobody publishes /car/events')


def test_state_masks_and_last_status_of_the_node_are_told(told):
    line = line_with(told, '/car/eyes is active')
    assert 'tiny on camera' in line
    assert 'masks/s' in line
    line_with(told, 'ok network', '/car/eyes, network: tiny on cpu')
    line_with(told, 'ok nodes', 'eyes in this ROS domain')


def test_parameters_that_were_set_are_named(told):
    line = line_with(told, 'parameters', '/car/eyes: ')
    assert "model.key: 'tiny'" in line
    assert 'health' not in line
    assert any('bundler.sync.deadline_s: 0.08' in line for line in told)  # may be wrapped


def test_two_types_on_one_topic_are_told(told):
    line = line_with(told, 'FAIL types', '/car/thermal/image_rect has 2 types')
    assert 'sensor_msgs/msg/CameraInfo' in line
    assert 'observer (sensor_msgs/msg/Image)' in line


def test_each_view_has_its_own_topics():
    topic = {'topic': '/f/image', 'topic/compressed': '/f/image/compressed'}
    entries = {
        'front/output': Entry(0, 'm', {'state': 'active'}),
        'front/camera': Entry(0, 'OK', topic),
        'front/camera_info/camera': Entry(0, 'OK', {'topic': '/f/info'}),
        'left/output': Entry(2, 'no mask: black', {'state': 'active', 'drops': '7'}),
        'left/lidar': Entry(1, 'Timeout: silent for 3.0 s', {'topic': '/l/points'}),
        'tf': Entry(0, 'OK', {}),
    }
    node = RunningNode('/segmentation', entries)
    assert node.views == ('front', 'left')
    assert node.topics('front') == {
        'camera/image_rect': '/f/image',
        'camera/image_rect/compressed': '/f/image/compressed',
        'camera/camera_info': '/f/info',
    }
    assert node.topics('left') == {'points': '/l/points'}
    found = {(f.what, f.state): f.text for f in judge_node(node)}
    assert found['node', 'ok'].startswith('/segmentation is active: m')
    assert 'no mask: black (7 drops)' in found['node', 'FAIL']
    assert found['left/lidar', 'warn'].endswith('Timeout: silent for 3.0 s on /l/points')
