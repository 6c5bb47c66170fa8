"""A folder of files as rosbag2: stamps in every unit, by names or by a table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.importing.folder import plan_folder
from sam_ad_perception.bags.importing.plan import ImportDataError, write_plan
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.commands.cli import main
from sam_ad_perception.core.images.lazy_image import LazyImage
from sam_ad_perception.core.sensors import Modality, SensorBundle

EXAMPLE = Path(__file__).resolve().parents[3] / 'config' / 'extrinsics.example.yaml'
START_NS = 1_700_000_000_000_000_000
THERMAL_CAMERA = """
  thermal:
    frame_id: thermal_optical
    width: 64
    height: 48
    K: [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
"""
EVENT_CAMERA = """
  event:
    frame_id: camera_optical
    width: 64
    height: 48
    K: [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
"""


def make_folder(folder: Path, rng: np.random.Generator, count: int = 3) -> Path:
    """Camera, thermal, lidar and events at 10 Hz, in the sizes of the example calibration."""
    for name in ('camera', 'thermal', 'lidar', 'events'):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        stamp = START_NS + k * 100_000_000
        picture = cv2.resize(rng.integers(0, 255, (40, 64, 3), dtype=np.uint8), (640, 400))
        cv2.imwrite(str(folder / 'camera' / f'{stamp}.jpg'), picture)
        heat = (rng.normal(29000, 200, (48, 64)) + np.arange(64) * 10).astype(np.uint16)
        cv2.imwrite(str(folder / 'thermal' / f'{stamp // 1000}.png'), heat)
        points = rng.uniform([5, -4, -2, 0], [40, 4, 2, 1], (500, 4)).astype('<f4')
        np.save(folder / 'lidar' / f'{stamp / 1e9:.3f}.npy', points)
        t = np.sort(rng.integers(0, 90_000, 200)) + stamp // 1000
        rows = np.c_[t, rng.integers(0, 64, 200), rng.integers(0, 48, 200), t % 2]
        np.save(folder / 'events' / f'{stamp}.npy', rows)
    (folder / 'calibration.yaml').write_text(EXAMPLE.read_text() + THERMAL_CAMERA + EVENT_CAMERA)
    return folder


def test_all_four_sensors_come_together(tmp_path: Path, rng: np.random.Generator) -> None:
    source = make_folder(tmp_path / 'drive', rng)
    assert main(['import', 'folder', str(source), '--out', str(tmp_path / 'bag')]) == 0
    with BagReader(tmp_path / 'bag') as reader:
        images = [bytes(reader.deserialize(m).data)
                  for m in reader.messages(['/camera/image_raw/compressed'])]  # fmt: skip
        assert images == [p.read_bytes() for p in sorted((source / 'camera').iterdir())]
        results = list(read_bundles(reader, choose_topics(reader, {})))
    bundles = [each for each in results if isinstance(each, SensorBundle)]
    assert [b.stamp_ns for b in bundles] == [START_NS + k * 100_000_000 for k in range(3)]
    last = bundles[-1]
    assert set(last.frames) == {'camera', 'thermal', 'lidar', 'event'}, last.missing
    heat = last.frames[Modality.THERMAL].data
    if isinstance(heat, LazyImage):
        heat = heat.array
    file = sorted((source / 'thermal').iterdir())[-1]
    assert heat.dtype == np.uint16
    assert np.array_equal(heat, cv2.imread(str(file), cv2.IMREAD_UNCHANGED))
    # The example puts the lidar 0.3 m behind the camera and 0.25 m above it.
    assert np.allclose(last.T_camera[Modality.LIDAR][:3, 3], [0, -0.25, -0.3])
    rows = np.concatenate([np.load(p) for p in sorted((source / 'events').iterdir())])
    events = last.frames[Modality.EVENT].data
    window = rows[(rows[:, 0] * 1000 <= last.stamp_ns)
                  & (rows[:, 0] * 1000 > last.stamp_ns - 30_000_000)]  # fmt: skip
    assert np.array_equal(events.t_ns, window[:, 0] * 1000)
    assert np.array_equal(events.x, window[:, 1])


@pytest.mark.parametrize(
    ('name', 'unit', 'stamp'),
    [
        ('1700000000', '', START_NS),
        ('1700000000.25', '', START_NS + 250_000_000),
        ('1700000000250', '', START_NS + 250_000_000),
        ('1700000000250001', '', START_NS + 250_001_000),
        ('1700000000250001003', '', START_NS + 250_001_003),
        ('1700000000_250001003', '', START_NS + 250_001_003),
        ('000012', 'ms', 12_000_000),
        ('1.5', 's', 1_500_000_000),
    ],
)
def test_names_are_stamps(
    tmp_path: Path, rng: np.random.Generator, name: str, unit: str, stamp: int
) -> None:
    (tmp_path / 'lidar').mkdir()
    rng.random((5, 4)).astype('<f4').tofile(tmp_path / 'lidar' / f'{name}.bin')
    plan = plan_folder(tmp_path, unit=unit)
    assert [m.received_ns for m in plan.messages] == [stamp]


@pytest.mark.parametrize(
    ('header', 'value', 'stamp'),
    [
        ('name,stamp', '1700000000.5', START_NS + 500_000_000),
        ('name,stamp_us', '7', 7_000),
        ('', '1700000000250001003', START_NS + 250_001_003),
    ],
)
def test_a_table_tells_the_stamps(
    tmp_path: Path, rng: np.random.Generator, header: str, value: str, stamp: int
) -> None:
    (tmp_path / 'lidar').mkdir()
    for name in ('a.bin', 'b.bin'):
        rng.random((5, 4)).astype('<f4').tofile(tmp_path / 'lidar' / name)
    (tmp_path / 'lidar' / 'stamps.csv').write_text(f'\ufeff{header}\nb.bin, {value}\n')
    plan = plan_folder(tmp_path)
    assert [m.received_ns for m in plan.messages] == [stamp]
    assert any('lacks 1 files, not read: a.bin' in remark for remark in plan.remarks)


def put(name: str, data: bytes | str):
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return change


def coarse_times(folder: Path) -> None:
    columns = {'t': np.full(2, 1_700_000_000, np.float32), 'x': [1, 2], 'y': [3, 4], 'p': [0, 1]}
    np.savez(folder / 'events' / '1700000009.npz', **columns)


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (put('camera/frame_7.jpg', b'\xff\xd8'), "'frame_7' is no stamp"),
        (put('camera/000007.jpg', b'\xff\xd8'), "'000007' is a time from 2000 to 2100 in none"),
        (put('camera/1700000000.png', b'\xff\xd8'), 'have the same stamp 1700000000000000000'),
        (put('camera/1700000005.png', b'BM'), "begins with b'BM', expected a JPEG or PNG"),
        (
            put('camera/t.csv', 'name,stamp\nno.jpg,1700000000'),
            "line 2: there is no file 'no.jpg'",
        ),
        (put('camera/t.csv', 'no.jpg\n'), "line 1: 'no.jpg', expected name,stamp"),
        (put('calibration.yaml', 'transforms: 3'), 'transforms must be a list'),
        (
            put('calibration.yaml', EXAMPLE.read_text()),
            'the size of the event camera is unknown, expected cameras.event',
        ),
        (
            put('calibration.yaml', (EXAMPLE.read_text() + EVENT_CAMERA).replace('640', '641')),
            'has 640x400 pixels, the calibration says 641x400',
        ),
        (put('events/1700000009.txt', '1.7e9 3 4'), "has '1.7e9 3 4', expected lines t x y p"),
        (put('events/1700000009.txt', '1700000009.1 99 4 1'), 'events reach x 99, y 4'),
        (put('events/1700000009.txt', '99700000009 9 4 1'), 'in no unit'),
        (coarse_times, 'has times as float32, which are 1.28e.08 us apart there'),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, rng: np.random.Generator, change, told: str
) -> None:
    source = make_folder(tmp_path / 'drive', rng, 1)
    change(source)
    with pytest.raises(ValueError, match=told):
        write_plan(plan_folder(source), tmp_path / 'bag')
    assert not (tmp_path / 'bag').exists()


def test_options_of_other_formats_are_refused(tmp_path: Path, capsys) -> None:
    arguments = ['import', 'folder', str(tmp_path), '--out', str(tmp_path / 'bag')]
    assert main([*arguments, '--scene', 'x']) == 2
    assert '--scene is of the format nuscenes, got folder' in capsys.readouterr().err
    assert main(arguments) == 2
    assert 'holds no file of a sensor' in capsys.readouterr().err
    with pytest.raises(ImportDataError, match='unit must be one of s, ms, us, ns'):
        plan_folder(tmp_path, unit='h')
