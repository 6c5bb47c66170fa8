"""Sensors by name: the kinds, several of a kind, and kinds that other packages bring."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensor_kinds import (
    SENSOR_KINDS,
    Modality,
    SensorKind,
    declare_sensor,
    forget_sensor,
)


@pytest.fixture
def left() -> Iterator[Modality]:
    yield declare_sensor('thermal_left', 'thermal')
    forget_sensor('thermal_left')


def test_kinds_are_listed_and_looked_up() -> None:
    assert [*map(str, Modality)] == ['camera', 'thermal', 'event', 'lidar', 'depth']
    assert Modality('thermal') is Modality.THERMAL
    assert {Modality.EVENT: 1}['event'] == 1
    assert f'{Modality.LIDAR}' == Modality.LIDAR.value == 'lidar'
    assert type(Modality.LIDAR.value) is str


def test_one_kind_has_each_role_that_perception_needs() -> None:
    roles = [(record.role, name) for name, record in SENSOR_KINDS.items() if record.role]
    assert sorted(roles) == [('ranging', 'lidar'), ('view', 'camera')]
    assert (Modality.VIEW, Modality.RANGING) == ('camera', 'lidar')
    assert Modality.VIEW is Modality.CAMERA


def test_video_is_of_sensors_that_people_look_at() -> None:
    shown = [str(m) for m in Modality if m.kind is m and m.record.takes_video]
    assert shown == ['camera', 'thermal', 'event']


@pytest.mark.parametrize('name', ['radar', '', 'Camera', 'thermal_left'])
def test_unknown_sensor(name: str) -> None:
    with pytest.raises(ValueError, match='unknown sensor'):
        Modality(name)
    assert name not in Modality


def test_a_sensor_survives_copies_and_other_processes(left: Modality) -> None:
    for sensor in (Modality.CAMERA, left):
        assert copy.deepcopy(sensor) is sensor
        assert pickle.loads(pickle.dumps(sensor)) is sensor
    code = (
        'import pickle, sys; sensor = pickle.load(sys.stdin.buffer);'
        'print(sensor, sensor.kind, sensor.info_topic)'
    )
    told = subprocess.run(
        [sys.executable, '-c', code], input=pickle.dumps(left), capture_output=True, check=True
    )
    assert told.stdout.decode().split() == ['thermal_left', 'thermal', 'thermal_left/camera_info']


def test_one_of_several_sensors_of_a_kind(left: Modality) -> None:
    assert left == 'thermal_left'
    assert left.kind is Modality.THERMAL
    assert left is not Modality.THERMAL
    assert left in [*Modality]
    assert left.record is Modality.THERMAL.record
    assert left.topic == 'thermal_left/image_rect'
    assert declare_sensor('thermal_left', 'thermal') is left


@pytest.mark.parametrize(
    ('name', 'kind', 'told'),
    [
        ('thermal_left', 'camera', 'is of kind thermal'),
        ('camera', 'thermal', 'is of kind camera'),
        ('radar_left', 'radar', 'must be one of'),
        ('left/thermal', 'thermal', 'lower-case letters'),
    ],
)
def test_a_name_that_cannot_be_given(left: Modality, name: str, kind: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        declare_sensor(name, kind)


@pytest.mark.parametrize('name', list(SENSOR_KINDS))
def test_every_function_of_a_record_is_there(name: str) -> None:
    record = SENSOR_KINDS[name]
    assert record.name == name
    named = [record.decode, record.health, record.judge, record.picture, record.sample]
    named += [*record.representations.values()]
    if record.simulation is not None:
        named.append(record.simulation.measure)
    for reference in named:
        assert reference is None or callable(resolve(reference))


@pytest.mark.parametrize(
    ('fields', 'told'),
    [
        ({'name': 'Radar'}, 'lower-case'),
        ({'form': 'cube'}, 'must be one of'),
        ({'role': 'leader'}, 'role of sensor'),
        ({'color': 'red'}, '#rrggbb'),
        ({'decode': None}, 'needs decode'),
        ({'topic': ''}, 'topic'),
    ],
)
def test_a_record_that_cannot_be(fields: dict[str, object], told: str) -> None:
    whole = {'name': 'radar', 'title': 'the radar', 'topic': 'radar/image', 'decode': min}
    with pytest.raises(ValueError, match=told):
        SensorKind(**{**whole, **fields})  # type: ignore[arg-type]


def install(folder: Path, name: str, points: str, module: str = '') -> None:
    """Put a package into a folder as pip does: a module, and metadata with entry points."""
    (folder / f'{name}.py').write_text(module)
    info = folder / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(f'[sam_ad_perception.sensors]\n{points}\n')


def list_sensors(folder: Path, code: str) -> str:
    """What a process prints that has the folder on its path."""
    paths = [str(folder), *sys.path]
    told = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path[:0] = {paths!r}\n{code}'],
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout + told.stderr


def test_an_installed_package_brings_a_kind(tmp_path: Path) -> None:
    module = (
        'from sam_ad_perception.core.sensor_kinds import SensorKind, Modality\n'
        'assert "camera" in list(Modality)\n'
        'RADAR = SensorKind("radar", "the radar", topic="radar/image", decode=min)\n'
    )
    install(tmp_path, 'my_radar', 'radar = my_radar:RADAR', module)
    code = (
        'from sam_ad_perception.core.sensors import Modality\n'
        'print(*Modality, Modality("radar").topic, Modality("radar") is Modality("radar"))'
    )
    assert list_sensors(tmp_path, code).split()[-3:] == ['radar', 'radar/image', 'True']


@pytest.mark.parametrize(
    ('point', 'module', 'told'),
    [
        ('radar = my_radar:RADAR', 'raise RuntimeError("no licence")', 'no licence'),
        ('radar = my_radar:RADAR', 'RADAR = 3', 'must be a SensorKind, got int'),
        ('radar = my_radar:OTHER', '', 'OTHER'),
        ('camera = my_radar:RADAR', '', 'is there already'),
    ],
)
def test_a_package_that_does_not_load_costs_itself_alone(
    tmp_path: Path, point: str, module: str, told: str
) -> None:
    install(tmp_path, 'my_radar', point, module)
    code = (
        'from sam_ad_perception.core.sensor_kinds import SENSOR_KINDS, Modality\n'
        'print(len(Modality), Modality("lidar"))\n'
        'print(SENSOR_KINDS.broken)'
    )
    printed = list_sensors(tmp_path, code)
    assert '5 lidar' in printed
    assert told in printed
