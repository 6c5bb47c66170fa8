"""Point clouds that cannot be: unit, byte order, no returns, times of points."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.messages.point_cloud import PointField, decode_point_cloud
from sam_ad_perception.core.plausibility.clouds import check_cloud
from sam_ad_perception.core.plausibility.geometry import check_principal_point, check_view
from sam_ad_perception.core.plausibility.point_times import check_point_times
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud

STAMP = 1_700_000_000_000_000_000
PERIOD = 100_000_000
NUMBER = {'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8, 'u8': 6}


def street(rng, count=4000):
    """Points around a lidar: 2 to 80 m, near the ground."""
    azimuth, reach = rng.uniform(-np.pi, np.pi, count), rng.uniform(2, 80, count)
    z = rng.uniform(-1.8, 3, count)
    return np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), z], axis=1)


def decode(points, times=None, name='t', code='u4', *, order='<', flag=None, xyz='f4'):
    names = ['x', 'y', 'z', *([name] if times is not None else [])]
    kinds = [xyz] * 3 + ([code] if times is not None else [])
    dtype = np.dtype([(n, order + k) for n, k in zip(names, kinds, strict=True)])
    array = np.zeros(len(points), dtype)
    for axis, values in zip('xyz', points.T, strict=True):
        array[axis] = values
    if times is not None:
        array[name] = times
    fields = [
        PointField(n, dtype.fields[n][1], NUMBER[k]) for n, k in zip(names, kinds, strict=True)
    ]
    big = (order == '>') if flag is None else flag
    size = dtype.itemsize
    return decode_point_cloud(
        array.tobytes(), fields, size, size * len(points), 1, len(points), big, STAMP
    )


def codes(cloud):
    return [each.code for each in cloud.findings]


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('xyz', ['f4', 'f8'])
def test_a_wrong_byte_order_flag_is_read_against(rng, order, xyz):
    points = street(rng)
    points[::9] = np.nan
    times = np.linspace(0, 1e8, len(points)).astype(np.uint32)
    right, _ = decode(points, times, order=order, xyz=xyz)
    assert not right.findings
    wrong, _ = decode(points, times, order=order, flag=order == '<', xyz=xyz)
    assert codes(wrong) == ['cloud.byte_order']
    np.testing.assert_array_equal(wrong.points, right.points)
    np.testing.assert_array_equal(wrong.time_offset_ns, right.time_offset_ns)


@pytest.mark.parametrize(
    ('scale', 'word', 'reach'),
    [
        (1000, 'millimetres', 1),
        (100, 'centimetres', 1),
        (1 / 0.0254, 'inches', 1),
        (1 / 0.3048, 'feet', 2),  # of a near street they could be metres of a wide one
    ],
)
def test_a_cloud_in_another_unit_is_out(rng, scale, word, reach):
    points = street(rng) * reach
    found = check_cloud(points * scale)
    assert found is not None
    assert (found.code, found.out) == ('cloud.unit', True)
    assert word in found.text


@pytest.mark.parametrize('offset', [(0, 0, 0), (452_000, 5_412_000, 300), (2000, -3000, 0)])
def test_points_of_a_map_are_no_other_unit(rng, offset):
    assert check_cloud(street(rng) + np.array(offset)) is None


def test_no_returns_that_were_moved_with_the_others_are_removed(rng):
    points = street(rng)
    moved = points.copy()
    moved[::3] = (1.2, -0.3, 1.9)
    cloud, dropped = decode(moved)
    assert codes(cloud) == ['cloud.no_return']
    assert dropped == len(moved[::3])
    np.testing.assert_allclose(cloud.points, np.delete(points, np.s_[::3], axis=0).astype('f4'))
    wall = points.copy()
    wall[:, 0] = 10.0  # a wall without noise: one x, many y and z
    assert not decode(wall)[0].findings


def sweep(points, times, name='t', code='u4', arrival=None, stamp=STAMP):
    cloud, _ = decode(points, times, name, code)
    return check_point_times(cloud, stamp, PERIOD, arrival)


@pytest.mark.parametrize(
    ('name', 'code', 'unit', 'told'),
    [
        ('t', 'u4', 1e9, []),
        ('t', 'u4', 1e6, ['point_time.unit']),
        ('t', 'u4', 1e3, ['point_time.unit']),
        ('time', 'f4', 1, []),
        ('time', 'f4', 1e3, []),
        ('time', 'f4', 1e6, []),
        ('time', 'f4', 1e9, []),
        ('timestamp', 'f8', 1, []),
    ],
)
def test_the_unit_of_point_times_is_that_of_a_sweep(rng, name, code, unit, told):
    points, share = street(rng), np.linspace(0, 0.0999, 4000)
    cloud = sweep(points, share * unit, name, code)
    assert codes(cloud) == told
    np.testing.assert_allclose(
        cloud.time_offset_ns, share * 1e9, atol=1.1e9 / min(unit, 1e9) + 5e3
    )


def test_a_span_that_no_unit_explains_is_told_and_left_as_it_is(rng):
    """Ticks of 100 ns: a sweep of 1 ms, which a flash lidar has, too."""
    ticks = np.linspace(0, 0.0999, 4000) * 1e7
    cloud = sweep(street(rng), ticks)
    assert codes(cloud) == ['point_time.span']
    assert not cloud.findings[0].out
    np.testing.assert_allclose(cloud.time_offset_ns, ticks, atol=1)


def test_times_that_are_all_alike_are_none(rng):
    for value in (0.0, 0.05):
        cloud, _ = decode(street(rng), np.full(4000, value), 'time', 'f4')
        assert cloud.time_offset_ns is None
        assert codes(cloud) == ['point_time.constant']
        assert cloud.time_note.endswith('for all points')


@pytest.mark.parametrize('odd', [4_294_000_000, 700_000_000])
def test_one_wrapped_time_costs_its_point_not_the_deskewing(rng, odd):
    times = np.linspace(0, 9.99e7, 4000).astype(np.uint32)
    times[1234] = odd
    points = street(rng)
    cloud = sweep(points, times)
    if odd > 1_000_000_000:
        assert codes(cloud) == ['point_time.outlier']
        assert len(cloud.points) == 3999
    assert cloud.time_offset_ns is not None
    spread = np.sort(cloud.time_offset_ns)[:3999]
    np.testing.assert_array_equal(spread, np.sort(np.delete(times, 1234)))


@pytest.mark.parametrize('behind', [0.4, 0.75, -0.3, 37.0, 900.0])
@pytest.mark.parametrize('at_end', [False, True])
def test_times_of_another_clock_are_used_for_their_span(rng, behind, at_end):
    share = np.linspace(0, 0.1, 4000)
    start = STAMP - (PERIOD if at_end else 0)
    times = start * 1e-9 - behind + share
    arrival = start + PERIOD + 5_000_000
    cloud = sweep(street(rng), times, 'timestamp', 'f8', arrival)
    assert codes(cloud) == ['point_time.origin']
    np.testing.assert_allclose(
        cloud.time_offset_ns, (share - (0.1 if at_end else 0)) * 1e9, atol=2e3
    )


@pytest.mark.parametrize('first', [0.0, -0.05, -0.1])
def test_the_conventions_of_stamps_are_no_other_clock(rng, first):
    times = STAMP * 1e-9 + first + np.linspace(0, 0.1, 4000)
    cloud = sweep(street(rng), times, 'timestamp', 'f8', STAMP)
    assert not cloud.findings
    np.testing.assert_allclose(cloud.time_offset_ns[0], first * 1e9, atol=1e3)


@pytest.mark.parametrize(('begins_s', 'arrives_s'), [(-0.4, 0.12), (-0.5, 0.01), (0.4, 0.12)])
def test_the_figure_of_another_clock_is_what_its_times_are_moved_by(rng, begins_s, arrives_s):
    """Of a stamp at the beginning of the sweep, and of one at its end."""
    first_s = STAMP * 1e-9 + begins_s
    times = first_s + np.linspace(0, 0.1, 4000)
    cloud = sweep(street(rng), times, 'timestamp', 'f8', arrival=STAMP + round(arrives_s * 1e9))
    assert codes(cloud) == ['point_time.origin']
    at_end = arrives_s < 0.1
    off = begins_s + (0.1 if at_end else 0.0)
    assert f'{off:+.2f} s off its stamp' in cloud.findings[0].text
    moved = cloud.time_offset_ns[-1 if at_end else 0]
    assert abs(moved) < 1e6


FORWARD = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0], [0, 0, 0, 1]])


def camera(cx=160.0, cy=100.0, width=320, height=200):
    K = np.array([[200.0, 0, cx], [0, 200, cy], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id='cam_link')


def test_a_body_frame_taken_for_an_optical_one_is_asked_for(rng):
    points = street(rng)
    assert check_view(points, FORWARD, camera()) is None
    T = np.eye(4)
    T[2, 3] = -0.2
    found = check_view(points, T, camera())
    assert found is not None
    assert (found.code, found.out) == ('geometry.view', True)
    assert f'of {len(points)} points fall into the image' in found.text
    assert "is 'cam_link' an optical frame" in found.remedy
    assert check_view(points[:10], T, camera()) is None


@pytest.mark.parametrize(
    ('cx', 'cy', 'out'),
    [(160, 100, None), (100, 120, None), (80, 50, True), (320, 200, True), (160, 10, False)],
)
def test_the_lens_looks_at_the_middle_of_its_image(cx, cy, out):
    found = check_principal_point(camera(cx, cy), Modality.CAMERA)
    assert (found and found.out) == out


def test_nothing_is_said_of_the_centre_of_an_unknown_lens():
    unknown = CameraModel(320, 200, np.zeros((3, 3)), unknown_lens='no camera_info came')
    assert check_principal_point(unknown, Modality.CAMERA) is None


def test_a_cloud_without_points_is_left_alone():
    empty = PointCloud(np.zeros((0, 3), np.float32), time_offset_ns=np.zeros(0, np.int64))
    assert check_point_times(empty, STAMP, PERIOD, None) is empty
    assert check_cloud(empty.points) is None
