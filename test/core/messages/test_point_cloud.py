from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.messages.point_cloud import (
    DATATYPES,
    PointField,
    decode_point_cloud,
    point_time_offsets,
    read_fields,
)

STAMP = 1_700_000_000_123_456_789
NUMBER = {code: number for number, code in DATATYPES.items()}


def message(array, fields, padding=0):
    """Lay a (H, W) structured array out as a PointCloud2 with `padding` bytes after each row."""
    height, width = array.shape
    rows = array.view(np.uint8).reshape(height, width * array.itemsize)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xFF)
    big = any(array.dtype[f.name].base.byteorder == '>' for f in fields)
    return {
        'data': rows.tobytes(),
        'fields': fields,
        'point_step': array.itemsize,
        'row_step': rows.shape[1],
        'height': height,
        'width': width,
        'is_bigendian': big,
    }


def cloud_message(count=4, extra=(), *, itemsize=None, order='<', xyz='f4', height=1, padding=0):
    """A message with x, y, z and extra (name, code) fields packed without alignment."""
    names = [('x', xyz), ('y', xyz), ('z', xyz), *extra]
    offsets = np.cumsum([0, *[np.dtype(code).itemsize for _, code in names]])
    dtype = np.dtype(
        {
            'names': [name for name, _ in names],
            'formats': [order + code for _, code in names],
            'offsets': offsets[:-1].tolist(),
            'itemsize': itemsize or int(offsets[-1]),
        }
    )
    array = np.zeros((height, count // height), dtype)
    for i, axis in enumerate('xyz'):
        array[axis] = 1 + i + np.arange(count).reshape(array.shape)
    fields = [
        PointField(name, int(offset), NUMBER[code])
        for (name, code), offset in zip(names, offsets, strict=False)
    ]
    return array, fields, lambda: message(array, fields, padding)


@given(st.data())
def test_any_layout_is_read_as_it_was_written(data):
    order = data.draw(st.sampled_from('<>'))
    height, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    names = data.draw(st.permutations(['x', 'y', 'z', 'a', 'b', 'ring']))
    formats, offsets, fields, end = [], [], [], 0
    for name in names:
        code = data.draw(st.sampled_from(['f4', 'f8'] if name in 'xyz' else [*NUMBER]))
        count = 1 if name in 'xyz' else data.draw(st.integers(1, 3))
        end += data.draw(st.integers(0, 5))  # any gap: fields need not be aligned
        offsets.append(end)
        formats.append((order + code, (count,)) if count > 1 else order + code)
        fields.append(PointField(name, end, NUMBER[code], count))
        end += count * np.dtype(code).itemsize
    itemsize = end + data.draw(st.integers(0, 7))
    dtype = np.dtype(
        {'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': itemsize}
    )
    seed = np.random.default_rng(data.draw(st.integers(0, 9)))
    array = np.zeros((height, width), dtype)
    for name in names:
        array[name] = seed.integers(1, 100, array[name].shape)
    laid_out = message(array, fields, data.draw(st.integers(0, 9)))
    laid_out['is_bigendian'] = order == '>'

    views = read_fields(**laid_out, names=names)
    for name in names:
        np.testing.assert_array_equal(views[name], array[name])
    cloud, dropped = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    assert dropped == 0
    for column, axis in enumerate('xyz'):
        np.testing.assert_array_equal(cloud.points[:, column], array[axis].ravel())
    wide = any(array[axis].dtype.itemsize == 8 for axis in 'xyz')
    assert cloud.points.dtype == (np.float64 if wide else np.float32)
    assert cloud.points.flags.c_contiguous


def test_views_share_the_memory_of_the_message():
    _, _, build = cloud_message(6, [('intensity', 'f4')], height=2, padding=3)
    laid_out = build()
    laid_out['data'] = np.frombuffer(bytearray(laid_out['data']), np.uint8)
    for view in read_fields(**laid_out, names=['x', 'intensity']).values():
        assert view.shape == (2, 3)
        assert np.shares_memory(view, laid_out['data'])


@pytest.mark.parametrize('container', [bytes, bytearray, memoryview, np.array])
def test_any_buffer_is_accepted(container):
    array, _, build = cloud_message()
    laid_out = build()
    data = np.frombuffer(laid_out['data'], np.uint8)
    laid_out['data'] = data.copy() if container is np.array else container(laid_out['data'])
    np.testing.assert_array_equal(read_fields(**laid_out, names=['y'])['y'], array['y'])


def test_unusable_points_are_removed_and_counted_with_their_values():
    array, _, build = cloud_message(8, [('intensity', 'f4'), ('time', 'f4')])
    array['intensity'] = np.arange(8)
    array['time'] = -0.01 * np.arange(8)
    array['x'][0, 1] = np.nan
    array['y'][0, 3] = np.inf
    array['z'][0, 4] = -np.inf
    for axis in 'xyz':
        array[axis][0, 6] = 0  # a sensor that writes "no return" as its own origin
    cloud, dropped = decode_point_cloud(**build(), stamp_ns=STAMP)
    assert dropped == 4
    kept = np.array([0, 2, 5, 7])
    np.testing.assert_array_equal(cloud.points, np.stack([1 + kept, 2 + kept, 3 + kept], axis=1))
    np.testing.assert_array_equal(cloud.intensity, kept)
    np.testing.assert_allclose(cloud.time_offset_ns, -10_000_000 * kept, atol=10)


def test_coordinates_beyond_float32_are_dropped():
    array, _, build = cloud_message(2, xyz='f8')
    array['x'][0, 1] = 1e300
    cloud, dropped = decode_point_cloud(**build(), stamp_ns=STAMP)
    assert (len(cloud.points), dropped) == (1, 1)


@pytest.mark.parametrize(('height', 'width', 'row_step'), [(1, 0, 0), (0, 0, 0), (0, 5, 60)])
def test_empty_cloud_is_a_cloud(height, width, row_step):
    _, fields, _ = cloud_message(1, [('intensity', 'f4'), ('t', 'u4')])
    cloud, dropped = decode_point_cloud(b'', fields, 20, row_step, height, width, False, STAMP)
    assert cloud.points.shape == (0, 3)
    assert cloud.intensity.shape == cloud.time_offset_ns.shape == (0,)
    assert dropped == 0


@pytest.mark.parametrize(
    ('name', 'code'),
    [('intensity', 'f4'), ('intensity', 'u1'), ('i', 'f4'), ('reflectivity', 'u2')],
)
def test_intensity_goes_by_several_names(name, code):
    array, _, build = cloud_message(3, [(name, code)])
    array[name] = [7, 8, 9]
    cloud, _ = decode_point_cloud(**build(), stamp_ns=STAMP)
    np.testing.assert_array_equal(cloud.intensity, np.array([7, 8, 9], np.float32))
    assert cloud.intensity.dtype == np.float32
    assert cloud.time_offset_ns is None


SWEEP = np.array([0.0, 0.025, 0.05, 0.0999])
# layouts of the drivers: field, type, values over one sweep, what they mean, precision
TIMES = [
    pytest.param('time', 'f4', SWEEP - 0.0999, SWEEP - 0.0999, 's', 10, id='velodyne'),
    pytest.param('t', 'u4', SWEEP * 1e9, SWEEP, 'ns', 1, id='ouster'),
    pytest.param('timestamp', 'f8', STAMP / 1e9 + SWEEP, SWEEP, 's', 500, id='hesai'),
    pytest.param('timestamp', 'f8', STAMP + SWEEP * 1e9, SWEEP, 'ns', 300, id='livox'),
    pytest.param('timestamp', 'f8', STAMP / 1e9 - SWEEP, -SWEEP, 's', 500, id='robosense'),
    pytest.param('time_stamp', 'u4', SWEEP * 1e9, SWEEP, 'ns', 1, id='autoware'),
    pytest.param('timestamp', 'f8', SWEEP, SWEEP, 's', 1, id='relative float64'),
    pytest.param('timestamp', 'f8', STAMP / 1e3 + SWEEP * 1e6, SWEEP, 'us', 500, id='micros'),
]


@pytest.mark.parametrize(('name', 'code', 'values', 'expected', 'unit', 'precision'), TIMES)
@pytest.mark.parametrize('order', '<>')
def test_point_times_of_the_drivers(name, code, values, expected, unit, precision, order):
    # unaligned on purpose: ring is one byte, so that the time lies at an odd offset
    array, _, build = cloud_message(4, [('ring', 'u1'), (name, code)], order=order)
    array[name] = values
    laid_out = build()
    cloud, _ = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    assert cloud.time_offset_ns.dtype == np.int64
    np.testing.assert_allclose(cloud.time_offset_ns, expected * 1e9, atol=precision)
    view = read_fields(**laid_out, names=[name])[name].reshape(-1)
    offsets, reason = point_time_offsets(name, view, STAMP)
    np.testing.assert_array_equal(offsets, cloud.time_offset_ns)
    assert reason.startswith(f'{name} (')
    assert f'time in {unit}, ' in reason


# The bytes of a point as each driver lays it out: (name, type, offset), point_step, organised.
XYZ = [('x', 'f4', 0), ('y', 'f4', 4), ('z', 'f4', 8)]
PACKED = [*XYZ, ('intensity', 'f4', 12), ('ring', 'u2', 16)]
DRIVERS = {
    'velodyne': ([*PACKED, ('time', 'f4', 18)], 22, True),
    'ouster': (
        [
            *[*XYZ, ('intensity', 'f4', 16), ('t', 'u4', 20), ('reflectivity', 'u2', 24)],
            *[('ring', 'u2', 26), ('ambient', 'u2', 28), ('range', 'u4', 32)],
        ],
        48,
        True,
    ),
    'hesai': ([*PACKED, ('timestamp', 'f8', 18)], 26, False),
    'livox': (
        [
            *[*XYZ, ('intensity', 'f4', 12), ('tag', 'u1', 16), ('line', 'u1', 17)],
            ('timestamp', 'f8', 18),
        ],
        26,
        False,
    ),
    'robosense': ([*PACKED, ('timestamp', 'f8', 18)], 26, True),
}
# What the time field of each holds, from seconds after the header's stamp, and its precision.
CLOCKS = {
    'velodyne': ('time', lambda s: s, 20, 'relative time in s'),
    'ouster': ('t', lambda s: s * 1e9, 1, 'relative time in ns'),
    'hesai': ('timestamp', lambda s: STAMP / 1e9 + s, 500, 'absolute time in s'),
    'livox': ('timestamp', lambda s: STAMP + s * 1e9, 300, 'absolute time in ns'),
    'robosense': ('timestamp', lambda s: STAMP / 1e9 + s, 500, 'absolute time in s'),
}


@pytest.mark.parametrize('driver', DRIVERS)
def test_sweeps_of_the_drivers_byte_by_byte(driver, rng):
    """Drivers stamp the begin of a sweep, but Velodyne's and Robosense's its end."""
    layout, step, organised = DRIVERS[driver]
    name, clock, precision, decision = CLOCKS[driver]
    dtype = np.dtype(
        {
            'names': [field for field, _, _ in layout],
            'formats': ['<' + code for _, code, _ in layout],
            'offsets': [offset for _, _, offset in layout],
            'itemsize': step,
        }
    )
    array = np.zeros((16, 50) if organised else (1, 800), dtype)
    seconds = np.linspace(0, 0.0999, array.size).reshape(array.shape)
    if driver in ('velodyne', 'robosense'):
        seconds = seconds - 0.0999
    for axis in 'xyz':
        array[axis] = rng.uniform(1, 50, array.shape)
    array['intensity'] = rng.integers(0, 255, array.shape)
    array[name] = clock(seconds)
    lost = rng.random(array.shape) < 0.2
    if organised:  # no return: NaN, or the origin with a time of 0
        array['x'][lost] = 0 if driver == 'ouster' else np.nan
        array['y'][lost] = array['z'][lost] = 0
        array[name][lost] = 0
    kept = ~lost if organised else np.ones_like(lost)
    fields = [PointField(field, offset, NUMBER[code]) for field, code, offset in layout]
    cloud, dropped = decode_point_cloud(**message(array, fields), stamp_ns=STAMP)
    assert dropped == array.size - kept.sum()
    np.testing.assert_array_equal(cloud.points[:, 1], array['y'][kept])
    np.testing.assert_array_equal(cloud.intensity, array['intensity'][kept])
    np.testing.assert_allclose(cloud.time_offset_ns, seconds[kept] * 1e9, atol=precision)
    assert decision in cloud.time_note


def test_a_cloud_without_times_says_so():
    _, _, build = cloud_message(3, [('ring', 'u2')])
    cloud, _ = decode_point_cloud(**build(), stamp_ns=STAMP)
    assert cloud.time_offset_ns is None
    assert cloud.time_note.startswith('no field of time')
    assert cloud.time_note.endswith('among x, y, z, ring')


def test_absolute_integer_nanoseconds_are_exact():
    offsets, reason = point_time_offsets('t', np.array([STAMP - 7, STAMP + 5], np.uint64), STAMP)
    np.testing.assert_array_equal(offsets, [-7, 5])
    assert 'absolute time in ns' in reason


@pytest.mark.parametrize(
    'values',
    [
        np.array([0.0, 3.6], np.float32),  # a first sweep with a stale start
        np.array([STAMP / 1e9 - 5000, STAMP / 1e9]),  # half of it from another clock
        np.array([12.0, 12.1]),  # seconds since the sensor's start
        np.array([0.0, np.nan]),
        np.array([0, 2_000_000_000], np.uint32),
    ],
)
def test_times_of_another_clock_are_not_used(values):
    offsets, reason = point_time_offsets('time', values, STAMP)
    assert offsets is None
    assert 'is not used: it runs from' in reason


def test_zero_times_of_missing_returns_do_not_spoil_the_others():
    array, _, build = cloud_message(3, [('timestamp', 'f8')])
    array['timestamp'] = [[STAMP / 1e9, 0.0, STAMP / 1e9 + 0.1]]
    array['x'][0, 1] = np.nan
    cloud, _ = decode_point_cloud(**build(), stamp_ns=STAMP)
    np.testing.assert_allclose(cloud.time_offset_ns, [0, 1e8], atol=500)


@pytest.mark.parametrize(
    ('changed', 'reason'),
    [
        ({'fields': [PointField('a', 0, 7)]}, r"needs x, y and z, lacks \['x', 'y', 'z'\]"),
        ({'fields': [PointField('x', 0, 7), PointField('z', 4, 7)]}, r"lacks \['y'\]"),
        ({'z': PointField('z', 10, 7)}, "field 'z' covers bytes 10 to 14 of a point of 12"),
        ({'z': PointField('z', -1, 7)}, "field 'z' covers bytes -1 to 3"),
        ({'z': PointField('z', 8, 6)}, "field 'z' must be one float32 or float64"),
        ({'z': PointField('z', 8, 7, 3)}, "field 'z' must be one float32 or float64"),
        ({'i': PointField('i', 0, 9)}, "field 'i' has datatype 9, expected 1 to 8"),
        ({'data': bytes(47)}, 'truncated: 47 bytes, expected height x row_step = 1 x 48 = 48'),
        (
            {'data': bytes(99), 'height': 2, 'width': 4, 'row_step': 47},
            'row_step must be at least',
        ),
        ({'data': b''}, 'truncated: 0 bytes'),
        (
            {'height': 2, 'width': 2, 'row_step': 25},
            '48 bytes, expected height x row_step = 2 x 25',
        ),
        ({'point_step': 0}, 'row_step must be at least width x point_step = 4 x 0'),
        ({'height': -1}, 'cloud size must not be negative'),
    ],
)
def test_broken_clouds_are_refused_in_one_sentence(changed, reason):
    _, fields, build = cloud_message()
    laid_out = build()
    named = {name: changed.pop(name) for name in ('z', 'i') if name in changed}
    laid_out['fields'] = [*(f for f in fields if f.name not in named), *named.values()]
    laid_out.update(changed)
    with pytest.raises(ValueError, match=reason):
        decode_point_cloud(**laid_out, stamp_ns=STAMP)


def test_asking_for_a_field_that_is_not_there_lists_the_others():
    _, _, build = cloud_message()
    with pytest.raises(ValueError, match=r"no field 'ring', only \['x', 'y', 'z'\]"):
        read_fields(**build(), names=['ring'])


@given(st.binary(max_size=200), st.data())
def test_no_description_of_the_bytes_reads_beyond_them(content, data):
    number = st.integers(-3, 60)
    fields = [
        PointField(name, data.draw(number), data.draw(st.integers(0, 9)), data.draw(number))
        for name in 'xyz'
    ]
    try:
        cloud, dropped = decode_point_cloud(
            content,
            fields,
            data.draw(number),
            data.draw(number),
            data.draw(number),
            data.draw(number),
            data.draw(st.booleans()),
            STAMP,
        )
    except ValueError:
        return
    assert len(cloud.points) + dropped <= len(content)


@pytest.mark.parametrize('row_step', [0, 1, 47, 49, 10**9])
def test_the_step_of_a_single_row_says_nothing(row_step):
    _, _, build = cloud_message()
    laid_out = build()
    want, _ = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    laid_out['row_step'] = row_step
    got, _ = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    np.testing.assert_array_equal(got.points, want.points)


@pytest.mark.parametrize('row_step', [0, 5])
def test_rows_of_which_the_data_holds_just_the_points_leave_no_choice(row_step):
    _, _, build = cloud_message()
    laid_out = build()
    want, _ = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    laid_out |= {'height': 2, 'width': laid_out['width'] // 2, 'row_step': row_step}
    got, _ = decode_point_cloud(**laid_out, stamp_ns=STAMP)
    np.testing.assert_array_equal(got.points, want.points)
    assert got.source.row_step == laid_out['width'] * laid_out['point_step']
