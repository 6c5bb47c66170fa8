"""The layer itself, where a sourced ROS installation has nav2 and semantic_segmentation_layer.

Run by `python -m tools.conformance`. Messages of a labelled drive, stamped anew, are played to
nav2's costmap, which is started with our parameter file.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.nodes.launch.costmap import PEERS
from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, message_type

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
SPACE = LABEL_SPACES['cityscapes']
IMAGE = 'sensor_msgs/msg/Image'
TOPICS = {
    '/points': 'sensor_msgs/msg/PointCloud2',
    '/semantic/points/mask': IMAGE,
    '/semantic/points/confidence': IMAGE,
}


@pytest.fixture(scope='module')
def installed():
    prefixes = [Path(each) for each in os.environ.get('AMENT_PREFIX_PATH', '').split(':') if each]
    index = 'share/ament_index/resource_index/packages'
    for package in (PEERS[0], PEERS[2]):
        if not any((prefix / index / package).is_file() for prefix in prefixes):
            pytest.skip(f'{package} is not installed')
    if shutil.which('ros2') is None:
        pytest.skip('ros2 is not installed')


@pytest.fixture
def costmap(installed, graph, ros_domain):
    """nav2's costmap with our parameters, its topics absolute, active."""
    file = ROOT / 'config/nav2_semantic_layer.yaml'
    read = {
        'segmentation_topic': '/semantic/points/mask',
        'confidence_topic': '/semantic/points/confidence',
        'labels_topic': '/semantic/label_info',
        'pointcloud_topic': '/points',
    }
    told = [a for k, v in read.items() for a in ('-p', f'semantic_layer.sweep.{k}:={v}')]
    command = ['ros2', 'run', 'nav2_costmap_2d', 'nav2_costmap_2d', '--ros-args']
    command += ['--params-file', str(file), *told]
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain)}
    process = subprocess.Popen(command, env=environment)
    yield lambda transition: change_state(graph, transition)
    process.terminate()
    process.wait(20)


def change_state(graph, transition):
    client = graph.node.create_client(ChangeState, '/costmap/costmap/change_state')
    graph.until(client.service_is_ready, 'the costmap', timeout=60.0)
    request = ChangeState.Request()
    request.transition.id = transition
    assert graph.result(client.call_async(request), f'transition {transition}').success


def to_rclpy(message):
    """The same message of rclpy, by its bytes."""
    name = message.__msgtype__
    data = bytes(make_typestore().serialize_cdr(message, name))
    return deserialize_message(data, message_type(name))


def test_the_layer_itself_marks_road_free_and_persons_lethal(costmap, graph, labelled_drive):
    drive = labelled_drive('day')
    grids = []
    graph.node.create_subscription(OccupancyGrid, '/costmap/costmap', grids.append, LATCHED_QOS)
    send = {
        topic: graph.node.create_publisher(message_type(kind), topic, 10)
        for topic, kind in TOPICS.items()
    }
    labels = graph.node.create_publisher(
        message_type('vision_msgs/msg/LabelInfo'), '/semantic/label_info', LATCHED_QOS
    )
    tf = graph.node.create_publisher(message_type('tf2_msgs/msg/TFMessage'), '/tf', 100)
    stamps = sorted(drive.at['/semantic/points/mask'])
    shift_ns = time.time_ns() - stamps[0]

    def tell_pose(stamp_ns):
        T = drive.drive.pose(stamp_ns)
        links = [('odom', 'base_link', stamp_ns + shift_ns, T)]
        links.append(('base_link', 'lidar', stamp_ns + shift_ns, drive.T_base_lidar))
        tf.publish(from_ros.transforms_to_message(message_type, links))

    tell_pose(stamps[0])
    costmap(Transition.TRANSITION_CONFIGURE)
    costmap(Transition.TRANSITION_ACTIVATE)
    (info,) = drive.at['/semantic/label_info'].values()
    labels.publish(to_rclpy(info))
    graph.until(lambda: all(p.get_subscription_count() for p in send.values()), 'the layer', 30.0)
    shift_ns = time.time_ns() - stamps[0]
    for stamp_ns in stamps:
        tell_pose(stamp_ns)
        for topic in TOPICS:
            message = to_rclpy(drive.at[topic][stamp_ns])
            message.header.stamp = from_ros.make_header(
                message_type, stamp_ns + shift_ns, ''
            ).stamp
            send[topic].publish(message)
        graph.spin(0.1)
    grids.clear()
    graph.until(lambda: grids, 'a costmap of it', timeout=10.0)
    grid = grids[-1]
    cells = np.asarray(grid.data).reshape(grid.info.height, grid.info.width)
    by_class = {'road': [], 'person': []}
    T = drive.drive.pose(stamps[-1]) @ drive.T_base_lidar
    cloud = drive.at['/ground_truth/points'][stamps[-1]]
    rows = cloud.data.reshape(-1, cloud.point_step)
    xyz = np.ascontiguousarray(rows[:, :12]).view('<f4') @ T[:3, :3].T + T[:3, 3]
    seen = drive.at['/semantic/points/mask'][stamps[-1]].data != 255
    near = np.linalg.norm((xyz - T[:3, 3])[:, :2], axis=1) < 15
    for name, found in by_class.items():
        for x, y, _ in xyz[seen & near & (rows[:, 12] == SPACE.id_of(name))]:
            column = math.floor((x - grid.info.origin.position.x) / grid.info.resolution)
            row = math.floor((y - grid.info.origin.position.y) / grid.info.resolution)
            if 0 <= column < grid.info.width and 0 <= row < grid.info.height:
                found.append(int(cells[row, column]))
    assert np.mean(np.array(by_class['road']) == 0) > 0.9
    assert np.mean(np.array(by_class['person']) == 100) > 0.7
