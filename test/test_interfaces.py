"""The messages of interfaces/ are the messages that everybody else means by those names."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

INTERFACES = Path(__file__).resolve().parents[1] / 'interfaces'

# Type hashes of the packages as ROS distributes them: what a node built elsewhere announces.
# rosbags' own tables hold TFMessage too, and a recording with an event camera EventPacket.
# dvs_msgs was never released for ROS 2: its hashes follow from the fields of its ROS 1 messages,
# with `time` as builtin_interfaces/Time, which is how its ports have them.
UPSTREAM = {
    'dvs_msgs/msg/Event': (
        'RIHS01_51cfc8e311acf01bf39b01e0e8f2fee8f9fa97e7979cf505c0610c8a8bc3fc3a'
    ),
    'dvs_msgs/msg/EventArray': (
        'RIHS01_0ea4aa5f4670adab1336550158b2e3c9bf60fe515a284c4215ed605bd559c995'
    ),
    'vision_msgs/msg/LabelInfo': (
        'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783'
    ),
    'vision_msgs/msg/VisionClass': (
        'RIHS01_1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a'
    ),
    'event_camera_msgs/msg/EventPacket': (
        'RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa'
    ),
    'tf2_msgs/msg/TFMessage': (
        'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087'
    ),
}
NAMES = sorted(
    f'{file.parents[1].name}/msg/{file.stem}' for file in INTERFACES.glob('*/msg/*.msg')
)


def definition(name: str) -> str:
    package, _, message = name.split('/')
    return (INTERFACES / package / 'msg' / f'{message}.msg').read_text()


@pytest.fixture(scope='module')
def store() -> Typestore:
    """rosbags' ROS 2 types with ours added from the files."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in NAMES:
        if name not in store.fielddefs:
            store.register(get_types_from_msg(definition(name), name))
    return store


def message_class(name: str) -> Any:
    package, _, message = name.split('/')
    return getattr(import_module(f'{package}.msg'), message)


def test_all_are_known_here() -> None:
    assert set(NAMES) == set(UPSTREAM)


@pytest.mark.parametrize('name', NAMES)
def test_definition_hashes_as_upstream(name: str, store: Typestore) -> None:
    assert store.hash_rihs01(name) == UPSTREAM[name]


def test_transforms_are_defined_as_in_rosbags() -> None:
    name = 'tf2_msgs/msg/TFMessage'
    known = get_typestore(Stores.ROS2_JAZZY)
    assert get_types_from_msg(definition(name), name)[name] == known.fielddefs[name]
    assert known.hash_rihs01(name) == UPSTREAM[name]


@pytest.mark.ros
@pytest.mark.parametrize('name', NAMES)
def test_built_class_has_the_fields(name: str, store: Typestore) -> None:
    built = message_class(name).get_fields_and_field_types()
    assert list(built) == [field for field, _ in store.fielddefs[name][1]]


@pytest.mark.ros
@pytest.mark.parametrize('name', NAMES)
def test_built_class_serializes_as_rosbags_does(name: str, store: Typestore) -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    message = filled(name)
    read = store.deserialize_cdr(serialize_message(message), name)
    back = deserialize_message(bytes(store.serialize_cdr(read, name)), message_class(name))
    assert back == message


def filled(name: str) -> Any:
    """A message of a built class with a value in every field."""
    message = message_class(name)()
    if name.endswith('TFMessage'):
        from geometry_msgs.msg import TransformStamped

        transform = TransformStamped(child_frame_id='lidar')
        transform.header.frame_id = 'base_link'
        transform.transform.translation.x = 1.5
        message.transforms = [transform, TransformStamped()]
    elif name.endswith('msg/Event'):
        message.x, message.y, message.polarity = 639, 479, True
        message.ts.sec, message.ts.nanosec = -1, 999_999_999
    elif name.endswith('EventArray'):
        message.header.frame_id = 'event_optical'
        message.height, message.width = 480, 640
        message.events = [filled('dvs_msgs/msg/Event') for _ in range(3)]
    elif name.endswith('EventPacket'):
        message.header.frame_id = 'event_optical'
        message.height, message.width, message.seq, message.time_base = 480, 640, 2**40, 2**50
        message.encoding, message.is_bigendian, message.events = 'evt3', True, bytes(range(256))
    elif name.endswith('VisionClass'):
        message.class_id, message.class_name = 65535, 'unlabeled'
    else:
        message.header.stamp.sec = 7
        message.class_map = [message_class('vision_msgs/msg/VisionClass')(class_name='road')]
        message.threshold = 0.25
    return message


@pytest.mark.ros
def test_built_types_announce_the_hash(free_domain_id: int) -> None:
    """What a subscriber elsewhere compares: the hash that goes over the wire."""
    script = f"""
import rclpy
from importlib import import_module
rclpy.init()
node = rclpy.create_node('announcer')
for number, name in enumerate({NAMES}):
    package, _, message = name.split('/')
    node.create_publisher(getattr(import_module(package + '.msg'), message), f't{{number}}', 1)
for number, name in enumerate({NAMES}):
    info = node.get_publishers_info_by_topic(f'/t{{number}}')[0]
    print(info.topic_type, ''.join(f'{{byte:02x}}' for byte in info.topic_type_hash.value))
rclpy.shutdown()
"""
    found = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    announced = dict(line.split() for line in found.stdout.splitlines())
    assert {name: f'RIHS01_{value}' for name, value in announced.items()} == UPSTREAM


@pytest.mark.data
def test_recording_states_the_same_hash(sample_data: Path) -> None:
    text = (sample_data / 'events' / 'test_events_1' / 'metadata.yaml').read_text()
    stated = re.findall(r'type_description_hash: (RIHS01_[0-9a-f]{64})', text)
    assert stated == [UPSTREAM['event_camera_msgs/msg/EventPacket']]
