"""Points of files: every form gives the values that were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.bags.importing.plan import ImportDataError
from sam_ad_perception.bags.importing.point_files import read_points

DTYPE = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('intensity', '<f4'), ('ring', '<u2')])


def some_points(rng: np.random.Generator, number: int = 50) -> np.ndarray:
    points = np.zeros(number, DTYPE)
    for name in 'xyz':
        points[name] = rng.normal(size=number)
    points['intensity'], points['ring'] = rng.random(number), rng.integers(0, 32, number)
    return points


def pcd_header(form: str, number: int, count: int = 1) -> bytes:
    return (
        '# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n'
        f'FIELDS x y z intensity ring _ normal\nSIZE 4 4 4 4 2 1 4\nTYPE F F F F U U F\n'
        f'COUNT 1 1 1 1 1 2 3\nWIDTH {number}\nHEIGHT {count}\nVIEWPOINT 0 0 0 1 0 0 0\n'
        f'POINTS {number}\nDATA {form}\n'
    ).encode()


def test_pcd_binary_and_ascii(tmp_path: Path, rng: np.random.Generator) -> None:
    points = some_points(rng)
    full = np.zeros(50, [*DTYPE.descr, ('pad', 'u1', 2), ('normal', '<f4', 3)])
    for name in DTYPE.names:
        full[name] = points[name]
    full['normal'] = rng.normal(size=(50, 3))
    (tmp_path / 'b.pcd').write_bytes(pcd_header('binary', 50) + full.tobytes())
    rows = [
        ' '.join(map(repr, [*map(float, list(row)[:4]), int(row[4]), 0, 0, *map(float, row[6])]))
        for row in full
    ]
    (tmp_path / 'a.pcd').write_bytes(pcd_header('ascii', 50) + '\n'.join(rows).encode())
    for name in ('a.pcd', 'b.pcd'):
        read = read_points(tmp_path / name)
        assert read.dtype.names == (*DTYPE.names, 'normal_0', 'normal_1', 'normal_2')
        for field in DTYPE.names:
            assert np.array_equal(read[field], points[field]), (name, field)
        assert np.array_equal(read['normal_2'], full['normal'][:, 2])


def test_a_compressed_pcd_of_a_real_sweep(sample_data: Path) -> None:
    folder = sample_data / 'opencalib'
    read = read_points(folder / 'calib.pcd')
    with np.load(folder / 'points.npz') as known:
        columns = {name: known[name] for name in known.files}
    assert len(read) == 101_340
    assert read.dtype.names == ('x', 'y', 'z', 'intensity', 'ring', 'timestamp')
    for name, values in columns.items():
        if values.ndim == 1 and name in read.dtype.names:
            assert np.array_equal(read[name], values.astype(read[name].dtype)), name
        elif values.ndim == 2 and values.shape[1] >= 3:
            assert np.array_equal(np.c_[read['x'], read['y'], read['z']], values[:, :3])


@pytest.mark.parametrize('form', ['ascii', 'binary_little_endian', 'binary_big_endian'])
def test_ply(tmp_path: Path, rng: np.random.Generator, form: str) -> None:
    points = some_points(rng)
    header = (
        f'ply\nformat {form} 1.0\ncomment made\nelement vertex 50\nproperty float x\n'
        'property float y\nproperty float z\nproperty float32 intensity\nproperty ushort ring\n'
        'element face 0\nproperty list uchar int vertex_indices\nend_header\n'
    ).encode()
    if form == 'ascii':
        rows = [' '.join(map(repr, row)) for row in points.tolist()]
        body = '\n'.join(rows).encode()
    else:
        order = '<' if 'little' in form else '>'
        body = points.astype(points.dtype.newbyteorder(order)).tobytes()
    (tmp_path / 'p.ply').write_bytes(header + body)
    read = read_points(tmp_path / 'p.ply')
    assert read.dtype == DTYPE
    assert np.array_equal(read, points)


def test_arrays_and_rows(tmp_path: Path, rng: np.random.Generator) -> None:
    points = some_points(rng)
    np.save(tmp_path / 's.npy', points)
    assert np.array_equal(read_points(tmp_path / 's.npy'), points)
    rows = np.stack([points[name].astype(np.float32) for name in DTYPE.names], axis=1)
    rows.tofile(tmp_path / 'r.pcd.bin')
    assert np.array_equal(read_points(tmp_path / 'r.pcd.bin'), points)
    rows.tofile(tmp_path / 'r.bin')
    assert np.array_equal(read_points(tmp_path / 'r.bin', 5), points)
    np.save(tmp_path / 'd.npy', rows[:, :3].astype(np.float64))
    read = read_points(tmp_path / 'd.npy')
    assert read.dtype == [('x', '<f8'), ('y', '<f8'), ('z', '<f8')]
    stamped = np.zeros(2, [('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('t', '<u8')])
    stamped['t'] = 5, 99_000_000
    np.save(tmp_path / 't.npy', stamped)
    read = read_points(tmp_path / 't.npy')
    assert (read.dtype['t'], read['t'].tolist()) == (np.dtype('<u4'), [5, 99_000_000])


@pytest.mark.parametrize(
    ('name', 'data', 'told'),
    [
        ('a.bin', bytes(33), '33 bytes are not rows of 4 float32'),
        ('a.bin', b'version https://git-lfs.github.com/spec/v1\noid', 'Git LFS pointer'),
        ('a.npy', b'nothing', 'is no array of numbers'),
        ('a.pcd', b'ply\n', 'expected the header of a PCD file'),
        ('a.pcd', pcd_header('binary', 9) + bytes(10), 'holds 10 bytes of points, expected 288'),
        ('a.pcd', pcd_header('zipped', 9), "DATA is 'zipped', expected ascii, binary or"),
        ('a.pcd', pcd_header('ascii', 9) + b'1 2 3', 'holds 3 numbers, expected 9 points of 10'),
        (
            'a.pcd',
            pcd_header('binary_compressed', 2)
            + np.array([3, 64], '<u4').tobytes()
            + b'\xff\xff\xff',
            'the compressed points are damaged',
        ),
        ('a.ply', b'solid', 'expected the header of a PLY file'),
        (
            'a.ply',
            b'ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n',
            "vertex has 'property list uchar int x'",
        ),
        (
            'a.ply',
            b'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n',
            r"has the fields \['x'\], expected x, y and z",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImportDataError, match=told) as caught:
        read_points(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
