"""Point clouds of random layouts against sensor_msgs_py."""

import numpy as np
import pytest

pytest.importorskip('sensor_msgs_py', reason='sensor_msgs_py is not installed (not in the wheels)')

from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2

from sam_ad_perception.core.messages.from_ros import cloud_from_message
from sam_ad_perception.core.messages.to_ros import cloud_to_message
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros
TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}


def layout(rng, coordinate):
    """Fields in any order, with gaps between them and behind."""
    names = ['x', 'y', 'z', 'intensity', 'ring', 'other']
    kinds = dict.fromkeys('xyz', coordinate)
    kinds |= {'intensity': int(rng.choice([2, 4, 7])), 'ring': 4, 'other': int(rng.integers(1, 9))}
    rng.shuffle(names)
    fields, offset = [], int(rng.integers(0, 5))
    for name in names:
        fields.append(PointField(name=name, offset=offset, datatype=kinds[name], count=1))
        offset += np.dtype(TYPES[kinds[name]]).itemsize + int(rng.integers(0, 5))
    return fields, offset + int(rng.integers(0, 9))


@pytest.mark.parametrize('seed', range(60))
def test_points_are_those_of_sensor_msgs_py(seed, count):
    rng = np.random.default_rng(seed)
    coordinate, big_endian = int(rng.choice([7, 8])), bool(seed % 2)
    fields, step = layout(rng, coordinate)
    height, width = (1, 200) if seed % 3 else (4, 50)
    order = '>' if big_endian else '<'
    dtype = np.dtype(
        {
            'names': [each.name for each in fields],
            'formats': [order + TYPES[each.datatype] for each in fields],
            'offsets': [each.offset for each in fields],
            'itemsize': step,
        }
    )
    cloud = np.zeros(height * width, dtype)
    for name in 'xyz':
        cloud[name] = rng.uniform(1, 50, len(cloud))
    for each in fields:
        if each.name not in 'xyz':
            cloud[each.name] = rng.integers(0, 100, len(cloud))
    lost = rng.random(len(cloud)) < 0.1
    cloud['y'][lost] = np.nan
    message = PointCloud2(height=height, width=width, fields=fields, point_step=step)
    message.row_step, message.is_bigendian, message.is_dense = step * width, big_endian, False
    message.header.stamp.sec = 1
    message.data.frombytes(cloud.tobytes())
    ours, removed = cloud_from_message(message)
    # It swaps the bytes of the message itself, so it comes second.
    theirs = point_cloud2.read_points(message, ['x', 'y', 'z', 'intensity'], skip_nans=True)
    assert removed == lost.sum()
    expected = np.stack([theirs[name] for name in 'xyz'], axis=1)  # f8 stays f8
    np.testing.assert_array_equal(ours.points, expected.reshape(-1, 3))
    assert ours.intensity is not None
    np.testing.assert_array_equal(ours.intensity, theirs['intensity'].astype(np.float32))
    count('sensor_msgs_py', 'clouds')
    count('sensor_msgs_py', 'points', len(ours.points))


@pytest.mark.parametrize('kinds', ['<f4', '<f8'])
def test_clouds_that_we_publish_are_read_by_sensor_msgs_py(kinds, rng, count):
    cloud = np.zeros(300, [(axis, kinds) for axis in 'xyz'] + [('label', 'u1')])
    for axis in 'xyz':
        cloud[axis] = rng.uniform(-9, 9, 300)
    cloud['label'] = rng.integers(0, 19, 300)
    message = cloud_to_message(message_type, cloud, 1, 'lidar')
    back = point_cloud2.read_points(message)
    for name in cloud.dtype.names:
        np.testing.assert_array_equal(back[name], cloud[name])
    count('sensor_msgs_py', 'clouds of ours')
