from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Events
from test.pictures import camera_picture

START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
SIZE = (48, 64)
K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
# Lidar axes (x forward, y left, z up) seen from an optical frame (x right, y down, z forward).
T_CAMERA_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0], [0, 0, 0, 1]])

IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
TOPICS = {
    '/camera/image_rect': IMAGE,
    '/camera/camera_info': INFO,
    '/thermal/image_rect': IMAGE,
    '/thermal/camera_info': INFO,
    '/events': 'event_camera_msgs/msg/EventPacket',
    '/events/camera_info': INFO,
    '/points': 'sensor_msgs/msg/PointCloud2',
    '/tf_static': 'tf2_msgs/msg/TFMessage',
}


def messages(types, frames, rng):
    """A short drive with every sensor, as (topic, message, time of arrival)."""
    cameras = {
        name: CameraModel(SIZE[1], SIZE[0], K, frame_id=f'{name}_optical')
        for name in ('camera', 'thermal', 'event')
    }
    links = [('camera_optical', 'lidar', START, T_CAMERA_LIDAR)]
    links += [('camera_optical', f'{n}_optical', START, np.eye(4)) for n in ('thermal', 'event')]
    yield '/tf_static', cv.transforms_to_message(types, links), START
    for k in range(frames):
        stamp = START + k * PERIOD
        rgb = camera_picture(rng, SIZE)
        heat = rng.integers(28000, 31000, SIZE).astype(np.uint16)
        # The image comes before its camera_info: equal times must not depend on the order.
        yield (
            '/camera/image_rect',
            cv.array_to_image(types, rgb, 'rgb8', stamp, 'camera_optical'),
            stamp,
        )
        for name, topic in (('camera', 'camera'), ('thermal', 'thermal'), ('event', 'events')):
            info = cv.camera_to_message(types, cameras[name], stamp)
            yield f'/{topic}/camera_info', info, stamp
        image = cv.array_to_image(types, heat, 'mono16', stamp, 'thermal_optical')
        yield '/thermal/image_rect', image, stamp
        points = np.zeros(200, np.dtype([(n, '<f4') for n in ('x', 'y', 'z', 'intensity')]))
        for axis, (low, high) in zip('xyz', ((4, 30), (-8, 8), (-2, 2)), strict=True):
            points[axis] = rng.uniform(low, high, 200)
        points['x'][:3] = np.nan
        yield '/points', cv.cloud_to_message(types, points, stamp, 'lidar'), stamp
        t = np.sort(rng.integers(stamp - 30_000_000, stamp, 100)) // 1000 * 1000
        x, y = (rng.integers(0, n, 100).astype(np.uint16) for n in SIZE[::-1])
        events = Events(x, y, rng.random(100) < 0.5, t, SIZE)
        packet = encode_packet(events, 'evt3', seq=k, end_ns=stamp, frame_id='event_optical')
        yield '/events', cv.packet_to_message(types, packet), stamp


@pytest.fixture
def write_drive(tmp_path, rng):
    """Writes a drive: `write_drive(frames, change)`; change may alter or drop (None) a message."""

    def write(frames=4, change=lambda topic, message: message, name='drive'):
        path = tmp_path / name
        with BagWriter(path) as writer:
            announced = set()
            for topic, message, received_ns in messages(writer.types, frames, rng):
                changed = change(topic, message)
                if changed is None:
                    continue
                if topic not in announced:
                    writer.add_topic(topic, TOPICS[topic], latched=topic == '/tf_static')
                    announced.add(topic)
                writer.write(topic, changed, received_ns)
        return path

    return write


@pytest.fixture
def drive_facts():
    """What `write_drive` puts into a bag."""
    return SimpleNamespace(
        START=START, PERIOD=PERIOD, SIZE=SIZE, K=K, T_CAMERA_LIDAR=T_CAMERA_LIDAR, TOPICS=TOPICS
    )


TINY_ZOO = Path(__file__).parents[1] / 'tiny_zoo.yaml'


@pytest.fixture(scope='session')
def tiny_zoo(tmp_path_factory) -> Path:
    """A zoo of one small network with random weights; the checkpoint lies beside it."""
    import torch
    from safetensors.torch import save_file

    from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

    folder = tmp_path_factory.mktemp('zoo')
    path = folder / 'zoo.yaml'
    path.write_text(TINY_ZOO.read_text())
    torch.manual_seed(0)
    network = build_model(load_zoo(path)['tiny'])
    save_file(network.state_dict(), folder / 'tiny.safetensors')
    return path


@pytest.fixture(scope='session')
def segmenter(tiny_zoo):
    """The real segmenter with that network; it keeps hidden points, as OpenCV does."""
    from sam_ad_perception.core.lidar.depth_image import DepthConfig
    from sam_ad_perception.core.lidar.occlusion import OcclusionConfig
    from sam_ad_perception.modeling.inference.segmenter import Segmenter

    everything = DepthConfig(occlusion=OcclusionConfig(enabled=False))
    return Segmenter.from_zoo(tiny_zoo, 'tiny', tiny_zoo.parent, threads=1, depth=everything)
