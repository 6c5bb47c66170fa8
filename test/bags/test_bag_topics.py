from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.bags.reader import BagError, BagReader, BagTopic
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.topics import roles as list_roles
from sam_ad_perception.core.sensors import Modality

KINDS = {
    'I': 'sensor_msgs/msg/Image',
    'C': 'sensor_msgs/msg/CompressedImage',
    'K': 'sensor_msgs/msg/CameraInfo',
    'P': 'sensor_msgs/msg/PointCloud2',
    'E': 'event_camera_msgs/msg/EventPacket',
    'T': 'tf2_msgs/msg/TFMessage',
}


def topics(text):
    """`I /camera/image 9` on each line: kind, name, number of messages (10 if not said)."""
    made = []
    for line in text.strip().splitlines():
        kind, name, *count = line.split()
        made.append(BagTopic(name, KINDS[kind], int(count[0]) if count else 10))
    return made


def roles(mapping):
    return {role: name for role, name, _ in mapping.rows() if not role.startswith('tf')}


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        pytest.param(
            """
            I /camera/image_rect
            K /camera/camera_info
            I /thermal/image_rect
            K /thermal/camera_info
            E /events
            K /events/camera_info
            P /points
            I /ground_truth/image
            """,
            {
                'camera': '/camera/image_rect',
                'camera_info': '/camera/camera_info',
                'thermal': '/thermal/image_rect',
                'thermal_info': '/thermal/camera_info',
                'event': '/events',
                'event_info': '/events/camera_info',
                'lidar': '/points',
            },
            id='our own names',
        ),
        pytest.param(
            """
            C /zed/left/image_rect_color/compressed
            C /zed/right/image_rect_color/compressed
            K /zed/left/camera_info
            K /zed/right/camera_info
            I /zed/depth/image
            K /zed/depth/camera_info
            P /zed/depth/points
            P /velodyne_points
            """,
            {
                'camera': '/zed/left/image_rect_color/compressed',
                'camera_info': '/zed/left/camera_info',
                'lidar': '/velodyne_points',
                'depth': '/zed/depth/image',
                'depth_info': '/zed/depth/camera_info',
            },
            id='stereo with depth',
        ),
        pytest.param(
            """
            I /flir/boson/image_raw
            K /flir/boson/camera_info
            I /first/image_raw
            K /first/camera_info
            I /firmware/image
            """,
            {
                'thermal': '/flir/boson/image_raw',
                'thermal_info': '/flir/boson/camera_info',
                'camera': '/first/image_raw',
                'camera_info': '/first/camera_info',
            },
            id='ir is a word, not two letters',
        ),
        pytest.param(
            """
            C /cam/image_raw/compressed 100
            I /cam/image_raw 95
            K /cam/camera_info
            """,
            {'camera': '/cam/image_raw', 'camera_info': '/cam/camera_info'},
            id='uncompressed first',
        ),
        pytest.param(
            """
            C /cam/image_raw/compressed 100
            I /cam/image_raw 20
            K /cam/camera_info
            """,
            {'camera': '/cam/image_raw/compressed', 'camera_info': '/cam/camera_info'},
            id='uncompressed only if it is all there',
        ),
        pytest.param(
            """
            I /cam/image_raw
            I /cam/image_rect
            K /cam/camera_info
            I /other/image_rect
            """,
            {'camera': '/cam/image_rect', 'camera_info': '/cam/camera_info'},
            id='rectified first, but geometry before all',
        ),
        pytest.param(
            """
            I /rig/cam_rear/image
            K /rig/cam_rear/camera_info
            I /rig/cam_front/image
            K /rig/cam_front/camera_info
            I /rig/cam_left/image 99
            K /rig/cam_left/camera_info
            """,
            {'camera': '/rig/cam_front/image', 'camera_info': '/rig/cam_front/camera_info'},
            id='looking ahead first',
        ),
        pytest.param(
            """
            I /usb_cam/image
            K /calibration
            E /prophesee/events
            K /prophesee/camera_info
            """,
            {
                'camera': '/usb_cam/image',
                'camera_info': '/calibration',
                'event': '/prophesee/events',
                'event_info': '/prophesee/camera_info',
            },
            id='the only camera_info that is left',
        ),
        pytest.param(
            """
            I /davis/image_raw
            K /davis/camera_info
            I /rgb/image_raw
            K /rgb/camera_info
            I /camera/infra1/image_rect_raw
            K /camera/infra1/camera_info
            """,
            {'camera': '/rgb/image_raw', 'camera_info': '/rgb/camera_info'},
            id='an ordinary camera first',
        ),
        pytest.param(
            """
            I /semantic/image
            P /semantic/points
            I /depth_registered/image_rect
            K /depth_registered/camera_info
            I /camera/image 0
            """,
            {},
            id='results and empty topics are no sensors',
        ),
    ],
)
def test_sensors_are_found_by_type_and_name(text, expected):
    mapping = guess_topics(topics(text))
    assert roles(mapping) == expected


RIG = """
    I /camera/image_raw
    K /camera/camera_info
    I /thermal/image_raw
    K /thermal/camera_info
    I /spare/image_rect
    P /top/points
    P /side/points
    T /tf
    T /tf_static
    T /robot/tf_static
    T /markers
"""


def test_what_was_passed_over_is_told():
    mapping = guess_topics(topics(RIG))
    assert mapping.passed_over == {
        Modality.CAMERA: ('/spare/image_rect',),
        Modality.LIDAR: ('/top/points',),
    }
    assert ('lidar', '/side/points', 'not taken: /top/points') in mapping.rows()
    assert ('camera', '/camera/image_raw', 'raw; not taken: /spare/image_rect') in mapping.rows()


