"""How the vehicle moved, as a recording tells it: odometry stands in for missing transforms."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle

MS, START = 1_000_000, 1_700_000_000_000_000_000
K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
CAMERA = CameraModel(64, 48, K, frame_id='camera_optical')


def twist(types, stamp_ns):
    vectors = [cv.make(types, 'geometry_msgs/msg/Vector3', x=x, y=0.0, z=0.0) for x in (20.0, 0.0)]
    motion = cv.make(types, 'geometry_msgs/msg/Twist', linear=vectors[0], angular=vectors[1])
    header = cv.make_header(types, stamp_ns, 'base_link')
    return cv.make(types, 'geometry_msgs/msg/TwistStamped', header=header, twist=motion)


def record(path, odometry):
    """A car at 20 m/s: an image 50 ms after each sweep; odometry says so, or is not there."""
    with BagWriter(path) as writer:
        types = writer.types
        kinds = {
            '/tf_static': 'tf2_msgs/msg/TFMessage',
            '/wheel/twist': 'geometry_msgs/msg/TwistStamped',
            '/points': 'sensor_msgs/msg/PointCloud2',
            '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
            '/camera/image_rect': 'sensor_msgs/msg/Image',
        }
        for topic, kind in kinds.items():
            writer.add_topic(topic, kind, latched=topic == '/tf_static')
        links = [('base_link', name, START, np.eye(4)) for name in ('lidar', 'camera_optical')]
        writer.write('/tf_static', cv.transforms_to_message(types, links), START)
        for k in range(12):
            stamp = START + 25 * k * MS
            if odometry:
                writer.write('/wheel/twist', twist(types, stamp), stamp)
            if k % 4 == 2:
                points = np.zeros(2, np.dtype([(n, '<f4') for n in ('x', 'y', 'z', 'time')]))
                points['x'], points['z'], points['time'] = 5.0, 1.0, [-0.1, 0.0]
                writer.write('/points', cv.cloud_to_message(types, points, stamp, 'lidar'), stamp)
            if k % 4 == 0 and k:
                info = cv.camera_to_message(types, CAMERA, stamp)
                writer.write('/camera/camera_info', info, stamp)
                image = np.full((48, 64, 3), 90, np.uint8)
                message = cv.array_to_image(types, image, 'rgb8', stamp, 'camera_optical')
                writer.write('/camera/image_rect', message, stamp)
    return path


def bundles(path):
    with BagReader(path) as reader:
        found = list(read_bundles(reader, guess_topics(reader.topics)))
    return [bundle for bundle in found if isinstance(bundle, SensorBundle)]


def test_odometry_deskews_where_no_transform_moves(tmp_path):
    read = bundles(record(tmp_path / 'drive', odometry=True))
    assert len(read) == 2
    for bundle in read:
        assert Modality.LIDAR not in bundle.notes
        points = deskew_points(bundle.frames[Modality.LIDAR], bundle.T_camera[Modality.LIDAR])
        # The sweep from 50 ms before to 50 ms after the image, stamped at its end, recorded later:
        # at 20 m/s the first point has come 1 m nearer, the last was 1 m farther.
        np.testing.assert_allclose(points[:, 0], [4.0, 6.0], atol=1e-4)


def test_without_it_the_sweep_is_used_as_it_came(tmp_path):
    for bundle in bundles(record(tmp_path / 'drive', odometry=False)):
        assert bundle.frames[Modality.LIDAR].motion is None
        points = deskew_points(bundle.frames[Modality.LIDAR], bundle.T_camera[Modality.LIDAR])
        np.testing.assert_array_equal(points[:, 0], [5.0, 5.0])
