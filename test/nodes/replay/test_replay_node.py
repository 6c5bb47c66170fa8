"""Bags replayed through the segmentation node over DDS: lockstep, drops, loops, and KITTI."""

import json
import signal

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import cv2
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages import from_ros

pytestmark = pytest.mark.ros

OUTPUTS = {
    'semantic/image': 'sensor_msgs/msg/Image',
    'semantic/status': 'diagnostic_msgs/msg/DiagnosticArray',
    'depth_registered/image_rect': 'sensor_msgs/msg/Image',
}
BEGIN_NS = 1_700_000_000_000_000_000


class Listener:
    """Hears perception; publishes nothing, so that the replay is the only source."""

    def __init__(self, graph):
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        self.graph = graph
        self.heard = {name: [] for name in OUTPUTS}
        for name, kind in OUTPUTS.items():
            graph.node.create_subscription(message_type(kind), name, self.heard[name].append, 100)

    def clear(self):
        for messages in self.heard.values():
            messages.clear()

    def stamps(self, topic):
        return [from_ros.stamp_of(message) for message in self.heard[topic]]

    def statuses(self):
        return [from_ros.status_from_message(m) for m in self.heard['semantic/status']]

    def replay(self, start, *arguments, timeout=90.0):
        """Run a replay to its end; return exit code and output."""
        process = start('replay_node', *map(str, arguments))
        self.graph.until(lambda: not process.running, 'the replay to end', timeout)
        self.graph.spin(0.3)
        return process.process.returncode, process.output


@pytest.fixture(scope='module')
def listener(graph):
    return Listener(graph)


@pytest.fixture(scope='module')
def node(start, repository, tiny_model, listener):
    files = ['segmentation.param.yaml', 'replay.param.yaml']
    params = [a for f in files for a in ('--params-file', str(repository / 'config' / f))]
    return start('segmentation_node', ros=[*params, *tiny_model])


def test_lockstep_gives_one_mask_per_frame_and_goes_on_without_the_camera(
    start, node, listener, small_bag, tmp_path
):
    listener.clear()
    summary = tmp_path / 'summary.json'
    told = ('--json', summary)
    code, output = listener.replay(
        start, small_bag, '--lockstep', '--rate', 4, '--drop', 'camera@0.55-1.45', *told
    )
    assert code == 0, output
    assert '/camera/image_rect -> camera/image_rect (camera; rectified)' in output
    stamps = listener.stamps('semantic/image')
    assert stamps == sorted(set(stamps))
    camera = [BEGIN_NS + i * 100_000_000 for i in range(20) if not 6 <= i < 15]
    # Every image has its mask, and between them the thermal camera leads, in the camera's view.
    assert set(camera) <= set(stamps)
    others = [s for s in listener.statuses() if s.dropped is None and s.stamp_ns not in camera]
    assert len(others) >= 5
    assert all('camera' in status.missing for status in others)
    assert all(set(status.used) == {'thermal', 'lidar'} for status in others)
    assert all(m.header.frame_id == 'camera_optical' for m in listener.heard['semantic/image'])
    assert ' 0 unanswered' in output
    assert 'round trip from frame to mask, ms: p50' in output
    figures = json.loads(summary.read_text())
    assert f'{figures["frames"]} reference frames, {figures["masks"]} masks' in output
    assert 0 < figures['masks'] <= len(stamps)
    assert figures['unanswered'] == 0


def test_the_same_replay_gives_the_same_masks(start, node, listener, small_bag):
    runs = []
    for _ in range(2):
        listener.clear()
        code, output = listener.replay(
            start, small_bag, '--lockstep', '--rate', 10, '--duration', 1
        )
        assert code == 0, output
        masks = [(from_ros.stamp_of(m), bytes(m.data)) for m in listener.heard['semantic/image']]
        runs.append((masks, [(s.stamp_ns, s.used) for s in listener.statuses()]))
    assert len(runs[0][0]) == 10
    assert runs[0][1] == runs[1][1]
    different = [k for k in range(10) if runs[0][0][k] != runs[1][0][k]]
    assert not different


def test_a_few_frames_can_be_replayed_again_and_again(start, node, listener, small_bag):
    for _ in range(2):
        code, output = listener.replay(
            start, small_bag, '--lockstep', '--duration', 0.35, '--timeout', 5
        )
        assert code == 0, output
        assert '4 reference frames, 4 masks, 0 drops, 0 unanswered' in output


