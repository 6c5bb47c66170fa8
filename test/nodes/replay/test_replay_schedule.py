"""What a replay publishes, where, in which order, and who leads. Without ROS."""

import json

import pytest

from sam_ad_perception.bags.reader import BagReader, BagTopic
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.replay.schedule import (
    NS,
    Drop,
    Lead,
    first_items,
    header_stamp,
    ordered_items,
    parse_drop,
    plan_routes,
)
from sam_ad_perception.nodes.replay.summary import ReplayStats

IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
CLOUD, TF = 'sensor_msgs/msg/PointCloud2', 'tf2_msgs/msg/TFMessage'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
BAG_TOPICS = [
    BagTopic('/front/image_rect/compressed', COMPRESSED, 5),
    BagTopic('/front/camera_info', INFO, 5),
    BagTopic('/rear/image_rect', IMAGE, 5),
    BagTopic('/flir/image_raw', IMAGE, 5),
    BagTopic('/velodyne_points', CLOUD, 5),
    BagTopic('/tf_static', TF, 1),
    BagTopic('/semantic/image', IMAGE, 5),
    BagTopic('/clock', 'rosgraph_msgs/msg/Clock', 5),
    BagTopic('/odd', 'odd_msgs/msg/Odd', 5),
    BagTopic('/points', CLOUD, 5),
    BagTopic('/empty', IMAGE, 0),
]


@pytest.fixture
def plan():
    mapping = guess_topics(BAG_TOPICS, {'lidar': '/velodyne_points'})
    return plan_routes(BAG_TOPICS, mapping, {'odd_msgs/msg/Odd': 'type is not installed'})


def test_sensors_go_to_the_inputs_and_the_rest_keeps_its_name(plan):
    targets = {source: route.target for source, route in plan.routes.items()}
    assert targets == {
        '/front/image_rect/compressed': 'camera/image_rect/compressed',
        '/front/camera_info': 'camera/camera_info',
        '/rear/image_rect': '/rear/image_rect',
        '/flir/image_raw': 'thermal/image_rect',
        '/velodyne_points': 'points',
        '/tf_static': '/tf_static',
    }
    assert plan.routes['/tf_static'].latched


def test_what_is_left_out_says_why(plan):
    assert plan.left_out['/odd'] == 'type is not installed'
    assert 'nodes publish' in plan.left_out['/semantic/image']
    assert 'own' in plan.left_out['/clock']
    assert 'mapped to this name' in plan.left_out['/points']
    assert '/empty' not in {**plan.left_out, **plan.routes}


def test_each_view_has_its_camera_and_all_share_the_rest():
    topics = [
        *BAG_TOPICS,
        BagTopic('/rear/camera_info', INFO, 5),
        BagTopic('/front/semantic/image', IMAGE, 5),
    ]
    views = {
        name: guess_topics(topics, {'lidar': '/velodyne_points', 'camera': topic})
        for name, topic in (
            ('front', '/front/image_rect/compressed'),
            ('rear', '/rear/image_rect'),
        )
    }
    plan = plan_routes(topics, views, {})
    assert plan.views == ('front', 'rear')
    targets = {source: route.target for source, route in plan.routes.items()}
    assert targets['/front/image_rect/compressed'] == 'front/camera/image_rect/compressed'
    assert targets['/front/camera_info'] == 'front/camera/camera_info'
    assert targets['/rear/image_rect'] == 'rear/camera/image_rect'
    assert targets['/rear/camera_info'] == 'rear/camera/camera_info'
    assert targets['/velodyne_points'] == 'points'
    assert targets['/flir/image_raw'] == 'thermal/image_rect'
    assert plan.left_out['/front/semantic/image'] == 'the nodes publish it'
    camera = Modality.CAMERA
    assert plan.route_of(camera, 'rear').source == '/rear/image_rect'
    assert plan.route_of(Modality.LIDAR, 'rear') is plan.route_of(Modality.LIDAR, 'front')
    lead = {view: Lead(plan, 0.05, view) for view in plan.views}
    for view in plan.views:
        assert lead[view].leads(camera, 0)
        assert not lead[view].leads(Modality.LIDAR, 1000)


