"""Topics are read before they are believed: recordings of which the right choice is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Modality

START = 1_700_000_000_000_000_000
SIZE = (60, 96)
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CLOUD, INFO = 'sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/CameraInfo'


def scene(rng, light=1.0):
    """A street: sky, a wall, a road, with the noise of a camera."""
    rgb = np.zeros((*SIZE, 3))
    rgb[:30], rgb[30:], rgb[15:30, :40] = (110, 160, 220), (90, 90, 95), (150, 90, 60)
    return np.clip(rgb * light + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)


def picture(kind, rng):
    """Pixels and encoding of an image of some kind."""
    rgb = scene(rng)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if kind == 'events':
        rgb = np.full((*SIZE, 3), 255, np.uint8)
        at = rng.integers(0, SIZE[0], 300), rng.integers(0, SIZE[1], 300)
        rgb[at] = np.where(rng.random((300, 1)) < 0.5, (255, 0, 0), (0, 0, 255))
    if kind == 'night':
        rgb = scene(rng, 0.02)
    if kind == 'false colours':
        rgb = cv2.applyColorMap(grey, cv2.COLORMAP_JET)[..., ::-1]
    counts = (grey.astype(np.uint16) * 4).astype(np.uint16)
    return {
        'colour': (rgb, 'rgb8'),
        'events': (rgb, 'rgb8'),
        'night': (rgb, 'rgb8'),
        'false colours': (np.ascontiguousarray(rgb), 'rgb8'),
        'bayer': (rgb[..., 1], 'bayer_rggb8'),
        'grey': (grey, 'mono8'),
        'light': (counts, 'mono16'),
        'counts': ((28000 + grey.astype(np.uint16) * 10).astype(np.uint16), 'mono16'),
        'raw counts': ((28000 + grey.astype(np.uint16) * 10).astype(np.uint16), '16UC1'),
        'millimetres': (counts * 10, '16UC1'),
        'metres': (grey.astype(np.float32) / 10, '32FC1'),
    }[kind]


def cloud_of(kind, rng):
    """Points of some kind, and their frame."""
    points = rng.uniform(-20, 20, (300, 3)).astype(np.float32)
    names = {
        'lidar': ('x', 'y', 'z', 'intensity', 'ring'),
        'few': ('x', 'y', 'z', 'intensity', 'ring'),
        'plain': ('x', 'y', 'z', 'intensity'),
        'constant': ('x', 'y', 'z', 'intensity'),
        'coloured': ('x', 'y', 'z', 'rgb'),
        'optical': ('x', 'y', 'z'),
        'radar': ('x', 'y', 'z', 'doppler', 'rcs'),
    }[kind]
    array = np.zeros(300, [(name, '<f4') for name in names])
    for column, axis in enumerate('xyz'):
        array[axis] = points[:, column]
    for name in set(names) - {'x', 'y', 'z'}:
        array[name] = 7 if kind == 'constant' else rng.uniform(0, 100, 300)
    if kind == 'optical':
        array['z'] = np.abs(array['z']) + 1
    array = array[:50] if kind == 'few' else array
    return array, 'cam_optical' if kind == 'optical' else 'frame'


def write(path, rng, listed):
    """`{topic: kind}` or `{topic: (kind, number of messages, share of the time)}`."""
    with BagWriter(path) as writer:
        rows = []
        for topic, what in listed.items():
            kind, count, share = what if isinstance(what, tuple) else (what, 10, 1.0)
            is_cloud = kind in (
                'lidar',
                'few',
                'plain',
                'constant',
                'coloured',
                'optical',
                'radar',
            )
            packed = topic.endswith('compressed')
            writer.add_topic(topic, CLOUD if is_cloud else COMPRESSED if packed else IMAGE)
            for k in range(count):
                stamp = START + int(share * k / max(1, count - 1) * 1_000_000_000)
                if is_cloud:
                    array, frame = cloud_of(kind, rng)
                    message = cv.cloud_to_message(writer.types, array, stamp, frame)
                else:
                    pixels, encoding = picture(kind, rng)
                    make = cv.array_to_compressed if packed else cv.array_to_image
                    message = make(writer.types, pixels, encoding, stamp, 'cam')
                rows.append((stamp, topic, message))
            base = topic.removesuffix('/compressed').rpartition('/')[0]
            if not is_cloud and f'{base}/camera_info' not in listed:
                writer.add_topic(f'{base}/camera_info', INFO)
                camera = CameraModel(SIZE[1], SIZE[0], np.diag([50.0, 50, 1]), frame_id='cam')
                info = cv.camera_to_message(writer.types, camera, START)
                rows.append((START, f'{base}/camera_info', info))
        for stamp, topic, message in sorted(rows, key=lambda row: row[0]):
            writer.write(topic, message, stamp)
    return path


@pytest.mark.parametrize(
    ('listed', 'chosen'),
    [
        pytest.param(
            {'/oak/stereo/image_raw': 'millimetres', '/oak/rgb/image_raw/compressed': 'colour'},
            {'camera': '/oak/rgb/image_raw/compressed', 'depth': '/oak/stereo/image_raw'},
            id='millimetres are no camera',
        ),
        pytest.param(
            {'/front/image': 'metres', '/side/image': 'grey'},
            {'camera': '/side/image', 'depth': '/front/image'},
            id='nor are metres',
        ),
        pytest.param(
            {'/ouster/range_image': 'light', '/cam/image': 'colour'},
            {'camera': '/cam/image'},
            id='nor the ranges that a lidar draws',
        ),
        pytest.param(
            {'/flir_camera/image_raw': 'colour'},
            {'camera': '/flir_camera/image_raw'},
            id='a colour camera of FLIR',
        ),
        pytest.param(
            {'/flir_camera/image_raw': 'bayer'},
            {'camera': '/flir_camera/image_raw'},
            id='its mosaic',
        ),
        pytest.param(
            {'/flir/image_raw': 'counts', '/cam/image': 'colour'},
            {'camera': '/cam/image', 'thermal': '/flir/image_raw'},
            id='a thermal camera of FLIR',
        ),
        pytest.param(
            {'/rgb/image_raw': 'colour', '/ir/image_raw': 'light'},
            {'camera': '/rgb/image_raw'},
            id='near infrared is not thermal',
        ),
        pytest.param(
            {'/rgb/image_raw': 'colour', '/infrared/image_raw': 'grey'},
            {'camera': '/rgb/image_raw'},
            id='nor is near infrared of 8 bits',
        ),
        pytest.param(
            {'/rgb/image_raw': 'colour', '/ir/image_raw': 'counts'},
            {'camera': '/rgb/image_raw', 'thermal': '/ir/image_raw'},
            id='infrared with counts of heat',
        ),
        pytest.param(
            {'/cam/image': 'colour', '/thermal/image_view': ('false colours', 30, 1.0)}
            | {'/thermal/image': 'counts'},
            {'camera': '/cam/image', 'thermal': '/thermal/image'},
            id='counts rather than their false colours',
        ),
        pytest.param(
            {'/cam/image': 'colour', '/thermal/image': 'raw counts'},
            {'camera': '/cam/image', 'thermal': '/thermal/image'},
            id='16UC1 called thermal is thermal',
        ),
        pytest.param(
            {'/cam/image': 'colour', '/thermal/image_view': 'false colours'},
            {'camera': '/cam/image', 'thermal': '/thermal/image_view'},
            id='false colours if nothing else is there',
        ),
        pytest.param(
            {'/a/image': 'events', '/b/image': 'night'},
            {'camera': '/b/image', 'event': '/a/image'},
            id='a picture of events is no camera, a dark one is',
        ),
        pytest.param(
            {'/cam/image_raw': ('colour', 8, 0.2), '/cam/image_raw/compressed': 'colour'},
            {'camera': '/cam/image_raw/compressed'},
            id='raw only where it covers the recording',
        ),
        pytest.param(
            {'/front/image': ('colour', 8, 0.2), '/left/image': 'colour'},
            {'camera': '/left/image'},
            id='coverage before names',
        ),
        pytest.param(
            {'/cam/image_raw': 'colour', '/cam/image_raw/compressed': 'colour'},
            {'camera': '/cam/image_raw'},
            id='raw before compressed',
        ),
        pytest.param(
            {'/ouster/points': 'plain', '/oak/points': ('plain', 30, 1.0)},
            {'lidar': '/ouster/points'},
            id='a stereo cloud by its name',
        ),
        pytest.param(
            {'/points': 'plain', '/a/points': ('coloured', 30, 1.0)},
            {'lidar': '/points'},
            id='by its colours',
        ),
        pytest.param(
            {'/points': 'plain', '/a/points': ('optical', 30, 1.0)},
            {'lidar': '/points'},
            id='by its frame',
        ),
        pytest.param({'/oak/points': 'coloured'}, {'lidar': '/oak/points'}, id='if it is alone'),
        pytest.param(
            {'/a/points': 'lidar', '/b/points': ('constant', 30, 1.0)},
            {'lidar': '/a/points'},
            id='an intensity that changes',
        ),
        pytest.param(
            {'/a/points': ('radar', 30, 1.0), '/b/points': 'lidar'},
            {'lidar': '/b/points'},
            id='a radar is no lidar',
        ),
    ],
)
def test_the_sensors_are_those_that_the_messages_hold(tmp_path, rng, listed, chosen):
    with BagReader(write(tmp_path / 'bag', rng, listed)) as reader:
        mapping = choose_topics(reader)
    assert {m.value: s.data for m, s in mapping.sensors.items() if s.data} == chosen
    # Every topic of a sensor's type is accounted for: read, or left out with a reason.
    told = {c.name for c in mapping.candidates}
    assert told == set(listed)
    left_out = {name: why for name, _, why in mapping.left_out()}
    assert set(left_out) == set(listed) - set(chosen.values())
    assert all(left_out.values())


def test_doubt_comes_with_the_option_that_overrules(tmp_path, rng):
    listed = {'/rgb/image_raw': 'colour', '/ir/image_raw': 'light', '/oak/points': 'coloured'}
    with BagReader(write(tmp_path / 'bag', rng, listed)) as reader:
        mapping = choose_topics(reader)
        told = choose_topics(reader, {'thermal': '/ir/image_raw', 'lidar': ''})
    ((name, count, why),) = mapping.left_out()
    assert (name, count) == ('/ir/image_raw', '10')
    assert '--topic thermal:=/ir/image_raw takes it' in why
    (doubt,) = mapping.doubts()
    assert '/oak/points is taken as lidar: a stereo or depth camera' in doubt
    assert told.sensors[Modality.THERMAL].data == '/ir/image_raw'
    assert Modality.LIDAR not in told.sensors
    assert told.doubts() == []


@pytest.mark.parametrize(
    ('kind', 'driver'),
    [
        ('velodyne_msgs/msg/VelodyneScan', 'velodyne_pointcloud'),
        ('ouster_sensor_msgs/msg/PacketMsg', 'ouster_ros'),
        ('hesai_ros_driver/msg/UdpFrame', 'hesai_ros_driver'),
        ('nebula_msgs/msg/NebulaPackets', 'nebula_ros'),
        ('rslidar_msg/msg/RslidarPacket', 'rslidar_sdk'),
        ('acme_msgs/msg/LidarScan', 'no type of a sensor that is known here'),
    ],
)
def test_packets_are_named_with_the_driver_that_reads_them(tmp_path, rng, kind, driver):
    from rosbags.typesys import get_types_from_msg

    path = write(tmp_path / 'cams', rng, {'/cam/image': 'colour'})
    with BagReader(path) as source, BagWriter(tmp_path / 'bag') as writer:
        writer.typestore.register(get_types_from_msg('uint8[] data\n', kind))
        for topic in source.topics:
            writer.copy_topic(topic)
        writer.add_topic('/packets', kind)
        writer.write('/packets', writer.types(kind)(np.zeros(9, np.uint8)), source.start_ns)
        for message in source.messages():
            writer.copy(message)
    with BagReader(tmp_path / 'bag') as reader:
        mapping = choose_topics(reader)
    ((name, count, why),) = mapping.left_out()
    assert (name, count) == ('/packets', '1')
    assert driver in why
    assert driver in mapping.reason_for_none(Modality.LIDAR)


@pytest.mark.parametrize(
    ('listed', 'chosen'),
    [
        (
            {'/zed/zed_node/depth/depth_map': 'metres', '/zed/zed_node/rgb/image': 'colour'},
            {'camera': '/zed/zed_node/rgb/image', 'depth': '/zed/zed_node/depth/depth_map'},
        ),
        (
            {'/zed2/depth/depth_registered': 'metres', '/zed2/rgb/image_rect_color': 'colour'},
            {'camera': '/zed2/rgb/image_rect_color', 'depth': '/zed2/depth/depth_registered'},
        ),
        (
            {'/camera/depth_registered/image_raw': 'millimetres', '/camera/rgb/image': 'colour'},
            {'camera': '/camera/rgb/image', 'depth': '/camera/depth_registered/image_raw'},
        ),
        (  # what perception itself has published
            {'/depth_registered/image_rect': 'metres', '/cam/image_raw': 'colour'},
            {'camera': '/cam/image_raw', 'depth': None},
        ),
        (
            {'/camera/aligned_depth_to_color/image_raw': 'millimetres', '/c/image': 'colour'},
            {'camera': '/c/image', 'depth': '/camera/aligned_depth_to_color/image_raw'},
        ),
        (
            {
                **{f'/ouster/{n}_image': 'light' for n in ('range', 'signal', 'nearir', 'reflec')},
                '/cam/image_raw': 'colour',
            },
            {'camera': '/cam/image_raw', 'depth': None, 'thermal': None},
        ),
        (
            {'/lidar/range_image': 'millimetres', '/cam/image_raw': 'colour'},
            {'camera': '/cam/image_raw', 'depth': None},
        ),
        (
            {'/tau2/image_raw': 'counts', '/cam/image_raw': 'colour'},
            {'camera': '/cam/image_raw', 'thermal': '/tau2/image_raw'},
        ),
        (
            {'/teax/image': 'raw counts', '/cam/image_raw': 'colour'},
            {'camera': '/cam/image_raw', 'thermal': '/teax/image', 'depth': None},
        ),
        (  # a name that tells nothing: no depth camera sees 280 m in every pixel
            {'/sensor3/image': 'raw counts', '/cam/image_raw': 'colour'},
            {'camera': '/cam/image_raw', 'thermal': '/sensor3/image', 'depth': None},
        ),
        (
            {'/k4a/ir/image_raw': 'light', '/k4a/rgb/image_raw': 'colour'},
            {'camera': '/k4a/rgb/image_raw', 'thermal': None},
        ),
        (
            {'/d435/infra1/image_rect_raw': 'grey', '/d435/color/image_raw': 'colour'},
            {'camera': '/d435/color/image_raw', 'thermal': None},
        ),
        ({'/flir_blackfly/image_raw': 'bayer'}, {'camera': '/flir_blackfly/image_raw'}),
        (
            {'/camera/depth/color/points': 'coloured', '/points_raw': 'plain'},
            {'lidar': '/points_raw'},
        ),
        (
            {'/zed2/point_cloud/cloud_registered': 'coloured', '/lidar/points': 'plain'},
            {'lidar': '/lidar/points'},
        ),
        (  # parts of a sweep, and what was made of it
            {f'/a/{n}': 'lidar' for n in ('ground_points', 'obstacle_cloud', 'points_downsampled')}
            | {'/velodyne_points': 'lidar'},
            {'lidar': '/velodyne_points'},
        ),
        ({'/a/points': 'few', '/b/points': 'lidar'}, {'lidar': '/b/points'}),
        ({'/oak/points': 'optical', '/rslidar_points': 'lidar'}, {'lidar': '/rslidar_points'}),
        ({'/ti_mmwave/pcl': 'radar', '/livox/points': 'plain'}, {'lidar': '/livox/points'}),
        ({'/stereo/points2': 'coloured', '/cam/image': 'colour'}, {'lidar': '/stereo/points2'}),
        (
            {'/cam/image_raw': ('colour', 10, 0.4), '/cam/image_raw/compressed': 'colour'},
            {'camera': '/cam/image_raw/compressed'},
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else '',
)
def test_names_of_drivers_and_what_they_carry(tmp_path, rng, listed, chosen):
    with BagReader(write(tmp_path / 'bag', rng, listed)) as reader:
        sensors = choose_topics(reader).sensors
    found = {name: sensors[Modality(name)].data if Modality(name) in sensors else None
             for name in chosen}  # fmt: skip
    assert found == chosen
