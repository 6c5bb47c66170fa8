"""The synchronizer node as a process over DDS: equal stamps, bytes untouched, faults told."""

import sys
import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.messages.from_ros import stamp_of
from sam_ad_perception.nodes.ros import message_filters
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros

MS = 1_000_000
OUTPUTS = {
    'synchronized/camera/image_rect': 'sensor_msgs/msg/Image',
    'synchronized/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    'synchronized/thermal/image_rect': 'sensor_msgs/msg/Image',
    'synchronized/points': 'sensor_msgs/msg/PointCloud2',
    'synchronized/status': 'diagnostic_msgs/msg/DiagnosticArray',
    '/diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
}
FAST = ['-p', 'qos.reliability:=reliable', '-p', 'diagnostics_period_s:=0.2']


@pytest.fixture(scope='module')
def vehicle(vehicle_type, graph):
    return vehicle_type(graph, OUTPUTS)


@pytest.fixture(scope='module')
def node(start, vehicle):
    process = start('synchronizer_node', ros=FAST)
    graph = vehicle.graph
    for topic in ('camera/image_rect', 'camera/camera_info', 'thermal/image_rect', 'points'):
        graph.until(vehicle.publishers[topic].get_subscription_count, f'the node on {topic}')
    for topic in OUTPUTS:
        name = topic if topic.startswith('/') else f'/{topic}'
        graph.until(lambda name=name: graph.node.count_publishers(name), topic)
    graph.spin(0.5)  # the node's side of the match
    return process


def values_of(message) -> dict[str, str]:
    return {each.key: each.value for each in message.status[0].values}


def publish_frame(vehicle, stamp_ns: int, without: str = '') -> dict[str, object]:
    """One camera frame, thermal 7 ms and lidar 20 ms before it; returns what was sent."""
    sent = {
        'points': vehicle.cloud(stamp_ns - 20 * MS),
        'thermal/image_rect': vehicle.image('thermal', stamp_ns - 7 * MS),
        'camera/image_rect': vehicle.image('camera', stamp_ns),
    }
    sent.pop(without, None)
    for topic, message in sent.items():
        vehicle.publish(topic, message)
    return sent


def test_sets_have_one_stamp_and_untouched_content(vehicle, node) -> None:
    vehicle.publish('camera/camera_info', vehicle.geometry('camera', 1))
    start_ns = time.time_ns()
    sent = []
    for index in range(6):
        sent.append(publish_frame(vehicle, start_ns + index * 100 * MS))
        vehicle.graph.spin(0.1)
    graph = vehicle.graph
    graph.until(lambda: len(vehicle.heard['synchronized/camera/image_rect']) == 6, 'six sets')
    graph.until(lambda: len(vehicle.heard['synchronized/points']) == 6, 'six sweeps')
    for index, frame in enumerate(sent):
        stamp_ns = start_ns + index * 100 * MS
        for topic, message in frame.items():
            out = vehicle.heard[f'synchronized/{topic}'][index]
            assert stamp_of(out) == stamp_ns
            assert out.header.frame_id == message.header.frame_id
            assert out.data == message.data
    infos = vehicle.heard['synchronized/camera/camera_info']
    assert [stamp_of(info) for info in infos] == [start_ns + i * 100 * MS for i in range(6)]
    assert list(infos[0].k) == list(vehicle.geometry('camera', 1).k)
    graph.until(lambda: len(vehicle.heard['synchronized/status']) == 6, 'six reports')
    report = values_of(vehicle.heard['synchronized/status'][-1])
    assert report['reference'] == 'camera'
    assert float(report['thermal.time_error_ms']) == pytest.approx(-7)
    assert float(report['lidar.time_error_ms']) == pytest.approx(-20)


def test_absent_sensor_is_named_and_the_others_come(vehicle, node) -> None:
    for heard in vehicle.heard.values():
        heard.clear()
    start_ns = time.time_ns()
    for index in range(10):
        publish_frame(vehicle, start_ns + index * 100 * MS, without='thermal/image_rect')
        vehicle.graph.spin(0.1)
    vehicle.graph.until(
        lambda: len(vehicle.heard['synchronized/camera/image_rect']) == 10, 'ten sets'
    )
    vehicle.graph.until(lambda: len(vehicle.heard['synchronized/status']) == 10, 'ten reports')
    last = vehicle.heard['synchronized/status'][-1]
    assert last.status[0].message == 'without thermal'
    assert 'thermal.absent' in values_of(last)
    assert not vehicle.heard['synchronized/thermal/image_rect']


def test_event_packets_are_refused_at_start_up(start) -> None:
    process = start('synchronizer_node', ros=['-p', 'sync.event.enabled:=true'])
    assert process.process.wait(120) == 1
    assert 'sync.event.enabled must be false' in process.output


@pytest.mark.skipif(message_filters.message_filters is not None, reason='message_filters is here')
def test_approximate_says_what_it_needs(start) -> None:
    process = start('synchronizer_node', ros=['-p', 'policy:=approximate'])
    assert process.process.wait(120) == 1
    assert 'policy approximate needs message_filters' in process.output
    assert 'message_filters' not in sys.modules


def test_approximate_gives_complete_sets_only() -> None:
    pytest.importorskip('message_filters', reason='message_filters is not installed')
    from sam_ad_perception.core.sensors import Modality

    made = message_filters.ApproximateSynchronizer((Modality.CAMERA, Modality.LIDAR), 10, 0.05)
    stamp_ns = 10**18
    assert made.add(Modality.CAMERA, stamp_ns, b'image', stamp_ns) == []
    (found,) = made.add(Modality.LIDAR, stamp_ns + 20 * MS, b'cloud', stamp_ns)
    assert found.stamp_ns == stamp_ns
    assert found.items[Modality.LIDAR] == (stamp_ns + 20 * MS, b'cloud')
    assert made.add(Modality.CAMERA, stamp_ns + 100 * MS, b'image', stamp_ns) == []
    assert made.add(Modality.LIDAR, stamp_ns + 200 * MS, b'cloud', stamp_ns) == []
    assert from_ros.ns_to_stamp(message_type, stamp_ns).sec == 10**9