def test_a_loop_starts_again_until_ctrl_c(start, node, listener, small_bag):
    listener.clear()
    process = start('replay_node', str(small_bag), '--loop', '--rate', '8')
    first = [BEGIN_NS + i * 100_000_000 for i in range(5)]

    def looped():
        stamps = listener.stamps('semantic/image')
        backwards = [i for i in range(1, len(stamps)) if stamps[i] < stamps[i - 1]]
        return bool(backwards) and bool(set(first) & set(stamps[backwards[0] :]))

    listener.graph.until(looped, 'masks of the second round', timeout=30)
    code, _ = process.end(signal.SIGINT)
    assert code == 0, process.output
    assert 'reference frames' in process.output


def change_state(graph, transition):
    client = graph.node.create_client(ChangeState, '/segmentation/change_state')
    graph.until(client.service_is_ready, 'the lifecycle service')
    request = ChangeState.Request(transition=Transition(id=transition))
    assert graph.result(client.call_async(request), 'the change of state').success
    graph.node.destroy_client(client)


def test_a_node_that_does_not_answer_ends_lockstep_with_the_frame_it_failed_on(
    start, node, listener, small_bag
):
    listener.graph.spin(0.5)  # what was still on its way from before
    listener.clear()
    process = start('replay_node', str(small_bag), '--lockstep', '--timeout', '2')
    listener.graph.until(
        lambda: listener.heard['semantic/image'] or not process.running, 'the first mask'
    )
    assert process.running, process.output
    change_state(listener.graph, Transition.TRANSITION_DEACTIVATE)
    listener.graph.until(lambda: not process.running, 'the replay to give up', timeout=30)
    change_state(listener.graph, Transition.TRANSITION_ACTIVATE)
    assert process.process.returncode == 1
    assert 'neither a mask on /semantic/image nor a drop on /semantic/status' in process.output
    assert 'within 2 s for the frame of 17000000' in process.output
    assert '1 unanswered' in process.output


@pytest.mark.data
def test_kitti_gives_a_mask_and_the_depth_of_opencv_for_each_of_eight_frames(
    start, node, listener, sample_data
):
    bag = sample_data / 'kitti' / 'bag'
    listener.clear()
    code, output = listener.replay(start, bag, '--lockstep')
    assert code == 0, output
    assert '8 reference frames, 8 masks, 0 drops, 0 unanswered' in output
    with BagReader(bag) as reader:
        recorded: dict[str, list] = {}
        for message in reader.messages():
            recorded.setdefault(message.topic, []).append(reader.deserialize(message))
    images = recorded['/camera/front/image_rect/compressed']
    assert len(images) == 8
    last = from_ros.stamp_of(images[-1])  # the bag of the tests before is of later years

    def heard(topic):
        return {s: m for m in listener.heard[topic] if (s := from_ros.stamp_of(m)) <= last}

    masks, depths = heard('semantic/image'), heard('depth_registered/image_rect')
    assert sorted(masks) == sorted(depths) == [from_ros.stamp_of(m) for m in images]
    transform = recorded['/tf_static'][0]
    info = recorded['/camera/front/camera_info'][0]
    for image, sweep in zip(images, recorded['/lidar/points'], strict=True):
        stamp_ns = from_ros.stamp_of(image)
        assert from_ros.stamp_of(sweep) == stamp_ns
        mask = masks[stamp_ns]
        assert mask.header.frame_id == image.header.frame_id == 'camera_front_optical'
        assert from_ros.image_to_array(mask)[0].shape == (375, 1242)
        assert depths[stamp_ns].header.frame_id == image.header.frame_id
        depth, encoding = from_ros.image_to_array(depths[stamp_ns])
        assert (encoding, depth.shape) == ('32FC1', (375, 1242))
        check_depth(depth, sweep, transform, info)


