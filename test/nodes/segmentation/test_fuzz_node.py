"""A live segmentation node that hears mutated messages over DDS: it lives, and goes on."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rosbags.serde import SerdeError

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.messages import from_ros

pytestmark = pytest.mark.ros

ALL = ('camera', 'thermal', 'event', 'lidar')
INPUTS = 200


@pytest.fixture(scope='module')
def node(start, tiny_model, vehicle):
    options = ['-p', 'qos.reliability:=reliable', '-p', 'bundler.sync.depth.enabled:=true']
    process = start('segmentation_node', ros=[*tiny_model, *options])
    vehicle.place_sensors()
    vehicle.wait_for_perception()
    vehicle.drive_until(lambda: vehicle.heard['semantic/image'], 'the first mask', ALL)
    return process


def test_mutated_messages_cost_themselves_alone(node, vehicle, mutations):
    store = make_typestore()
    sensors = type(vehicle).__bases__[0](lambda name: store.types[name])
    rng = np.random.default_rng(0)
    makers = {
        'camera/image_rect': lambda t: sensors.image('camera', t),
        'camera/camera_info': lambda t: sensors.geometry('camera', t),
        'thermal/image_rect': lambda t: sensors.image('thermal', t),
        'thermal/camera_info': lambda t: sensors.geometry('thermal', t),
        'events': sensors.packet,
        'points': sensors.cloud,
        '/tf_static': lambda _: sensors.places(),
    }
    sent = 0
    while sent < INPUTS:
        stamp_ns = vehicle.drive(ALL)
        for topic in rng.permutation(list(makers))[:4]:
            message = mutations.mutate(makers[topic](stamp_ns), rng, int(rng.integers(1, 4)))
            try:
                data = bytes(store.serialize_cdr(message, message.__msgtype__))
            except (SerdeError, ValueError, OverflowError, UnicodeError, AssertionError):
                continue  # no publisher can send this either
            vehicle.publishers[topic].publish(data)
            sent += 1
        vehicle.graph.spin(0.05)
        assert node.running, node.output[-3000:]
    vehicle.place_sensors()
    vehicle.heard['semantic/status'].clear()

    def recovered():
        statuses = [from_ros.status_from_message(m) for m in vehicle.heard['semantic/status']]
        return any(set(status.used) == set(ALL) for status in statuses)

    try:
        vehicle.drive_until(recovered, 'a mask from all sensors after the mutated messages', ALL)
    except pytest.fail.Exception as err:
        last = from_ros.status_from_message(vehicle.heard['semantic/status'][-1])
        pytest.fail(f'{err}: {last.message}')
    assert 'Traceback' not in node.output, node.output[-3000:]
