"""`semantic/points` keeps what the driver sent; the layouts are those that drivers document."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.messages.labelled_cloud import (
    labelled_cloud,
    points_image,
    read_labelled_points,
)
from sam_ad_perception.core.sensors import PointCloud

STAMP = 1_700_000_000_000_000_000
SPACE = LABEL_SPACES['cityscapes']
DATATYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}

# Driver -> fields (name, offset, type), point_step, rows, how a missing return is written,
# and where the time of a point stands: field, its unit in ns, and whether it counts from 1970.
XYZ = [('x', 0, 'f4'), ('y', 4, 'f4'), ('z', 8, 'f4')]
LAYOUTS = {
    'velodyne VLP-16': (
        [*XYZ, ('intensity', 12, 'f4'), ('ring', 16, 'u2'), ('time', 18, 'f4')],
        (22, 1, None, ('time', 10**9, False)),
    ),
    'velodyne VLP-32C, organised': (
        [*XYZ, ('intensity', 16, 'f4'), ('ring', 20, 'u2'), ('time', 24, 'f4')],
        (32, 32, np.nan, ('time', 10**9, False)),
    ),
    'ouster OS0, OS1, OS2': (
        [
            *XYZ,
            ('intensity', 16, 'f4'),
            ('t', 20, 'u4'),
            ('reflectivity', 24, 'u2'),
            ('ring', 26, 'u2'),
            ('ambient', 28, 'u2'),
            ('range', 32, 'u4'),
        ],
        (48, 64, 0.0, ('t', 1, False)),
    ),
    'hesai': (
        [*XYZ, ('intensity', 12, 'f4'), ('ring', 16, 'u2'), ('timestamp', 18, 'f8')],
        (26, 1, None, ('timestamp', 10**9, True)),
    ),
    'robosense': (
        [*XYZ, ('intensity', 12, 'f4'), ('ring', 16, 'u2'), ('timestamp', 18, 'f8')],
        (26, 16, np.nan, ('timestamp', 10**9, True)),
    ),
    'livox PointCloud2': (
        [
            *XYZ,
            ('intensity', 12, 'f4'),
            ('tag', 16, 'u1'),
            ('line', 17, 'u1'),
            ('timestamp', 18, 'f8'),
        ],
        (26, 1, None, ('timestamp', 1, True)),
    ),
    'luminar-like': (
        [
            ('timestamp', 0, 'u8'),
            ('x', 8, 'f4'),
            ('y', 12, 'f4'),
            ('z', 16, 'f4'),
            ('reflectance', 20, 'f4'),
            ('return_index', 24, 'u1'),
            ('sensor_id', 25, 'u1'),
        ],
        (32, 1, None, None),
    ),
}


def make_cloud(types, fields, step, rows, missing, time, *, order='<', padding=0):
    """A message as the driver lays it out: 192 points, rubbish between the fields."""
    rng = np.random.default_rng(7)
    known = [f for f in fields if f[2] in DATATYPES]
    dtype = np.dtype(
        {
            'names': [f[0] for f in known],
            'formats': [order + f[2] for f in known],
            'offsets': [f[1] for f in known],
            'itemsize': step,
        }
    )
    raw = rng.integers(0, 256, 192 * step, dtype=np.uint8)
    points = raw.view(dtype)
    for name in dtype.names:
        points[name] = rng.integers(1, 100, 192)
    if missing is not None:
        for axis in 'xyz':
            points[axis][::5] = missing
    offsets_ns = np.arange(192) * 500_000
    if time is not None:
        name, unit, absolute = time
        # Whole units first: a float64 of seconds since 1970 keeps 0.2 us of the rest.
        points[name] = offsets_ns / unit + (STAMP // unit if absolute else 0)
    width = 192 // rows
    lines = np.pad(raw.reshape(rows, width * step), ((0, 0), (0, padding)))
    message = cv.make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=cv.make_header(types, STAMP, 'lidar'),
        height=rows,
        width=width,
        fields=[
            cv.make(
                types,
                'sensor_msgs/msg/PointField',
                name=n,
                offset=o,
                datatype=DATATYPES[t],
                count=1,
            )
            for n, o, t in known
        ],
        is_bigendian=order == '>',
        point_step=step,
        row_step=width * step + padding,
        data=lines.reshape(-1),
        is_dense=missing is None,
    )
    return message, points, offsets_ns


def by_fields(message):
    """All fields of a message, read by numpy alone."""
    code = {number: kind for kind, number in DATATYPES.items()}
    order = '>' if message.is_bigendian else '<'
    dtype = np.dtype(
        {
            'names': [f.name for f in message.fields],
            'formats': [order + code[f.datatype] for f in message.fields],
            'offsets': [f.offset for f in message.fields],
            'itemsize': message.point_step,
        }
    )
    data = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.row_step)
    tight = np.ascontiguousarray(data[:, : message.width * message.point_step])
    return tight.reshape(-1).view(dtype)


@pytest.mark.parametrize('driver', LAYOUTS)
@pytest.mark.parametrize(('order', 'padding'), [('<', 0), ('<', 6), ('>', 0)])
def test_a_drivers_cloud_is_read_and_comes_back_labelled(ros, driver, order, padding):
    fields, (step, rows, missing, time) = LAYOUTS[driver]
    message, sent, offsets_ns = make_cloud(
        ros.types, fields, step, rows, missing, time, order=order, padding=padding
    )
    cloud, removed = cv.cloud_from_message(ros.round_trip(message))
    gone = np.zeros(192, bool)
    if missing is not None:
        gone[::5] = True
    assert removed == gone.sum()
    np.testing.assert_array_equal(cloud.points[:, 1], sent['y'][~gone])
    strength = 'reflectance' if driver == 'luminar-like' else 'intensity'
    np.testing.assert_array_equal(cloud.intensity, sent[strength][~gone])
    if time is not None:
        np.testing.assert_allclose(cloud.time_offset_ns, offsets_ns[~gone], atol=300)

    labels = (np.arange(len(cloud.points)) % 19).astype(np.uint8)
    labels[3] = 255
    made = labelled_cloud(ros.types, cloud, labels, SPACE, STAMP, 'lidar')
    out = ros.round_trip(made)
    assert (out.height, out.width) == (message.height, message.width)
    assert (out.is_bigendian, out.is_dense) == (message.is_bigendian, message.is_dense)
    names = [f.name for f in message.fields]
    assert [f.name for f in out.fields] == [*names, 'rgb', 'label']
    for old, new in zip(message.fields, out.fields[: len(names)], strict=True):
        assert (old.offset, old.datatype, old.count) == (new.offset, new.datatype, new.count)
    got = by_fields(out)
    for name in names:
        assert got[name].tobytes() == sent[name].tobytes(), name
    assert (got['label'][gone] == 255).all()
    np.testing.assert_array_equal(got['label'][~gone], labels)
    seen = np.flatnonzero(~gone)[0]
    r, g, b = SPACE.palette[labels[0]].tolist()
    rgb = np.array([r << 16 | g << 8 | b], f'{order}u4')
    assert got['rgb'][seen : seen + 1].tobytes() == rgb.tobytes()

    image = ros.round_trip(points_image(ros.types, cloud, labels, 255, STAMP, 'lidar'))
    assert (image.height, image.width) == (message.height, message.width)
    assert (image.encoding, image.header) == ('mono8', out.header)
    np.testing.assert_array_equal(cv.image_to_array(image)[0].reshape(-1), got['label'])

    points, ids = read_labelled_points(out)
    kept = ~np.isnan(sent['x'])
    assert len(points) == kept.sum()
    np.testing.assert_array_equal(ids, got['label'][kept])


def test_fields_of_our_names_are_given_on_under_others(ros):
    fields = [*XYZ, ('rgb', 12, 'f4'), ('label', 16, 'u4')]
    message, sent, _ = make_cloud(ros.types, fields, 20, 1, None, None)
    cloud, _ = cv.cloud_from_message(message)
    labels = np.full(192, 4, np.uint8)
    got = by_fields(labelled_cloud(ros.types, cloud, labels, SPACE, STAMP, 'lidar'))
    assert got.dtype.names == ('x', 'y', 'z', 'input_rgb', 'input_label', 'rgb', 'label')
    np.testing.assert_array_equal(got['input_label'], sent['label'])
    assert set(got['label'].tolist()) == {4}


def test_a_cloud_without_a_message_and_an_empty_one_are_labelled(ros):
    bare = PointCloud(np.ones((3, 3), np.float32))
    got = by_fields(labelled_cloud(ros.types, bare, np.arange(3, dtype='u1'), SPACE, STAMP, 'l'))
    assert got.dtype.names == ('x', 'y', 'z', 'rgb', 'label')
    message, _, _ = make_cloud(ros.types, XYZ, 12, 1, None, None)
    message.width, message.row_step, message.data = 0, 0, np.zeros(0, np.uint8)
    cloud, _ = cv.cloud_from_message(message)
    out = labelled_cloud(ros.types, cloud, np.zeros(0, np.uint8), SPACE, STAMP, 'l')
    assert (out.height, out.width, len(out.data)) == (1, 0, 0)
