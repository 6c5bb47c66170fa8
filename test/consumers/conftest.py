"""Simulated drives for the checks of consumers, and what `sam_ad label` makes of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.selections.config import SelectionConfig
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record

SELECTIONS = {
    'people': SelectionConfig(('person', 'rider'), dilate_px=2, keep=True),
    'dynamic': SelectionConfig(
        ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'), dilate_px=2
    ),
}


class Sieve:
    """A bag without some topics."""

    def __init__(self, writer: BagWriter, without: tuple[str, ...]) -> None:
        self.types, self._writer, self._without = writer.types, writer, without

    def add_topic(self, name: str, kind: str, *, latched: bool = False) -> None:
        if name not in self._without:
            self._writer.add_topic(name, kind, latched=latched)

    def write(self, topic: str, message: Any, now_ns: int) -> None:
        if topic not in self._without:
            self._writer.write(topic, message, now_ns)


@pytest.fixture(scope='module')
def graph(ros_domain):
    from test.nodes.conftest import Graph

    made = Graph(ros_domain)
    yield made
    made.close()


@pytest.fixture(scope='session')
def demo_segmenter():
    from sam_ad_perception.modeling.inference.segmenter import Segmenter

    return Segmenter.from_pretrained('mle_sam_demo', threads=1)


@pytest.fixture(scope='session')
def labelled_drive(tmp_path_factory, demo_segmenter):
    """`(condition, topics that are not there) -> drive and messages by topic and stamp`."""
    made: dict[tuple[str, tuple[str, ...]], SimpleNamespace] = {}

    def label(condition: str, without: tuple[str, ...] = ()) -> SimpleNamespace:
        if (condition, without) in made:
            return made[condition, without]
        folder: Path = tmp_path_factory.mktemp('drive')
        config = DriveConfig(
            seed=4,
            duration_s=0.6,
            condition=condition,
            size=(200, 320),
            thermal_size=(128, 160),
            event_size=(100, 160),
        )
        drive = Drive(config)
        with BagWriter(folder / 'drive') as writer:
            record(drive, Sieve(writer, without), extra=('points',))
        options = LabelOptions(color=False, selections=SELECTIONS)
        report = label_bag(
            folder / 'drive',
            folder / 'labelled',
            demo_segmenter,
            demo_segmenter.labels,
            options=options,
        )
        found: dict[str, dict[int, Any]] = {}
        with BagReader(folder / 'labelled') as reader:
            for message in reader.messages():
                if message.topic.startswith(('/tf', '/events')):
                    continue
                read = reader.deserialize(message)
                stamp_ns = from_ros.stamp_of(read)
                found.setdefault(message.topic, {})[stamp_ns] = read
        lidar = next(n for n, s in drive.sensors.items() if s.modality is Modality.LIDAR)
        made[condition, without] = SimpleNamespace(
            at=found, report=report, drive=drive, T_base_lidar=drive.T_base[lidar]
        )
        return made[condition, without]

    return label


@pytest.fixture(scope='session')
def ros() -> SimpleNamespace:
    """Types of rosbags, and the way of a message over its CDR."""
    store = make_typestore()

    def round_trip(message: Any) -> Any:
        kind = message.__msgtype__
        return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)

    return SimpleNamespace(types=store.types.__getitem__, round_trip=round_trip)
