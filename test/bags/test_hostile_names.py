"""Names of topics, frames and files that hold control characters reach no terminal as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from sam_ad_perception.bags.camera_views import CameraViews
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.cli import main
from sam_ad_perception.commands.display.labelling import print_views
from sam_ad_perception.core.console.printable import escape_controls
from sam_ad_perception.core.messages import from_ros, to_ros
from sam_ad_perception.core.messages.transforms import transforms_from_message

ESCAPE = '\x1b[31mred\x1b[0m'


@pytest.mark.parametrize('name', ['/camera/image', 'Straße 3', '日本', 'a b'])
def test_plain_names_stay(name):
    assert escape_controls(name) == name


def test_control_characters_are_escaped():
    assert escape_controls(ESCAPE) == r'\x1b[31mred\x1b[0m'
    assert escape_controls('a\nb\x00\u202e') == r'a\nb\x00\u202e'


def test_a_recording_with_hostile_names_is_read_and_told_without_them(tmp_path, capfd):
    with BagWriter(tmp_path / 'bag') as writer:
        pixels = np.zeros((4, 6, 3), np.uint8)
        image = to_ros.array_to_image(writer.types, pixels, 'rgb8', 1, f'{ESCAPE}_optical')
        writer.add_topic(f'/camera/{ESCAPE}/image_raw', image.__msgtype__)
        writer.write(f'/camera/{ESCAPE}/image_raw', image, 1)
        link = to_ros.transforms_to_message(writer.types, [(ESCAPE, 'lidar', 1, np.eye(4))])
        writer.add_topic('/tf_static', link.__msgtype__, latched=True)
        writer.write('/tf_static', link, 1)
    with BagReader(tmp_path / 'bag') as reader:
        names = [topic.name for topic in reader.topics]
        messages = [reader.deserialize(m) for m in reader.messages()]
        console = Console(file=io.StringIO(), width=120)
        views = CameraViews({'': guess_topics(reader.topics)})
        print_views(console, tmp_path / ESCAPE, views)
    assert not any('\x1b' in name for name in names)
    assert '\x1b' not in console.file.getvalue()
    assert len(messages) == 2
    told = [from_ros.frame_of(m) for m in messages if hasattr(m, 'header')]
    (links,) = [transforms_from_message(m)[0] for m in messages if hasattr(m, 'transforms')]
    assert told == [r'\x1b[31mred\x1b[0m_optical']
    assert links[0][0] == r'\x1b[31mred\x1b[0m'
    assert main(['label', str(tmp_path / ESCAPE), '--out', str(tmp_path / 'out')]) == 2
    assert '\x1b' not in capfd.readouterr().err
