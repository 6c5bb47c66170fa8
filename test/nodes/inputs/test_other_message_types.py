"""Video and Livox sweeps live: read where their packages are, named where they are not."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from fractions import Fraction

from rclpy.node import Node

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.inputs.unused_topics import why_unused
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    TransformInput,
    is_installed,
    message_type,
    sensor_qos,
)

pytestmark = pytest.mark.ros

LIVOX = 'livox_ros_driver2/msg/CustomMsg'
PACKET = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
FOREIGN = 'foxglove_msgs/msg/CompressedVideo'
IMAGE, CLOUD = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/PointCloud2'
STAMP, PERIOD = 1_700_000_000_000_000_000, 100_000_000


@pytest.fixture
def taken(graph):
    """The inputs of a view, and the frames that they gave to the bundler."""
    node = Node('reader', context=graph.context)
    graph.executor.add_node(node)
    transforms = TransformInput(node, TransformTree())
    config = SegmentationConfig()
    clouds = CloudInput(node, sensor_qos(config.qos))
    inputs = SensorInputs(node, config, Calibration(), transforms, clouds, lambda results: None)
    frames = []
    add = inputs.bundler.add_frame

    def keep(frame, now_ns):
        frames.append(frame)
        return add(frame, now_ns)

    inputs.bundler.add_frame = keep
    inputs.start()
    yield inputs, frames, node
    inputs.destroy()
    transforms.destroy()
    graph.executor.remove_node(node)
    node.destroy_node()


def settle(graph, inputs, publisher):
    def matched():
        inputs.choose_transports()
        return publisher.get_subscription_count()

    graph.until(matched, 'the match')


def encode_video(count=5):
    """Pictures, and each as FFmpeg packs it: the first is the only key frame."""
    av = pytest.importorskip('av')
    v, u = np.mgrid[:96, :128]
    pictures = [np.stack(((u + 9 * k) % 256, v + 20, u), 2).astype('u1') for k in range(count)]
    context = av.CodecContext.create('libx264', 'w')
    context.width, context.height, context.pix_fmt = 128, 96, 'yuv420p'
    context.time_base, context.gop_size, context.max_b_frames = Fraction(1, 10), 50, 0
    context.options = {'tune': 'zerolatency', 'crf': '10'}
    packets = []
    for k, rgb in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(rgb, format='rgb24')
        frame.pts = k
        packets += [bytes(p) for p in context.encode(frame)]
    return pictures, packets


@pytest.mark.parametrize(
    ('kind', 'topic'),
    [
        (IMAGE, 'camera/image_rect/compressed'),
        (PACKET, 'camera/image_rect/ffmpeg'),
        (PACKET, 'camera/image_rect'),
    ],
)
def test_video_is_read_picture_by_picture(graph, driver, taken, kind, topic):
    if not is_installed(kind):
        pytest.skip(f'{kind} is not installed')
    pictures, packets = encode_video()
    inputs, frames, _ = taken
    publisher = driver.create_publisher(message_type(kind), topic, 10)
    settle(graph, inputs, publisher)
    for k, data in enumerate(packets):
        message = message_type(kind)()
        message.header.stamp = from_ros.ns_to_stamp(message_type, STAMP + k * PERIOD)
        message.header.frame_id = 'camera'
        message.data = data
        if kind == IMAGE:
            message.format = 'h264'
        else:
            message.encoding, message.pts = 'libx264', k
        publisher.publish(message)
    graph.until(lambda: len(frames) == len(packets), 'the pictures')
    for k, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        assert (frame.modality, frame.stamp_ns) == (Modality.CAMERA, STAMP + k * PERIOD)
        assert np.abs(frame.data.astype(int) - picture).mean() < 12
    assert inputs.monitors['camera'].bad.total == 0


def test_a_livox_sweep_is_read_from_its_bytes(graph, driver, taken, rng):
    if not is_installed(LIVOX):
        pytest.skip(f'{LIVOX} is not installed')
    inputs, frames, _ = taken
    publisher = driver.create_publisher(message_type(LIVOX), 'points', 10)
    settle(graph, inputs, publisher)
    points = rng.uniform(1, 50, (57, 3)).astype(np.float32)
    message = message_type(LIVOX)(timebase=STAMP, point_num=len(points))
    message.header.stamp = from_ros.ns_to_stamp(message_type, STAMP)
    message.header.frame_id = 'livox'
    point = message_type('livox_ros_driver2/msg/CustomPoint')
    message.points = [
        point(offset_time=1000 * k, x=float(x), y=float(y), z=float(z), reflectivity=k)
        for k, (x, y, z) in enumerate(points)
    ]
    publisher.publish(message)
    graph.until(lambda: frames, 'the sweep')
    assert np.array_equal(frames[0].data.points, points)
    assert np.array_equal(frames[0].data.time_offset_ns, 1000 * np.arange(57))
    driver.destroy_publisher(publisher)
    # The same topic with the type of another driver.
    again = driver.create_publisher(message_type(CLOUD), 'points', 10)
    settle(graph, inputs, again)


def published(node, monkeypatch, topics):
    """Let the graph tell of publishers whose types are not installed here."""
    told = {node.resolve_topic_name(name): kind for name, kind in topics.items()}

    def publishers(name):
        return [SimpleNamespace(topic_type=told[name])] if name in told else []

    monkeypatch.setattr(node, 'get_publishers_info_by_topic', publishers)


@pytest.mark.parametrize(
    ('sensor', 'topic', 'kind', 'sentence'),
    [
        ('lidar', 'points', LIVOX, 'message package is not installed'),
        ('lidar', 'points', 'velodyne_msgs/msg/VelodyneScan', 'velodyne_pointcloud turns it'),
        ('lidar', 'points', 'std_msgs/msg/String', f'expected one of {CLOUD}'),
        ('camera', 'camera/image_rect', FOREIGN, 'message package is not installed'),
        ('thermal', 'thermal/image_rect/ffmpeg', PACKET, 'message package is not installed'),
    ],
)
def test_what_is_missing_is_named(taken, monkeypatch, sensor, topic, kind, sentence):
    if is_installed(kind) and 'not installed' in sentence:
        pytest.skip(f'{kind} is installed')
    inputs, _, node = taken
    published(node, monkeypatch, {topic: kind})
    inputs.choose_transports()
    refusal = inputs.refusals(0.0)[Modality(sensor)]
    assert f'{node.resolve_topic_name(topic)} carries {kind}' in refusal
    diagnosis = inputs.monitors[sensor].diagnose(0.0)
    assert sentence in diagnosis.message
    assert diagnosis.code == 'sensor.unreadable'
    published(node, monkeypatch, {})
    inputs.choose_transports()
    assert Modality(sensor) not in inputs.refusals(0.0)


def test_a_transport_that_is_given_takes_no_video(graph, monkeypatch):
    from sam_ad_perception.nodes.inputs.images import ImageInput

    node = Node('raw_reader', context=graph.context)
    told = []
    made = ImageInput(node, 'camera/image_rect', 'raw', 10, print, told.append)
    published(node, monkeypatch, {'camera/image_rect/ffmpeg': PACKET})
    made.choose()
    assert 'its transport is raw: auto takes video' in told[-1]
    assert made.transports == ('raw',)
    made.destroy()
    node.destroy_node()


def test_a_topic_of_a_package_that_is_missing_is_told_where_nobody_reads_it():
    reason = why_unused('/livox/lidar', 'livox_interfaces/msg/CustomMsg')
    assert 'its message package is installed, which it is not' in reason
    assert 'points:=/livox/lidar' in reason
