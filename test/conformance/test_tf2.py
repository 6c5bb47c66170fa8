"""The transform tree against tf2's BufferCore: random trees, re-parenting, late samples."""

import numpy as np
import pytest

pytest.importorskip('tf2_py', reason='tf2_py is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

import tf2_py
from builtin_interfaces.msg import Time
from tf2_msgs.msg import TFMessage

from sam_ad_perception.core.geometry.transform_tree import TransformError, TransformTree
from sam_ad_perception.core.geometry.transforms import make_transform, quaternion_to_matrix
from sam_ad_perception.core.messages.to_ros import transforms_to_message
from sam_ad_perception.core.messages.transforms import TransformFeed
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros
START_NS = 1_700_000_000 * 10**9
STEP_NS = 10**8


class Both:
    """The same messages for our tree and for tf2."""

    def __init__(self):
        self.tree = TransformTree()
        self.feed = TransformFeed(self.tree)
        self.buffer = tf2_py.BufferCore()

    def take(self, links, *, static):
        message = transforms_to_message(message_type, links)
        assert isinstance(message, TFMessage)
        self.feed.take(message, '/tf_static' if static else '/tf', static=static)
        for each in message.transforms:
            if static:
                self.buffer.set_transform_static(each, 'test')
            else:
                self.buffer.set_transform(each, 'test')

    def lookup(self, target, source, stamp_ns):
        """What each answers; None for an error."""
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        time = Time(sec=seconds, nanosec=nanoseconds)
        try:
            found = self.buffer.lookup_transform_core(target, source, time).transform
            q, t = found.rotation, found.translation
            theirs = make_transform(quaternion_to_matrix(q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
        except Exception:  # tf2's own classes, one for each reason
            theirs = None
        try:
            ours = self.tree.lookup(target, source, stamp_ns)
        except TransformError:
            ours = None
        return ours, theirs

    def compare(self, target, source, stamp_ns, count):
        """Hold both answers together; ours may also answer a little outside the known times."""
        ours, theirs = self.lookup(target, source, stamp_ns)
        count('tf2 BufferCore', 'lookups')
        if theirs is None:
            count('tf2 BufferCore', 'lookups that tf2 refuses')
            if ours is not None:
                count('tf2 BufferCore', 'of these answered by tolerance')
            return
        assert ours is not None, (target, source, stamp_ns - START_NS)
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def pose(rng):
    q = rng.normal(size=4)
    return make_transform(quaternion_to_matrix(*(q / np.linalg.norm(q))), rng.uniform(-5, 5, 3))


def fill(both, rng, frames):
    """Random parents; half of the links move, some of their samples come late."""
    parents = {i: int(rng.integers(i)) for i in range(1, frames)}
    samples = []
    for child, parent in parents.items():
        if rng.random() < 0.5:
            both.take([(f'f{parent}', f'f{child}', START_NS, pose(rng))], static=True)
        else:
            for step in range(12):
                late = float(rng.random() < 0.2) * 3
                stamp_ns = START_NS + step * STEP_NS + int(rng.integers(10**7))
                samples.append((step + late, (f'f{parent}', f'f{child}', stamp_ns, pose(rng))))
    for _, link in sorted(samples, key=lambda each: each[0]):
        both.take([link], static=False)


@pytest.mark.parametrize('seed', range(40))
def test_random_trees_answer_as_tf2_does(seed, count):
    rng = np.random.default_rng(seed)
    both, frames = Both(), 9
    fill(both, rng, frames)
    for _ in range(25):
        a, b = rng.integers(frames, size=2)
        stamp_ns = START_NS + int(rng.uniform(0, 11) * STEP_NS)
        both.compare(f'f{a}', f'f{b}', stamp_ns, count)


@pytest.mark.parametrize('seed', range(20))
def test_a_fixed_frame_under_a_new_parent_is_there_only(seed, count):
    rng = np.random.default_rng(seed)
    both = Both()
    both.take([('base', 'lidar', 0, pose(rng)), ('base', 'mount', 0, pose(rng))], static=True)
    both.compare('base', 'lidar', START_NS, count)
    both.take([('mount', 'lidar', 0, pose(rng))], static=True)
    both.take([('base', 'camera', 0, pose(rng)), ('base', 'mount', 0, pose(rng))], static=True)
    for target in ('base', 'mount', 'camera'):
        both.compare(target, 'lidar', START_NS, count)


@pytest.mark.parametrize('seed', range(20))
def test_a_moving_frame_under_a_new_parent_follows_the_newest(seed, count):
    rng = np.random.default_rng(seed)
    both = Both()
    for step in range(5):
        both.take([('odom', 'base', START_NS + step * STEP_NS, pose(rng))], static=False)
    for step in range(5, 10):
        both.take([('map', 'base', START_NS + step * STEP_NS, pose(rng))], static=False)
    for step in (6.5, 8.25, 9.0):
        both.compare('map', 'base', START_NS + int(step * STEP_NS), count)


def test_one_late_sample_of_one_link_moves_no_other(count):
    rng = np.random.default_rng(7)
    both = Both()
    for step in range(30):
        stamp_ns = START_NS + step * STEP_NS
        links = [('odom', 'base', stamp_ns, pose(rng)), ('map', 'odom', stamp_ns, pose(rng))]
        both.take(links, static=False)
    late_ns = START_NS + 14 * STEP_NS + STEP_NS // 2  # a second pose for a known stamp differs
    both.take([('map', 'odom', late_ns, pose(rng))], static=False)
    for step in (13.5, 14.0, 14.25, 14.5, 14.75, 25.0, 28.9):
        both.compare('odom', 'base', START_NS + int(step * STEP_NS), count)
        both.compare('map', 'base', START_NS + int(step * STEP_NS), count)