def test_answers_are_those_of_a_view():
    stats = ReplayStats()
    stats.send(5, 0.0, 'front')
    stats.send(5, 0.0, 'rear')
    stats.on_mask(5, 1.0, 'rear')
    assert (stats.masks, stats.unanswered) == (1, 1)
    assert stats.is_open(5, 'front')
    assert not stats.is_open(5, 'rear')
    stats.on_drop(5, 'late', 'front')
    assert stats.unanswered == 0
    for stamp, view in ((1_000_000, 'front'), (9_000_000, 'rear'), (3_000_000, 'front')):
        stats.send(stamp, 0.0, view)
        stats.on_mask(stamp, 0.1, view)
    assert stats.gap_ms == pytest.approx(9.0)  # of the rear view, whose first was at 0


@pytest.mark.parametrize(
    ('text', 'drop'),
    [
        ('thermal@2-4', Drop('thermal', 2.0, 4.0)),
        ('camera@.5-', Drop('camera', 0.5, float('inf'))),
        ('/velodyne_points@0-1.25', Drop('/velodyne_points', 0.0, 1.25)),
    ],
)
def test_a_drop_is_read(text, drop):
    assert parse_drop(text) == drop


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('thermal', 'SENSOR@START-END'),
        ('thermal@4-2', 'end after it starts'),
        ('thermal@a-b', 'SENSOR@START-END'),
        ('radar@1-2', "camera.*got 'radar'"),
        ('thermal@1-2-3', 'SENSOR@START-END'),
        ('', 'SENSOR@START-END'),
    ],
)
def test_a_drop_that_is_wrong_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_drop(text)