def test_transforms_are_found_in_every_namespace():
    mapping = guess_topics(topics(RIG))
    assert mapping.tf == ('/tf',)
    assert mapping.tf_static == ('/tf_static', '/robot/tf_static')


def test_every_role_can_be_overruled_or_switched_off():
    mapping = guess_topics(
        topics(RIG),
        {
            'camera': '/spare/image_rect',
            'camera_info': '/camera/camera_info',
            'lidar': '/top/points',
            'thermal': '',
            'tf': '/markers',
            'tf_static': '',
        },
    )
    assert roles(mapping) == {
        'camera': '/spare/image_rect',
        'camera_info': '/camera/camera_info',
        'lidar': '/top/points',
    }
    assert mapping.sensors[Modality.CAMERA].rectified
    assert (mapping.tf, mapping.tf_static) == (('/markers',), ())


def test_a_camera_that_is_switched_off_still_gives_the_view():
    mapping = guess_topics(topics(RIG), {'camera': ''})
    camera = mapping.sensors[Modality.CAMERA]
    assert (camera.data, camera.info) == ('', '/camera/camera_info')
    assert '/camera/image_raw' not in mapping.names
    assert '/camera/camera_info' in mapping.names


def test_rectification_follows_the_name_unless_it_is_said():
    assert not guess_topics(topics(RIG)).sensors[Modality.CAMERA].rectified
    said = guess_topics(topics(RIG), rectified={Modality.CAMERA: True})
    assert said.sensors[Modality.CAMERA].rectified


@pytest.mark.parametrize(
    ('override', 'sentence'),
    [
        ({'radar': '/x'}, "unknown role 'radar', expected one of"),
        ({'camera': '/nope'}, 'camera is to be /nope, but the bag has only'),
        ({'camera': '/top/points'}, 'camera is to be /top/points, which is a sensor_msgs/msg/Poi'),
        ({'camera_info': '/tf'}, 'expected sensor_msgs/msg/CameraInfo'),
        ({'tf': '/top/points'}, 'expected tf2_msgs/msg/TFMessage'),
    ],
)
def test_an_override_that_cannot_be_is_refused(override, sentence):
    with pytest.raises(BagError) as caught:
        guess_topics(topics(RIG), override)
    assert sentence in str(caught.value)


WORDS = (
    *('camera', 'thermal', 'ir', 'front', 'depth', 'lidar', 'events', 'tf'),
    *('image_rect', 'camera_info'),
)
names = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda w: '/' + '/'.join(w))


@given(st.dictionaries(names, st.sampled_from(sorted(KINDS)), max_size=8), st.randoms())
def test_the_guess_depends_on_the_topics_and_not_on_their_order(listed, random):
    made = [BagTopic(name, KINDS[kind], 5) for name, kind in listed.items()]
    mapping = guess_topics(made)
    random.shuffle(made)
    again = guess_topics(made)
    assert again.sensors == mapping.sensors
    assert set(mapping.names) <= set(listed)
    data = [s.data for s in mapping.sensors.values() if s.data]
    assert len(set(data)) == len(data)
    assert {role for role, _, _ in mapping.rows()} <= set(list_roles())


def test_the_kitti_bag_needs_no_help(sample_data):
    with BagReader(sample_data / 'kitti' / 'bag') as bag:
        mapping = guess_topics(bag.topics)
    assert roles(mapping) == {
        'camera': '/camera/front/image_rect/compressed',
        'camera_info': '/camera/front/camera_info',
        'lidar': '/lidar/points',
    }
    assert mapping.sensors[Modality.CAMERA].rectified


def test_odometry_is_found_by_type_and_messages():
    def topic(name, kind, count):
        return BagTopic(name, kind, count)

    odometry, twist = 'nav_msgs/msg/Odometry', 'geometry_msgs/msg/TwistStamped'
    listed = [topic('/twist', twist, 900), topic('/a', odometry, 10), topic('/b', odometry, 20)]
    mapping = guess_topics(listed)
    assert mapping.odometry == '/b'
    assert '/b' in mapping.names
    assert ('odometry', '/b', '') in mapping.rows()
    assert guess_topics(listed[:1]).odometry == '/twist'
    assert guess_topics(listed, {'odometry': ''}).odometry == ''
    assert guess_topics(listed, {'odometry': '/a'}).odometry == '/a'
    with pytest.raises(BagError, match='expected nav_msgs/msg/Odometry'):
        guess_topics([*listed, topic('/tf', 'tf2_msgs/msg/TFMessage', 3)], {'odometry': '/tf'})


def test_transforms_of_another_vehicle_are_left_out_and_named():
    mapping = guess_topics(
        topics("""
            I /robot1/cam/image_rect
            K /robot1/cam/camera_info
            P /robot1/points
            T /tf
            T /tf_static
            T /robot1/tf
            T /robot1/tf_static
            T /robot10/tf_static
            T /robot2/tf
            T /robot2/tf_static
        """)
    )
    assert mapping.tf == ('/tf', '/robot1/tf')
    assert mapping.tf_static == ('/tf_static', '/robot1/tf_static')
    remarks = {name: remark for _, name, remark in mapping.rows()}
    assert remarks['/tf_static'] == 'not taken: /robot10/tf_static, /robot2/tf_static'
