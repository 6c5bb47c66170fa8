"""ROS 1 bags as rosbag2: all messages, with the values that rosbags reads from the bag itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.convert.converter import migrate_message
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam_ad_perception.bags.importing.plan import ImportDataError
from sam_ad_perception.bags.importing.rosbag1 import import_rosbag1
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.commands.cli import main
from sam_ad_perception.core.labels import LABEL_SPACES

START_NS = 1_400_000_000_000_000_000
CUSTOM = 'std_msgs/Header header\nfloat64[] gains\nstring note\nuint8[3] mode\n'


def make_bag(path: Path, rng: np.random.Generator, start_ns: int = START_NS) -> dict[str, list]:
    """Messages of each kind that ROS 2 words otherwise, and one of a type of its own."""
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(CUSTOM, 'my_msgs/msg/Gains'))
    links = 'geometry_msgs/TransformStamped[] transforms\n'
    store.register(get_types_from_msg(links, 'tf2_msgs/msg/TFMessage'))
    store.register(get_types_from_msg(links, 'tf/msg/tfMessage'))
    types = store.types
    written: dict[str, list] = {}

    def header(k: int, frame: str):
        stamp = types['builtin_interfaces/msg/Time'](sec=start_ns // 10**9, nanosec=k)
        return types['std_msgs/msg/Header'](seq=k, stamp=stamp, frame_id=frame)

    def camera_info(k: int):
        roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        return types['sensor_msgs/msg/CameraInfo'](
            header=header(k, 'cam'),
            height=48,
            width=64,
            distortion_model='plumb_bob',
            D=rng.normal(size=5),
            K=rng.normal(size=9),
            R=np.eye(3).ravel(),
            P=rng.normal(size=12),
            binning_x=1,
            binning_y=2,
            roi=roi,
        )

    def image(k: int):
        return types['sensor_msgs/msg/Image'](
            header(k, 'cam'), 3, 5, 'rgb8', 0, 15, rng.integers(0, 255, 45, dtype=np.uint8)
        )

    def cloud(k: int):
        field = types['sensor_msgs/msg/PointField']
        fields = [field(n, 4 * i, 7, 1) for i, n in enumerate('xyz')]
        data = rng.normal(size=(7, 3)).astype('<f4').view(np.uint8).ravel()
        return types['sensor_msgs/msg/PointCloud2'](
            header(k, '/velodyne'), 1, 7, fields, False, 12, 84, data, True
        )

    def transform(k: int):
        pose = types['geometry_msgs/msg/Transform'](
            types['geometry_msgs/msg/Vector3'](1.0, 2.0, float(k)),
            types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0),
        )
        link = types['geometry_msgs/msg/TransformStamped'](header(k, 'base'), 'cam', pose)
        return types['tf2_msgs/msg/TFMessage']([link])

    def old_transform(k: int):
        return types['tf/msg/tfMessage'](transform(k).transforms)

    def gains(k: int):
        mode = np.array([1, 2, k], dtype=np.uint8)
        return types['my_msgs/msg/Gains'](header(k, 'g'), rng.normal(size=4), f'n{k}', mode)

    topics = {
        '/cam/camera_info': ('sensor_msgs/msg/CameraInfo', camera_info),
        '/cam/image_raw': ('sensor_msgs/msg/Image', image),
        '/velodyne_points': ('sensor_msgs/msg/PointCloud2', cloud),
        '/tf_static': ('tf2_msgs/msg/TFMessage', transform),
        '/tf': ('tf/msg/tfMessage', old_transform),
        '/gains': ('my_msgs/msg/Gains', gains),
    }
    with Writer(path) as writer:
        for topic, (kind, build) in topics.items():
            connection = writer.add_connection(
                topic, kind, typestore=store, latching=int(topic == '/gains')
            )
            for k in range(4):
                message = build(k)
                written.setdefault(topic, []).append(message)
                stamp = start_ns + k * 1000
                writer.write(connection, stamp, store.serialize_ros1(message, kind))
    return written


def values(message: object) -> object:
    """All fields of a message by lower-case name, but for `seq`, which ROS 2 has not."""
    if hasattr(message, '__msgtype__'):
        fields = {k: v for k, v in vars(message).items() if k not in ('seq', '__msgtype__')}
        return {name.lower(): values(value) for name, value in fields.items()}
    if isinstance(message, np.ndarray):
        return message.tolist()
    return [values(each) for each in message] if isinstance(message, list) else message


def test_every_value_arrives(tmp_path: Path, rng: np.random.Generator) -> None:
    written = make_bag(tmp_path / 'a.bag', rng)
    arguments = ['import', 'rosbag1', str(tmp_path / 'a.bag'), '--out', str(tmp_path / 'out')]
    assert main(arguments) == 0
    with BagReader(tmp_path / 'out') as reader:
        topics = {t.name: t for t in reader.topics}
        assert {n: t.count for n, t in topics.items()} == dict.fromkeys(written, 4)
        assert {n for n, t in topics.items() if t.latched} == {'/tf_static', '/gains'}
        for topic, messages in written.items():
            read = list(reader.messages([topic]))
            assert [m.received_ns for m in read] == [START_NS + k * 1000 for k in range(4)]
            assert [values(reader.deserialize(m)) for m in read] == [values(m) for m in messages]


def test_parts_are_merged(tmp_path: Path, rng: np.random.Generator) -> None:
    for k in range(2):
        (tmp_path / 'parts').mkdir(exist_ok=True)
        make_bag(tmp_path / 'parts' / f'{1 - k}.bag', rng, START_NS + 10**9 * k)
    report = import_rosbag1(tmp_path / 'parts', tmp_path / 'out')
    assert report.counts == dict.fromkeys(report.types, 8)
    with BagReader(tmp_path / 'out') as reader:
        times = [m.received_ns for m in reader.messages()]
    assert times == sorted(times)
    assert len(times) == 48


def test_what_is_no_bag_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(ImportDataError, match='does not exist, expected a ROS 1'):
        import_rosbag1(tmp_path / 'no.bag', tmp_path / 'out')
    (tmp_path / 'b.bag').write_bytes(b'SQLite format 3')
    with pytest.raises(ImportDataError, match="begins with b'SQLite format', expected a ROS 1"):
        import_rosbag1(tmp_path / 'b.bag', tmp_path / 'out')
    make_bag(tmp_path / 'c.bag', rng)
    data = (tmp_path / 'c.bag').read_bytes()
    (tmp_path / 'c.bag').write_bytes(data[: len(data) // 2])
    with pytest.raises(ImportDataError, match=r'c\.bag: its index cannot be read .* reindex'):
        import_rosbag1(tmp_path / 'c.bag', tmp_path / 'out')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImportDataError, match=r'holds no \.bag file'):
        import_rosbag1(tmp_path / 'empty', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_bag_is_read_directly_as_imported(tmp_path: Path, rng: np.random.Generator) -> None:
    written = make_bag(tmp_path / 'a.bag', rng)
    import_rosbag1(tmp_path / 'a.bag', tmp_path / 'out')
    with BagReader(tmp_path / 'a.bag') as direct, BagReader(tmp_path / 'out') as imported:
        assert {t.name: (t.type, t.count, t.latched) for t in direct.topics} == {
            t.name: (t.type, t.count, t.latched) for t in imported.topics
        }
        found, expected = ([(m.topic, m.received_ns, m.data) for m in r.messages()]
                           for r in (direct, imported))  # fmt: skip
        assert sorted(found) == sorted(expected)
        for topic, messages in written.items():
            read = [values(direct.deserialize(m)) for m in direct.messages([topic])]
            assert read == [values(m) for m in messages]
        middle = START_NS + 2000
        assert len(list(direct.messages(['/gains'], start_ns=middle))) == 2
        assert direct.span('/gains') == (START_NS, START_NS + 3000)


def test_a_bag_that_was_not_closed_or_is_damaged_is_told(tmp_path: Path, rng) -> None:
    make_bag(tmp_path / 'a.bag', rng)
    data = (tmp_path / 'a.bag').read_bytes()
    (tmp_path / 'cut.bag').write_bytes(data[: len(data) // 2])
    with pytest.raises(BagError, match='reindex'):
        BagReader(tmp_path / 'cut.bag')
    (tmp_path / 'other.bag').write_bytes(b'SQLite format 3')
    with pytest.raises(BagError, match='expected a ROS 1 bag'):
        BagReader(tmp_path / 'other.bag')
    (tmp_path / 'none.bag').write_bytes(b'')
    with pytest.raises(BagError, match='it is empty'):
        BagReader(tmp_path / 'none.bag')


def write_ros1_drive(path: Path, drive: Path) -> None:
    """A rosbag2 as ROS 1, by rosbags' own conversion of each message."""
    ros1, ros2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)
    ros1.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms\n',
                                     'tf2_msgs/msg/TFMessage'))  # fmt: skip
    with BagReader(drive) as reader, Writer(path) as writer:
        connections = {}
        for message in reader.messages():
            if message.type not in ros1.fielddefs:
                continue
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.type, typestore=ros1
                )
            content = ros2.deserialize_cdr(message.data, message.type)
            kind = message.type
            made = migrate_message(ros2, ros1, kind, kind, {}, content)
            writer.write(
                connections[message.topic], message.received_ns, ros1.serialize_ros1(made, kind)
            )


def test_label_and_check_take_ros1_bags(tmp_path, rng, write_drive, segmenter, capsys) -> None:
    drive = write_drive(3, lambda t, m: None if t.startswith('/events') else m)
    write_ros1_drive(tmp_path / 'old.bag', drive)
    masks = []
    for name, bag in (('new', drive), ('old', tmp_path / 'old.bag')):
        report = label_bag(bag, tmp_path / name, segmenter, LABEL_SPACES['cityscapes'])
        assert report.used == {'camera+thermal+lidar': 3}
        with BagReader(tmp_path / name) as reader:
            assert '/points' in {t.name for t in reader.topics}
            each = reader.messages(['/semantic/image', '/semantic/points'])
            masks.append([bytes(reader.deserialize(m).data) for m in each])
    assert masks[0] == masks[1]
    assert main(['check', str(tmp_path / 'old.bag')]) == 0
    assert '/camera/image_rect, 3 messages' in capsys.readouterr().out
