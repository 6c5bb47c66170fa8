"""Round trips over real serialized messages: rosbags' CDR, and rclpy's where it is installed."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.messages.transforms import transforms_from_message
from sam_ad_perception.core.sensors import CameraModel, Events, Modality
from sam_ad_perception.core.status import FrameStatus

STAMP = 1_700_000_000_123_456_789
K = np.array([[500.0, 0, 321.5], [0, 510.0, 240.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ('model', 'D'),
    [
        ('plumb_bob', []),
        ('plumb_bob', [0.1, -0.05, 0.001, 0.002, 0.01]),
        ('rational_polynomial', [0.1, 0.2, 0.001, 0.002, 0.3, 0.1, 0.2, 0.3]),
        ('equidistant', [0.1, 0.01, 0.001, 0.0001]),
    ],
)
def test_camera_info_carries_the_whole_camera(ros, model, D):
    camera = CameraModel(640, 480, K, np.array(D), model, 'optical')
    message = ros.round_trip(cv.camera_to_message(ros.types, camera, STAMP))
    assert cv.stamp_of(message) == STAMP
    got = cv.camera_from_message(message, rectified=False)
    assert (got.size, got.frame_id, got.distortion_model) == ((480, 640), 'optical', model)
    np.testing.assert_array_equal(got.K, K)
    np.testing.assert_array_equal(got.D, D or np.zeros(5))
    flat = cv.camera_from_message(message, rectified=True)
    assert flat.D.size == 0
    np.testing.assert_array_equal(flat.K, K)


def test_an_unset_camera_info_is_refused_by_field(ros):
    camera = CameraModel(640, 480, K, frame_id='optical')
    message = cv.camera_to_message(ros.types, camera, STAMP)
    message.k = np.zeros(9)
    with pytest.raises(cv.ConversionError, match=r'CameraInfo: CameraInfo\.k|CameraInfo: .*\bk\b'):
        cv.camera_from_message(ros.round_trip(message), rectified=False)
    message.width = 0
    with pytest.raises(cv.ConversionError, match='width'):
        cv.camera_from_message(ros.round_trip(message), rectified=True)


def test_labelled_clouds_read_back_and_their_colours_are_those_of_the_classes(ros, rng):
    space = LABEL_SPACES['cityscapes']
    points = rng.normal(0, 20, (50, 3)).astype(np.float32)
    labels = rng.choice([*range(19), 255], 50).astype(np.uint8)
    joined = cv.labelled_points(points, labels, space)
    message = ros.round_trip(cv.cloud_to_message(ros.types, joined, STAMP, 'lidar'))
    cloud, dropped = cv.cloud_from_message(message)
    assert dropped == 0
    np.testing.assert_array_equal(cloud.points, points)
    fields = {f.name: (f.offset, f.datatype) for f in message.fields}
    assert fields == {'x': (0, 7), 'y': (4, 7), 'z': (8, 7), 'rgb': (12, 7), 'label': (16, 6)}
    raw = np.frombuffer(message.data, cv.LABELLED_POINT)
    np.testing.assert_array_equal(raw['label'], labels)
    # PCL and RViz: blue in the lowest byte, then green, then red.
    bgr = np.frombuffer(message.data, np.uint8).reshape(50, 20)[:, 12:15]
    np.testing.assert_array_equal(bgr[:, ::-1], space.palette[labels])


def test_clouds_of_any_layout_and_with_holes(ros):
    layout = np.dtype(
        {
            'names': ['x', 'y', 'z', 'intensity', 'ring', 't'],
            'formats': ['<f8', '<f8', '<f8', 'u1', '<u2', '<u4'],
            'offsets': [0, 8, 16, 24, 25, 27],
            'itemsize': 31,
        }
    )
    points = np.zeros(4, layout)
    points['x'], points['intensity'], points['t'] = (1, np.nan, np.inf, 4), (1, 2, 3, 4), 1000
    message = ros.round_trip(cv.cloud_to_message(ros.types, points, STAMP, '/velodyne'))
    frame = cv.frame_from_message(message, Modality.LIDAR)
    assert (frame.stamp_ns, frame.frame_id, frame.camera) == (STAMP, 'velodyne', None)
    assert frame.data.points[:, 0].tolist() == [1, 4]
    assert frame.data.intensity.tolist() == [1, 4]
    assert frame.data.time_offset_ns.tolist() == [1000, 1000]
    assert cv.cloud_from_message(message)[1] == 2


def test_a_cloud_without_z_or_with_lost_bytes_is_refused(ros):
    flat = np.zeros(4, np.dtype([('x', '<f4'), ('y', '<f4')]))
    message = ros.round_trip(cv.cloud_to_message(ros.types, flat, STAMP, 'lidar'))
    with pytest.raises(
        cv.ConversionError, match=r"PointCloud2: cloud needs x, y and z, lacks \['z"
    ):
        cv.cloud_from_message(message)
    points = np.zeros(4, np.dtype([(axis, '<f4') for axis in 'xyz']))
    message = cv.cloud_to_message(ros.types, points, STAMP, 'lidar')
    message.width = 5
    message.row_step = 60
    with pytest.raises(cv.ConversionError, match='PointCloud2: cloud data is truncated: 48 bytes'):
        cv.cloud_from_message(ros.round_trip(message))
    with pytest.raises(cv.ConversionError, match="point field 'x' has type float16"):
        cv.cloud_to_message(ros.types, np.zeros(4, np.dtype([('x', '<f2')])), STAMP, '')


def test_an_empty_cloud_is_a_cloud(ros):
    points = np.zeros(0, np.dtype([(axis, '<f4') for axis in 'xyz']))
    message = ros.round_trip(cv.cloud_to_message(ros.types, points, STAMP, 'lidar'))
    cloud, dropped = cv.cloud_from_message(message)
    assert (len(cloud.points), dropped) == (0, 0)


def test_transforms_come_back(ros):
    angle = 0.3
    T = np.eye(4)
    T[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    T[:3, 3] = (1.0, -2.0, 3.5)
    sent = [('base_link', 'lidar', STAMP, T), ('base_link', 'camera', STAMP + 1, np.eye(4))]
    message = ros.round_trip(cv.transforms_to_message(ros.types, sent))
    rotation = message.transforms[0].transform.rotation
    # A turn about z by the angle, by the definition of the quaternion.
    assert (rotation.z, rotation.w) == pytest.approx((math.sin(0.15), math.cos(0.15)))
    got, refused = transforms_from_message(message)
    assert refused == ()
    assert [(p, c, s) for p, c, s, _ in got] == [(p, c, s) for p, c, s, _ in sent]
    np.testing.assert_allclose(got[0][3], T, atol=1e-12)


def test_a_broken_rotation_names_its_link_and_costs_no_other(ros):
    links = [('/base_link', child, STAMP, np.eye(4)) for child in ('lidar', '/camera')]
    message = cv.transforms_to_message(ros.types, links)
    message.transforms[0].transform.rotation.w = 0.0
    got, refused = transforms_from_message(ros.round_trip(message))
    assert [link[:3] for link in got] == [('base_link', 'camera', STAMP)]
    assert len(refused) == 1
    assert refused[0].startswith("transform 'base_link' -> 'lidar' is left out: quaternion")


def test_event_packets_carry_their_events(ros, rng):
    t = np.sort(rng.integers(0, 10_000_000, 500)) // 1000 * 1000 + STAMP // 1000 * 1000
    events = Events(
        rng.integers(0, 640, 500).astype(np.uint16),
        rng.integers(0, 480, 500).astype(np.uint16),
        rng.random(500) < 0.5,
        t,
        (480, 640),
    )
    packet = encode_packet(events, 'evt3', seq=3, frame_id='event_optical')
    message = ros.round_trip(cv.packet_to_message(ros.types, packet))
    got = cv.packet_from_message(message)
    assert (got.seq, got.size, got.encoding, got.frame_id) == (
        3,
        (480, 640),
        'evt3',
        packet.frame_id,
    )
    decoded = EventDecoder().decode(got)
    for name in ('x', 'y', 'polarity', 't_ns'):
        np.testing.assert_array_equal(getattr(decoded, name), getattr(events, name))


def test_label_info_names_every_id(ros):
    space = LABEL_SPACES['deliver']
    message = ros.round_trip(cv.label_info_to_message(ros.types, space, STAMP, ''))
    assert [(c.class_id, c.class_name) for c in message.class_map] == list(enumerate(space.names))


def test_status_comes_back_as_it_went(ros):
    sent = FrameStatus(
        STAMP,
        'mle_sam_demo',
        ('camera', 'lidar'),
        {'thermal': 'silent for 0.7 s'},
        {'camera': 0.75, 'lidar': 0.25},
        {'lidar': -12.5},
        {'network': 150.25},
    )
    message = ros.round_trip(cv.status_to_message(ros.types, sent, 'optical'))
    assert cv.status_from_message(message) == sent
    level = message.status[0].level
    assert (level if isinstance(level, int) else level[0]) == 1
    dropped = FrameStatus(STAMP, dropped='no camera geometry')
    message = ros.round_trip(cv.status_to_message(ros.types, dropped))
    assert cv.status_from_message(message) == dropped
    message.status[0].name = 'battery'
    with pytest.raises(cv.ConversionError, match="no entry named 'semantic'"):
        cv.status_from_message(message)


@given(st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
def test_stamps_are_exact_to_the_nanosecond(bags, stamp_ns):
    stamp = cv.ns_to_stamp(bags.types, stamp_ns)
    assert 0 <= stamp.nanosec < 10**9
    assert cv.stamp_to_ns(stamp) == stamp_ns


def test_a_stamp_beyond_ros_time_is_refused(bags):
    with pytest.raises(cv.ConversionError, match='does not fit the 32-bit seconds'):
        cv.ns_to_stamp(bags.types, 2**31 * 10**9)


@pytest.mark.ros
def test_the_messages_of_rclpy_and_rosbags_are_the_same_bytes(bags, rclpy_messages):
    """What one writes the other reads: the padding inside CDR is not part of the content."""
    serialization = pytest.importorskip('rclpy.serialization')
    store = make_typestore()
    camera = CameraModel(640, 480, K, frame_id='optical')
    for builder in (
        lambda types: cv.array_to_image(
            types, np.eye(3, 4, dtype=np.float32), '32FC1', STAMP, 'f'
        ),
        lambda types: cv.camera_to_message(types, camera, STAMP),
        lambda types: cv.transforms_to_message(types, [('a', 'b', STAMP, np.eye(4))]),
        lambda types: cv.label_info_to_message(types, LABEL_SPACES['camvid'], STAMP, 'f'),
    ):
        message = builder(bags.types)
        kind = message.__msgtype__
        data = bytes(store.serialize_cdr(message, kind))
        assert serialization.deserialize_message(data, rclpy_messages.types(kind)) == builder(
            rclpy_messages.types
        )


def test_recorded_images_are_read(sample_data):
    from sam_ad_perception.bags.reader import BagReader

    with BagReader(sample_data / 'kitti' / 'bag') as bag:
        for recorded in bag.messages(['/camera/front/image_rect/compressed']):
            message = bag.deserialize(recorded)
            frame = cv.frame_from_message(message, Modality.CAMERA)
            break
    path = next((sample_data / 'kitti' / 'frames' / 'image_02').rglob('*.png'))
    original = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert frame.data.shape == original.shape
    assert frame.frame_id == 'camera_front_optical'


def twist_message(types, kind):
    """20 m/s ahead, a little to the right, turning left; the header says odom."""

    def of(package, name, **fields):
        return cv.make(types, f'{package}/msg/{name}', **fields)

    linear = of('geometry_msgs', 'Vector3', x=20.0, y=-0.5, z=0.0)
    angular = of('geometry_msgs', 'Vector3', x=0.0, y=0.0, z=0.3)
    twist = of('geometry_msgs', 'Twist', linear=linear, angular=angular)
    header = cv.make_header(types, STAMP, '/odom')
    if kind == 'TwistStamped':
        return of('geometry_msgs', kind, header=header, twist=twist)
    twist = of('geometry_msgs', 'TwistWithCovariance', twist=twist, covariance=np.zeros(36))
    if kind == 'TwistWithCovarianceStamped':
        return of('geometry_msgs', kind, header=header, twist=twist)
    point = of('geometry_msgs', 'Point', x=0.0, y=0.0, z=0.0)
    rotation = of('geometry_msgs', 'Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
    pose = of('geometry_msgs', 'Pose', position=point, orientation=rotation)
    pose = of('geometry_msgs', 'PoseWithCovariance', pose=pose, covariance=np.zeros(36))
    fields = {'header': header, 'child_frame_id': '/base_link', 'pose': pose, 'twist': twist}
    return of('nav_msgs', kind, **fields)


@pytest.mark.parametrize(
    ('kind', 'frame'),
    [
        ('Odometry', 'base_link'),
        ('TwistStamped', 'odom'),
        ('TwistWithCovarianceStamped', 'odom'),
    ],
)
def test_a_twist_is_that_of_the_body_in_its_own_frame(ros, kind, frame):
    message = ros.round_trip(twist_message(ros.types, kind))
    stamp_ns, linear, angular, body = cv.twist_from_message(message)
    assert (stamp_ns, body) == (STAMP, frame)
    np.testing.assert_array_equal(linear, [20, -0.5, 0])
    np.testing.assert_array_equal(angular, [0, 0, 0.3])