def check_depth(depth, sweep, transform, info):
    """Compare a depth image with OpenCV's projection of the same points, nearest in front.

    Points that are hidden from the camera are left out of the depth image: few.
    """
    names = [field.name for field in sweep.fields]
    assert names[:3] == ['x', 'y', 'z']
    raw = np.frombuffer(sweep.data, np.uint8).reshape(-1, sweep.point_step)
    points = raw[:, :12].copy().view('<f4').astype(np.float64)
    T = next(
        t.transform
        for t in transform.transforms
        if t.child_frame_id == info.header.frame_id and t.header.frame_id == sweep.header.frame_id
    )
    q, t = T.rotation, T.translation
    R_lidar_camera = quaternion_matrix(q.x, q.y, q.z, q.w)
    rotation = cv2.Rodrigues(R_lidar_camera.T)[0]
    translation = -R_lidar_camera.T @ [t.x, t.y, t.z]
    K = np.reshape(info.p, (3, 4))[:, :3]
    z = (points @ R_lidar_camera)[:, 2] + translation[2]
    points, z = points[z > 0], z[z > 0]
    uv = cv2.projectPoints(points, rotation, translation, K, None)[0][:, 0]
    pixels = np.floor(uv + 0.5).astype(int)
    height, width = depth.shape
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    expected = np.full(depth.shape, np.inf)
    np.minimum.at(expected, (pixels[inside, 1], pixels[inside, 0]), z[inside])
    seen = np.isfinite(expected)
    assert seen.sum() > 15_000
    same = np.abs(np.nan_to_num(depth, nan=-1.0) - expected) < 1e-3
    shown = seen & np.isfinite(depth)
    assert shown.sum() > 0.93 * seen.sum()
    assert same[shown].mean() >= 0.999
    # What is not in its pixel is in a neighbouring one: a rounding, not a wrong place.
    for v, u in zip(*np.nonzero(shown & ~same), strict=True):
        around = depth[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2]
        assert np.nanmin(np.abs(around - expected[v, u])) < 1e-3
    assert np.mean(np.isfinite(depth) & ~seen) < 1e-4


def quaternion_matrix(x, y, z, w):
    """Rotation of a quaternion by its action on the axes: q e q*, written out with products."""

    def product(a, b):
        return np.array(
            [
                a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
                a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
                a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
                a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
            ]
        )

    q, conjugate = np.array([x, y, z, w]), np.array([-x, -y, -z, w])
    axes = [product(product(q, np.array([*axis, 0.0])), conjugate)[:3] for axis in np.eye(3)]
    return np.stack(axes, axis=1)


def test_the_node_leaves_in_simulated_time_too(node):
    code, _ = node.end(signal.SIGINT)
    assert code == 0, node.output


def test_without_nodes_the_replay_says_what_it_waits_for(start, listener, node, small_bag):
    node.end()
    code, output = listener.replay(start, small_bag, '--wait', 1)
    assert code == 1
    assert 'waited 1 s, but nobody subscribes to' in output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['/no/such/bag'], '/no/such/bag does not exist'),
        (['BAG', '--drop', 'event@0-1'], "--drop names 'event', which the bag does not have"),
        (['BAG', '--drop', 'event'], 'SENSOR@START-END'),
        (['BAG', '--start', '99'], '--start must be before the end of the bag'),
        (['BAG', '--rate', '0'], 'expected a number above 0'),
        (['BAG', '--topic', 'camera:=/nothing'], 'camera is to be /nothing'),
    ],
)
def test_a_wrong_bag_or_option_is_one_sentence(start, listener, small_bag, arguments, message):
    code, output = listener.replay(start, *(a.replace('BAG', str(small_bag)) for a in arguments))
    assert code == 2
    assert message in output
    assert 'Traceback' not in output


def test_what_a_node_loads_meanwhile_is_told_once(start, listener, graph, small_bag):
    """The steps stand in /diagnostics; "nobody subscribes" says less to who waits for them."""
    from sam_ad_perception.nodes.ros.rclpy_helpers import STATUS_QOS, message_type

    array = message_type('diagnostic_msgs/msg/DiagnosticArray')
    entry = message_type('diagnostic_msgs/msg/DiagnosticStatus')
    publisher = graph.node.create_publisher(array, '/diagnostics', STATUS_QOS)
    told = array(status=[entry(name='segmentation: output', message='configuring: loading tiny')])
    graph.node.create_timer(0.2, lambda: publisher.publish(told))
    code, output = listener.replay(start, small_bag, '--wait', 4)
    assert code == 1
    assert output.count('segmentation: loading tiny') == 1
