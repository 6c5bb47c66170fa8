"""One drive, four ways: recorded, checked, live in the inputs of the node, and under doctor."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.doctor.data import DataCheck
from sam_ad_perception.commands.doctor.findings import FAIL, WARN
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.images.lazy_image import decode_lazy
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import TransformInput, sensor_qos
from test.pictures import lens_picture

pytestmark = pytest.mark.ros

PERIOD_NS, FRAMES = 100_000_000, 25
DRIVES = {
    'clean': set(),
    'lidar 0.3 s ahead': {('clock.ahead', 'lidar', True)},
    'thermal bytes exchanged': {('image.byte_order', 'thermal', False)},
    'millimetres': {('cloud.unit', 'lidar', True)},
    'centimetres': {('cloud.unit', 'lidar', True)},
    'images raw under image_rect': {('geometry.rectified', 'camera', False)},
    'images rectified under image_raw': {('geometry.rectified', 'camera', False)},
    'images raw under image_raw': set(),
}
LENS_SIZE, LENS_K = (240, 360), np.array([[290.0, 0, 180], [0, 290, 119], [0, 0, 1]])
LENS_D = np.array([-0.32, 0.1, 0, 0, 0])


def drive(sensors, kind, stamp_ns):
    """Messages of one moment: topic, message."""
    heat = np.add.outer(np.arange(48), np.arange(64)) * 9 + 28000
    heat = (heat + sensors.rng.integers(0, 30, heat.shape)).astype(np.uint16)
    if kind == 'thermal bytes exchanged':
        heat = heat.byteswap()
    points = sensors.rng.uniform((3, -4, -2), (40, 4, 2), (400, 3))
    scale = {'millimetres': 1000, 'centimetres': 100}.get(kind, 1)
    ahead_ns = 300_000_000 if kind == 'lidar 0.3 s ahead' else 0
    thermal = from_ros.array_to_image(sensors.types, heat, 'mono16', stamp_ns, 'thermal_optical')
    yield 'points', sensors.cloud(stamp_ns + ahead_ns, points * scale)
    yield 'thermal/image_rect', thermal
    image = sensors.image('camera', stamp_ns)
    if kind.startswith('images'):
        D = LENS_D if is_raw(kind) else np.zeros(5)
        picture = lens_picture(sensors.rng, LENS_SIZE, LENS_K, D)
        image = from_ros.array_to_image(sensors.types, picture, 'rgb8', stamp_ns, 'camera_optical')
    yield image_topic(kind), image


def is_raw(kind):
    return kind.startswith('images raw')


def image_topic(kind):
    return 'camera/image_raw' if kind.endswith('image_raw') else 'camera/image_rect'


def geometry(sensors, kind, stamp_ns):
    for name in ('camera', 'thermal'):
        camera = sensors.camera(name)
        if name == 'camera' and kind.startswith('images'):
            camera = CameraModel(*LENS_SIZE[::-1], LENS_K, LENS_D, frame_id='camera_optical')
        info = from_ros.camera_to_message(sensors.types, camera, stamp_ns)
        yield f'{name}/camera_info', info


def told(checks):
    return {(f.finding.code, f.finding.sensor, f.finding.out) for f in checks.findings()}


def recorded(path, kind, sensor_type):
    """What is found in a recording of the drive."""
    start = time.time_ns()
    with BagWriter(path) as writer:
        sensors, known = sensor_type(writer.types), set()
        moments = [[(start, '/tf_static', sensors.places())]]
        for i in range(FRAMES):
            stamp_ns = start + i * PERIOD_NS
            each = [*geometry(sensors, kind, stamp_ns), *drive(sensors, kind, stamp_ns)]
            moments.append([(stamp_ns + 8_000_000, f'/{topic}', m) for topic, m in each])
        for received_ns, topic, message in (each for moment in moments for each in moment):
            if topic not in known:
                writer.add_topic(topic, message.__msgtype__, latched=topic == '/tf_static')
                known.add(topic)
            writer.write(topic, message, received_ns)
    with BagReader(path) as reader:
        feed = BagFeed(reader, choose_topics(reader))
        used = [r for _, due in feed.read() for r in due if isinstance(r, SensorBundle)]
    return told(feed.checks), used


@pytest.fixture
def live(graph, vehicle, kind):
    """The inputs of the segmentation node with what becomes of its bundles, and doctor's look."""
    topic = image_topic(kind)
    remap = ['--ros-args', '-r', f'camera/image_rect:={topic}']
    node, doctor_node = (
        Node(name, context=graph.context, cli_args=remap) for name in ('inputs', 'doctor')
    )
    if topic not in vehicle.publishers:
        image = vehicle.types('sensor_msgs/msg/Image')
        vehicle.publishers[topic] = graph.node.create_publisher(image, topic, 100)
    config, used = SegmentationConfig(), []
    transforms = TransformInput(node, TransformTree())

    def take(results):
        bundles = [each for each in results if isinstance(each, SensorBundle)]
        used.extend(inputs.checks.check_bundle(decode_lazy(each)) for each in bundles)

    clouds = CloudInput(node, sensor_qos(config.qos))
    inputs = SensorInputs(node, config, Calibration(), transforms, clouds, take)
    inputs.checks.readings.at_once = True
    inputs.start()
    doctor = DataCheck(doctor_node)
    for each in (node, doctor_node):
        graph.executor.add_node(each)
    yield inputs, used, doctor
    for each in (node, doctor_node):
        graph.executor.remove_node(each)
    inputs.destroy()
    transforms.destroy()
    node.destroy_node()
    doctor_node.destroy_node()


@pytest.mark.parametrize('kind', DRIVES)
def test_label_check_node_and_doctor_find_the_same(graph, vehicle, live, tmp_path, kind):
    inputs, used, doctor = live
    vehicle.place_sensors()
    graph.spin(1.0)
    for _ in range(FRAMES):
        stamp_ns = time.time_ns()
        for topic, message in (
            *geometry(vehicle, kind, stamp_ns),
            *drive(vehicle, kind, stamp_ns),
        ):
            vehicle.publish(topic, message)
        graph.spin(1e-9 * PERIOD_NS)
    graph.spin(0.5)
    doctor.stop()
    wanted = DRIVES[kind]
    found, recorded_used = recorded(tmp_path / 'bag', kind, type(vehicle).__mro__[1])
    assert found == wanted
    checked = check_recording(tmp_path / 'bag').findings
    assert {(f.code, f.sensor, f.out) for f in checked if f.code != 'check.choice'} == wanted
    assert told(inputs.checks) == wanted
    states = {(f.what, f.state) for f in doctor.findings()}
    assert states == {(sensor, FAIL if out else WARN) for _, sensor, out in wanted}
    gone = {Modality(sensor) for _, sensor, out in wanted if out}
    expected = {Modality.CAMERA, Modality.THERMAL, Modality.LIDAR} - gone
    for last in (recorded_used[-1], used[-1]):
        assert set(last.frames) == expected
        assert last.camera.D.any() == is_raw(kind)