def write_bag(path):
    """Two rounds in which everything is received at one time, in the worst order."""
    import numpy as np

    with BagWriter(path) as writer:
        types = writer.types
        pixels = np.zeros((4, 4, 3), np.uint8)
        camera = from_ros.CameraModel(4, 4, np.eye(3), frame_id='c')
        points = np.zeros(1, [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
        link = ('base', 'c', 0, np.eye(4))
        messages = {
            '/camera/image_rect': (IMAGE, lambda t: image(t, 'c')),
            '/thermal/image_rect': (IMAGE, lambda t: image(t, 't')),
            '/points': (CLOUD, lambda t: from_ros.cloud_to_message(types, points, t, 'l')),
            '/camera/camera_info': (
                INFO,
                lambda t: from_ros.camera_to_message(types, camera, t),
            ),
            '/tf': (TF, lambda t: from_ros.transforms_to_message(types, [link])),
        }

        def image(t, frame):
            return from_ros.array_to_image(types, pixels, 'rgb8', t, frame)

        for name, (kind, _) in messages.items():
            writer.add_topic(name, kind)
        writer.add_topic('/tf_static', TF, latched=True)
        for received in (10 * NS, 11 * NS):
            for name, (_, build) in messages.items():
                writer.write(name, build(received - 7), received)
        writer.write('/tf_static', from_ros.transforms_to_message(types, [link]), 11 * NS)
    return path


def test_messages_of_one_time_go_out_with_the_leader_last(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        made = plan_routes(reader.topics, guess_topics(reader.topics), {})
        names = [i.message.topic for i in ordered_items(reader, made, [], reader.start_ns, None)]
        once = [
            '/tf',
            '/camera/camera_info',
            '/points',
            '/thermal/image_rect',
            '/camera/image_rect',
        ]
        assert names == once * 2
        # Fixed transforms come before everything, wherever they were recorded.
        first = first_items(reader, made, reader.start_ns)
        assert [item.message.topic for item in first] == ['/tf_static']


def test_drops_leave_out_measurements_but_not_geometry(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        made = plan_routes(reader.topics, guess_topics(reader.topics), {})
        drops = [parse_drop('camera@0.5-2'), parse_drop('/tf@0-0.5')]
        items = list(ordered_items(reader, made, drops, reader.start_ns, None))
        names = [i.message.topic for i in items]
        assert names.count('/camera/image_rect') == 1
        assert names.count('/camera/camera_info') == 2
        assert names.count('/tf') == 1
        until = ordered_items(reader, made, [], reader.start_ns, reader.start_ns + NS)
        assert len(list(until)) == 5


def test_the_header_stamp_is_read_from_serialized_bytes(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        for message in reader.messages(['/camera/image_rect', '/points']):
            expected = from_ros.stamp_of(reader.deserialize(message))
            assert header_stamp(message.data) == expected == message.received_ns - 7
    assert header_stamp(b'\x00\x01\x00\x00') is None


def test_the_first_choice_leads_until_it_is_silent():
    topics = [
        BagTopic('/camera/image_rect', IMAGE, 9),
        BagTopic('/thermal/image_rect', IMAGE, 9),
    ]
    lead = Lead(plan_routes(topics, guess_topics(topics), {}), grace_s=0.05)
    leads = []
    for tenth in range(20):
        now = tenth * NS // 10
        if not 6 <= tenth < 12:
            leads.append(('camera', tenth, lead.leads(Modality.CAMERA, now)))
        leads.append(('thermal', tenth, lead.leads(Modality.THERMAL, now + 5_000_000)))
    expected = {('camera', t) for t in range(20) if not 6 <= t < 12}
    # The last image came at 0.5 s; it is overdue from 0.65 s on.
    expected |= {('thermal', t) for t in range(7, 12)}
    assert {(who, t) for who, t, led in leads if led} == expected


def test_a_leader_that_never_comes_is_replaced():
    topics = [
        BagTopic('/camera/image_rect', IMAGE, 9),
        BagTopic('/thermal/image_rect', IMAGE, 9),
    ]
    lead = Lead(plan_routes(topics, guess_topics(topics), {}), grace_s=0.05)
    led = [t for t in range(10) if lead.leads(Modality.THERMAL, t * NS // 10)]
    assert led == [6, 7, 8, 9]


def test_the_ledger_accounts_for_every_frame():
    ledger = ReplayStats()
    for stamp in range(5):
        ledger.send(stamp, now=float(stamp))
    ledger.on_mask(0, 0.25)
    ledger.on_mask(0, 0.5)  # once more: not one of ours
    ledger.on_drop(1, 'no camera geometry for 12 s')
    ledger.on_drop(77, 'not ours')
    ledger.withdraw(2)
    ledger.on_mask(3, 3.75)
    assert ledger.is_open(4)
    assert (ledger.sent, ledger.masks, ledger.unanswered, ledger.others) == (4, 2, 1, 1)
    assert ledger.drops == {'no camera geometry for 12 s': 1}
    assert ledger.percentile(50) == 0.75
    text = '\n'.join(ledger.lines())
    assert '4 reference frames, 2 masks, 1 drops, 1 unanswered' in text
    assert 'p50 750' in text
    # frames at 0, 1, 2, 3, 4 s; the last answer at 3.75 s is before the last frame
    assert '0.5 masks per second of wall-clock time, 50 % of the frames without a mask' in text


def test_the_figures_of_a_ledger_are_plain_values():
    ledger = ReplayStats()
    assert ledger.figures() == {
        'frames': 0, 'masks': 0, 'unanswered': 0, 'drops': {}, 'wall_s': 0.0, 'gap_ms': None,
        'round_trip_ms': None,
    }  # fmt: skip
    for k in range(4):
        ledger.send(k * 100_000_000, now=10 + 0.1 * k)
    for k, now in ((0, 10.2), (3, 10.9)):
        ledger.on_mask(k * 100_000_000, now)
    ledger.on_drop(100_000_000, 'overtaken')
    figures = ledger.figures()
    assert figures['wall_s'] == pytest.approx(0.9)
    assert figures['gap_ms'] == pytest.approx(300)
    assert figures['round_trip_ms'] == pytest.approx(600)
    assert figures['drops'] == {'overtaken': 1}
    assert json.loads(json.dumps(figures)) == figures
