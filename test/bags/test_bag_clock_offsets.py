"""Offsets put into a simulated recording, and found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sam_ad_perception.bags.clock_offsets import OffsetOptions, estimate_offsets
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.offsets import main, offset_yaml
from sam_ad_perception.core.messages.from_ros import stamp_of
from sam_ad_perception.core.messages.to_ros import ns_to_stamp
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record

MS = 1_000_000
TOPIC = {
    Modality.THERMAL: '/thermal/image_rect',
    Modality.EVENT: '/events',
    Modality.LIDAR: '/points',
}
INJECTED = {Modality.THERMAL: 59, Modality.EVENT: -37, Modality.LIDAR: 100}


@pytest.fixture(scope='module')
def drive_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('offsets') / 'drive'
    sizes = {'size': (200, 320), 'thermal_size': (208, 256), 'event_size': (64, 104)}
    with BagWriter(path) as writer:
        record(Drive(DriveConfig(duration_s=10.0, **sizes)), writer)
    return path


def rewrite(source: Path, path: Path, ahead_ms: dict[Modality, int], frozen: str = '') -> Path:
    """Copy a bag with stamps that run ahead; messages of a frozen topic all show the first."""
    shifts = {TOPIC[m]: ms * MS for m, ms in ahead_ms.items()}
    first = None
    with BagReader(source) as reader, BagWriter(path) as writer:
        for topic in reader.topics:
            writer.copy_topic(topic)
        for each in reader.messages():
            if each.topic not in shifts and each.topic != frozen:
                writer.copy(each)
                continue
            message = reader.deserialize(each)
            stamp = stamp_of(message) + shifts.get(each.topic, 0)
            if each.topic == frozen:
                first = message if first is None else first
                message = first
            message.header.stamp = ns_to_stamp(writer.types, stamp)
            writer.write(each.topic, message, each.received_ns)
    return path


@pytest.fixture(scope='module')
def shifted_bag(drive_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(drive_bag, tmp_path_factory.mktemp('offsets') / 'shifted', INJECTED)


def test_injected_offsets_are_found_within_3_ms(
    shifted_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed YAML is a parameter file of the node, and holds each offset."""
    assert main([str(shifted_bag)]) == 0
    printed = tmp_path / 'offsets.yaml'
    printed.write_text(capsys.readouterr().out)
    config = load(SegmentationConfig, printed, 'segmentation')
    for modality, ahead_ms in INJECTED.items():
        found = config.bundler.sync.sensors[modality].offset_s
        assert 1e3 * found == pytest.approx(ahead_ms, abs=3.0), modality


def test_timing_and_hints(shifted_bag: Path) -> None:
    """Stamps and arrivals, of 1 s: too short to tell more, and that is said."""
    with BagReader(shifted_bag) as reader:
        found = estimate_offsets(
            reader, guess_topics(reader.topics), OffsetOptions(start_s=1.0, duration_s=1.0)
        )
    assert list(found) == [Modality.CAMERA, *INJECTED]
    for modality, period in zip(found, (100, 100, 10, 100), strict=True):
        timing = found[modality].timing
        assert 1e3 * timing.period_s == pytest.approx(period, abs=0.01)
        assert timing.jitter_s < 1e-4
        assert (timing.missing, timing.disordered) == (0, 0)
    # The simulator's transport takes 12, 15, 3 and 8 ms; a packet is stamped with its end.
    for modality, transport in ((Modality.THERMAL, 15), (Modality.EVENT, 3), (Modality.LIDAR, 8)):
        each = found[modality]
        assert 1e3 * each.hint_s == pytest.approx(INJECTED[modality] + 12 - transport, abs=1.0)
        assert each.offset_s is None
        assert each.remark
    assert set(yaml.safe_load(offset_yaml(found))) == {'/**'}


def test_frozen_sensor_and_clock_that_counts_from_its_start(
    drive_bag: Path, tmp_path: Path
) -> None:
    """A camera that repeats a frame tells nothing; stamps of 1970 are evened out by arrivals."""
    since_ms = -1_699_999_990_000
    frozen = TOPIC[Modality.THERMAL]
    bag = rewrite(drive_bag, tmp_path / 'bag', {Modality.LIDAR: since_ms}, frozen=frozen)
    with BagReader(bag) as reader:
        mapping = guess_topics(reader.topics, {'event': ''})
        found = estimate_offsets(reader, mapping, OffsetOptions())
    thermal, lidar = found[Modality.THERMAL], found[Modality.LIDAR]
    assert thermal.offset_s is None
    assert 'moved in no way that could be followed' in thermal.remark
    assert 'cannot be told' in offset_yaml(found)
    assert lidar.offset_s is not None
    assert lidar.offset_s - 1e-3 * since_ms == pytest.approx(0.0, abs=0.004)
    assert lidar.hint_s == pytest.approx(1e-3 * since_ms + 0.004, abs=1e-3)


def test_without_a_camera_there_is_nothing_to_compare_with(drive_bag: Path) -> None:
    with BagReader(drive_bag) as reader:
        mapping = guess_topics(reader.topics, {'camera': ''})
        with pytest.raises(BagError, match='no camera images'):
            estimate_offsets(reader, mapping)
