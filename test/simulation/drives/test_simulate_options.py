"""The command line describes the drive that it says."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from sam_ad_perception.commands.options.simulation import (
    add_arguments,
    count_workers,
    read_config,
    read_folder,
)
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.faults.effects import Fault

RIG = Path(__file__).resolve().parents[3] / 'config' / 'rig.example.yaml'


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_nothing_said_is_the_default_drive() -> None:
    config = read_config(parse())
    assert config == DriveConfig(conditions=((0.0, 'day'),))
    assert config.schedule == DriveConfig().schedule


def test_everything_said_arrives() -> None:
    config = read_config(
        parse(
            '--seed', '7', '--duration', '4', '--scene', 'full', '--condition', 'dusk',
            '--condition', '2.5:night+rain', '--fault', 'camera:black:1:2',
            '--fault', 'lidar:sparse_cloud:0:3:0.2', '--rig', str(RIG),
        )
    )  # fmt: skip
    assert (config.seed, config.duration_s, config.scene) == (7, 4.0, 'full')
    assert config.schedule == ((0.0, 'dusk'), (2.5, 'night+rain'))
    assert config.faults == (
        Fault('camera', 'black', 1.0, 2.0), Fault('lidar', 'sparse_cloud', 0.0, 3.0, 0.2),
    )  # fmt: skip
    assert len(config.sensors) == 5


def test_a_folder_has_a_drive_per_seed_with_the_conditions_in_turn() -> None:
    said = ('--seed', '7', '--drives', '4', '--val', '1', '--scene', 'full', '--condition')
    drives = read_folder(parse(*said, 'day', '--condition', 'night+rain'))
    assert [str(place) for place in drives] == [
        'train/seed_7_day',
        'train/seed_8_night_rain',
        'train/seed_9_day',
        'val/seed_10_night_rain',
    ]
    assert [config.seed for config in drives.values()] == [7, 8, 9, 10]
    assert [config.schedule[0][1] for config in drives.values()] == ['day', 'night+rain'] * 2
    assert {config.scene for config in drives.values()} == {'full'}
    with pytest.raises(ValueError, match='val must be less than --drives, got 3 of 3'):
        read_folder(parse('--drives', '3', '--val', '3'))
    with pytest.raises(ValueError, match='2:night'):
        read_folder(parse('--condition', '2:night'))


def test_short_drives_start_no_processes() -> None:
    assert count_workers(parse('--duration', '1')) == 1
    assert count_workers(parse('--duration', '60')) >= 1
    assert count_workers(parse('--duration', '1', '--workers', '3')) == 3


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--condition', 'hail'), 'hail'),
        (('--condition', 'soon:night'), 'soon'),
        (('--condition', '3:night', '--condition', '1:day'), 'ascend'),
        (('--fault', 'camera:black'), 'SENSOR:KIND'),
        (('--fault', 'radar:black:0:1'), 'radar'),
        (('--fault', 'camera:black:10:12'), 'must begin within the drive'),
        (('--val', '1'), '--val is of --format folder'),
    ],
)
def test_nonsense_is_refused_in_words(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_config(parse(*words))
