"""Round trips over real serialized messages: rosbags' CDR, and rclpy's where it is installed."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.bags.type_store import make_typestore
from sam_ad_perception.core import conversions as cv
from sam_ad_perception.core.event_encoding import encode_packet
from sam_ad_perception.core.events import EventDecoder
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import CameraModel, Events, Modality
from sam_ad_perception.core.status import FrameStatus

STAMP = 1_700_000_000_123_456_789
K = np.array([[500.0, 0, 321.5], [0, 510.0, 240.5], [0, 0, 1]])


def rosbags_messages():
    store = make_typestore()

    def round_trip(message):
        kind = message.__msgtype__
        return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)

    return SimpleNamespace(types=store.types.__getitem__, round_trip=round_trip)


BAGS = rosbags_messages()


def rclpy_messages():
    serialization = pytest.importorskip('rclpy.serialization')

    def types(name):
        package, kind, message = name.split('/')
        return getattr(importlib.import_module(f'{package}.{kind}'), message)

    def round_trip(message):
        data = serialization.serialize_message(message)
        return serialization.deserialize_message(data, type(message))

    return SimpleNamespace(types=types, round_trip=round_trip)


@pytest.fixture(scope='module', params=['rosbags', pytest.param('rclpy', marks=pytest.mark.ros)])
def ros(request):
    return BAGS if request.param == 'rosbags' else rclpy_messages()


@pytest.mark.parametrize('encoding', cv.ENCODINGS)
def test_images_come_back_as_they_went(ros, encoding, rng):
    code, channels = cv.ENCODINGS[encoding]
    shape = (5, 8) if channels == 1 else (5, 8, channels)
    array = rng.integers(0, 250, shape).astype(code)
    message = ros.round_trip(cv.array_to_image(ros.types, array, encoding, STAMP, 'optical'))
    got, name = cv.image_to_array(message)
    assert name == encoding
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert cv.stamp_of(message) == STAMP
    assert cv.frame_of(message) == 'optical'
    assert (message.height, message.width, message.step) == (5, 8, array.strides[0])


def test_reading_an_image_copies_nothing(ros):
    message = cv.array_to_image(ros.types, np.zeros((4, 6, 3), np.uint8), 'rgb8', STAMP, '')
    array, _ = cv.image_to_array(message)
    array[2, 3] = (1, 2, 3)
    again, _ = cv.image_to_array(message)
    assert again[2, 3].tolist() == [1, 2, 3]
    assert np.shares_memory(array, np.frombuffer(message.data, np.uint8))


def test_padded_and_big_endian_images_survive_the_wire(ros, rng):
    counts = rng.integers(0, 65536, (4, 6)).astype('>u2')
    rows = np.pad(counts.view(np.uint8).reshape(4, 12), ((0, 0), (0, 5)))
    message = cv.array_to_image(ros.types, rows, 'mono8', STAMP, 'thermal')
    message.encoding, message.width, message.step, message.is_bigendian = 'mono16', 6, 17, 1
    got = cv.decode_image(ros.round_trip(message), Modality.THERMAL)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, counts)


@pytest.mark.parametrize(
    ('field', 'value', 'sentence'),
    [
        ('encoding', 'yuv420', "Image.encoding 'yuv420' is not supported"),
        ('height', 0, 'Image.height x width is 0 x 6'),
        ('height', 5, 'Image.data is truncated: 72 bytes, expected 90'),
        ('step', 17, 'Image.step is 17, expected at least 18'),
    ],
)
def test_a_malformed_image_is_refused_by_field(ros, field, value, sentence):
    message = cv.array_to_image(ros.types, np.zeros((4, 6, 3), np.uint8), 'rgb8', STAMP, '')
    setattr(message, field, value)
    with pytest.raises(cv.ConversionError) as caught:
        cv.decode_image(ros.round_trip(message), Modality.CAMERA)
    assert sentence in str(caught.value)


def test_an_unknown_encoding_goes_to_the_fallback_and_only_it():
    ros = BAGS
    asked = []

    def bridge(message, wanted):
        asked.append((message.encoding, wanted))
        return np.full((4, 6, 3), 9, np.uint8)

    known = cv.array_to_image(ros.types, np.zeros((4, 6, 3), np.uint8), 'rgb8', STAMP, '')
    assert cv.decode_image(known, Modality.CAMERA, bridge).max() == 0
    known.encoding = 'nv21'
    assert cv.decode_image(known, Modality.CAMERA, bridge).max() == 9
    assert asked == [('nv21', 'rgb8')]


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8', 'mono16'])
def test_png_keeps_every_value(ros, encoding, rng):
    code, channels = cv.ENCODINGS[encoding]
    shape = (5, 8) if channels == 1 else (5, 8, channels)
    array = rng.integers(0, np.iinfo(code).max, shape).astype(code)
    message = ros.round_trip(cv.array_to_compressed(ros.types, array, encoding, STAMP, 'c'))
    assert message.format.startswith(f'{encoding}; png compressed ')
    pixels, name = cv.compressed_to_array(message)
    if channels == 3:
        np.testing.assert_array_equal(cv.to_rgb(pixels, name), cv.to_rgb(array, encoding))
    else:
        assert name == encoding
        np.testing.assert_array_equal(pixels, array)
    plain = cv.array_to_image(ros.types, array, encoding, STAMP, 'c')
    a, b = (cv.decode_image(m, Modality.THERMAL) for m in (plain, message))
    np.testing.assert_array_equal(a, b)


def test_jpeg_comes_close_and_is_not_offered_for_what_it_would_spoil(ros):
    v, u = np.mgrid[:64, :96].astype(np.uint8)
    image = np.stack((u, v, u + v), 2)
    message = cv.array_to_compressed(
        ros.types, image, 'rgb8', STAMP, 'c', compression='jpeg', quality=95
    )
    got = cv.decode_image(ros.round_trip(message), Modality.CAMERA)
    assert np.abs(got.astype(int) - image).max() < 20
    counts = np.zeros((4, 4), np.uint16)
    with pytest.raises(cv.EncodingError, match="jpeg holds 8 bits, not 'mono16'"):
        cv.array_to_compressed(ros.types, counts, 'mono16', STAMP, '', compression='jpeg')
    with pytest.raises(cv.EncodingError, match="cannot compress encoding 'mono16' as 'webp'"):
        cv.array_to_compressed(ros.types, counts, 'mono16', STAMP, '', compression='webp')


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff\xe0rubbish', b'\x89PNG'])
def test_compressed_data_that_does_not_decode_is_refused(data):
    ros = BAGS
    message = cv.array_to_compressed(ros.types, np.zeros((4, 4), np.uint8), 'mono8', 0, '')
    message.data = np.frombuffer(data, np.uint8)
    with pytest.raises(cv.ConversionError, match=rf'data \({len(data)} bytes, .* does not decode'):
        cv.compressed_to_array(message)
    message.format = '16UC1; compressedDepth png'
    with pytest.raises(cv.EncodingError, match='compressedDepth png'):
        cv.compressed_to_array(message)


def test_a_truncated_jpeg_never_crashes():
    ros = BAGS
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    whole = cv.array_to_compressed(ros.types, image, 'rgb8', 0, '', compression='jpeg').data
    message = cv.array_to_compressed(ros.types, image, 'rgb8', 0, '')
    for length in range(0, len(whole), 97):
        message.data = whole[:length]
        try:
            got = cv.decode_image(message, Modality.CAMERA)
        except cv.ConversionError:
            continue
        assert got.shape == image.shape


def test_pixels_of_odd_kinds_decode_to_named_encodings():
    message = SimpleNamespace(format='png')
    for shape, code, name in (
        ((4, 6, 3), np.uint16, 'bgr16'),
        ((4, 6, 4), np.uint8, 'bgra8'),
        ((4, 6), np.uint16, 'mono16'),
    ):
        message.data = cv2.imencode('.png', np.full(shape, 7, code))[1].reshape(-1)
        pixels, encoding = cv.compressed_to_array(message)
        assert (encoding, pixels.shape, pixels.dtype) == (name, shape, code)
    message.data = cv2.imencode('.tiff', np.ones((4, 6), np.float32))[1].reshape(-1)
    with pytest.raises(cv.EncodingError, match='1 channels of float32'):
        cv.compressed_to_array(message)


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
    got = cv.transforms_from_message(message)
    assert [(p, c, s) for p, c, s, _ in got] == [(p, c, s) for p, c, s, _ in sent]
    np.testing.assert_allclose(got[0][3], T, atol=1e-12)


def test_a_broken_rotation_names_its_link(ros):
    message = cv.transforms_to_message(ros.types, [('/base_link', 'lidar', STAMP, np.eye(4))])
    message.transforms[0].transform.rotation.w = 0.0
    with pytest.raises(cv.ConversionError, match="TFMessage, 'base_link' to 'lidar': quaternion"):
        cv.transforms_from_message(ros.round_trip(message))


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
def test_stamps_are_exact_to_the_nanosecond(stamp_ns):
    types = BAGS.types
    stamp = cv.ns_to_stamp(types, stamp_ns)
    assert 0 <= stamp.nanosec < 10**9
    assert cv.stamp_to_ns(stamp) == stamp_ns


def test_a_stamp_beyond_ros_time_is_refused():
    with pytest.raises(cv.ConversionError, match='does not fit the 32-bit seconds'):
        cv.ns_to_stamp(BAGS.types, 2**31 * 10**9)


@pytest.mark.ros
def test_the_messages_of_rclpy_and_rosbags_are_the_same_bytes():
    """What one writes the other reads: the padding inside CDR is not part of the content."""
    serialization = pytest.importorskip('rclpy.serialization')
    bags, ros = BAGS, rclpy_messages()
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
        assert serialization.deserialize_message(data, ros.types(kind)) == builder(ros.types)


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
