"""What tf2's buffer answers, link by link; its answers stand here as numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sam_ad_perception.core.geometry.transform_tree import MOST_NAMES, TransformTree
from sam_ad_perception.core.geometry.transforms import TransformError, make_transform
from sam_ad_perception.core.messages.transforms import TransformFeed

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def link(parent, child, x, ns=0, q=IDENTITY):
    sec, nanosec = divmod(ns, SECOND)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent, stamp=SimpleNamespace(sec=sec, nanosec=nanosec)),
        child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(x=float(x), y=0.0, z=0.0),
            rotation=SimpleNamespace(**dict(zip('xyzw', map(float, q), strict=True))),
        ),
    )


def feed(*messages, tree=None):
    """Messages of ('/tf_static' or '/tf', links), as they come live."""
    taken = TransformFeed(TransformTree() if tree is None else tree)
    reports = [
        taken.take(SimpleNamespace(transforms=links), topic, static=topic == '/tf_static')
        for topic, links in messages
    ]
    refused = [why for each in reports for why in each.refused]
    return taken.tree, refused, [note for each in reports for note in each.notes]


def x_of(tree, target, source, stamp_ns=None):
    return round(float(tree.lookup(target, source, stamp_ns)[0, 3]), 6)


def test_static_link_moves_under_another_parent_in_a_later_message():
    tree, refused, notes = feed(
        ('/tf_static', [link('base', 'lidar', 1)]),
        ('/tf_static', [link('base', 'mount', 2)]),
        ('/tf_static', [link('mount', 'lidar', 5)]),
    )
    assert x_of(tree, 'base', 'lidar') == 7
    assert refused == []
    assert notes == [
        "frame 'lidar' has another parent: 'mount' now, 'base' before; the newest counts"
    ]


def test_link_that_contradicts_the_calibration_file_costs_nothing_of_its_message():
    known = TransformTree()
    known.set_static('base', 'lidar', np.eye(4))
    message = [link('mount', 'lidar', 5), link('base', 'camera', 3), link('base', 'mount', 2)]
    tree, refused, _ = feed(('/tf_static', message), tree=known)
    assert x_of(tree, 'base', 'camera') == 3
    assert x_of(tree, 'base', 'lidar') == 7
    assert refused == []


@pytest.mark.parametrize(
    'bad',
    [
        link('base', 'bad', 1, q=(0, 0, 0, 0.9)),
        link('base', 'bad', 1, q=(0, 0, 0, 0)),
        link('base', 'bad', 1, q=(0, 0, 0, 5e-324)),
        link('base', 'bad', 1, q=(1e300, 1e300, 0, 0)),
        link('base', 'bad', 1, q=(0, 0, 0, np.nan)),
        link('base', 'bad', np.nan),
        link('base', 'bad', np.inf),
        link('bad', 'bad', 1),
        link('/bad', 'bad', 1),
        link('', 'bad', 1),
        link('base', '', 1),
    ],
)
@pytest.mark.parametrize('topic', ['/tf_static', '/tf'])
def test_bad_link_is_left_out_alone_and_named(bad, topic):
    tree, refused, _ = feed(
        (topic, [link('base', 'camera', 3, T0), bad, link('base', 'lidar', 2, T0)])
    )
    assert x_of(tree, 'base', 'camera') == 3
    assert x_of(tree, 'base', 'lidar') == 2
    assert tree.frames == ('base', 'camera', 'lidar')
    assert len(refused) == 1
    assert bad.header.frame_id.lstrip('/') in refused[0]


def test_newest_of_a_static_and_a_moving_link_counts():
    tree, refused, notes = feed(
        ('/tf_static', [link('base', 'camera', 3)]),
        ('/tf', [link('base', 'camera', 4, T0), link('odom', 'base', 1, T0)]),
    )
    assert (x_of(tree, 'base', 'camera', T0), x_of(tree, 'odom', 'base', T0)) == (4, 1)
    assert refused == []
    assert notes == ["frame 'camera' moves now, and was static: the newest counts"]
    tree, _, _ = feed(('/tf_static', [link('base', 'camera', 3)]), tree=tree)
    assert x_of(tree, 'base', 'camera', T0 + 99 * SECOND) == 3


def test_moving_link_has_at_each_time_the_parent_of_that_time():
    tree, _, notes = feed(
        ('/tf', [link('odom', 'base', 1, T0)]), ('/tf', [link('map', 'base', 2, T0 + SECOND)])
    )
    assert x_of(tree, 'map', 'base', T0 + SECOND) == 2
    assert x_of(tree, 'odom', 'base', T0) == 1
    assert x_of(tree, 'odom', 'base', T0 + SECOND // 2) == 1  # of two parents, the earlier holds
    assert x_of(tree, 'map', 'base') == 2
    with pytest.raises(TransformError, match='not connected'):
        tree.lookup('odom', 'base', T0 + SECOND)
    assert tree.known_span('map', 'base') == (T0 + SECOND, T0 + SECOND)
    assert len(notes) == 1


def test_late_pose_of_one_link_costs_no_other():
    steps = [
        ('/tf', [link('odom', 'base', j * 0.1, T0 + j * SECOND // 10)]) for j in range(30)
    ] + [('/tf', [link('map', 'odom', 0, T0 + j * SECOND // 10)]) for j in range(30)]
    late = ('/tf', [link('map', 'odom', 0, T0 + 14 * SECOND // 10)])
    tree, refused, notes = feed(*steps, late)
    assert x_of(tree, 'odom', 'base', T0 + 25 * SECOND // 10) == 2.5
    assert x_of(tree, 'map', 'base', T0 + 25 * SECOND // 10) == 2.5
    assert (refused, notes) == ([], [])


def test_rotation_is_normalised_within_the_tolerance_of_tf2():
    tree, refused, _ = feed(
        ('/tf_static', [link('base', 'camera', 3, q=(0, 0, 0.71, 0.71))]),
        ('/tf_static', [link('base', 'lidar', 3, q=(0, 0, 0, np.sqrt(1.0099)))]),
        ('/tf_static', [link('base', 'radar', 3, q=(0, 0, 0, np.sqrt(1.0101)))]),
    )
    R = tree.lookup('base', 'camera')[:3, :3]
    np.testing.assert_allclose(R, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    assert tree.frames == ('base', 'camera', 'lidar')
    assert len(refused) == 1


def test_pose_older_than_the_history_is_refused_as_tf2_does():
    tree, refused, _ = feed(
        ('/tf', [link('odom', 'base', 1, T0)]),
        ('/tf', [link('odom', 'base', 2, T0 - 11 * SECOND)]),
        ('/tf', [link('odom', 'base', 3, T0 + SECOND)]),
    )
    assert x_of(tree, 'odom', 'base', T0 + SECOND // 2) == 2
    assert refused == [
        "transform 'odom' -> 'base' of 1699999989.000 s is 11.0 s older than the newest of this "
        'link'
    ]
    with pytest.raises(TransformError, match='known from'):
        tree.lookup('odom', 'base', T0 - 11 * SECOND)


def test_loop_is_told_where_it_is_in_the_way_and_ends_with_the_newest_parent():
    tree, _, _ = feed(
        ('/tf_static', [link('base', 'mount', 1), link('mount', 'lidar', 2)]),
        ('/tf_static', [link('base', 'camera', 3), link('lidar', 'base', 4)]),
    )
    assert x_of(tree, 'base', 'lidar') == 3  # an ancestor is found before the loop closes
    tree.set_static('rig', 'gps', np.eye(4))
    with pytest.raises(TransformError, match=r'the links of .* form a loop'):
        tree.lookup('gps', 'lidar')
    tree.set_static('earth', 'base', np.eye(4))
    assert x_of(tree, 'earth', 'camera') == 3


@pytest.mark.parametrize('back_s', [3, 60])
def test_link_whose_clock_was_set_back_begins_anew_alone(back_s):
    tree = TransformTree()
    for i in range(300):
        for child in ('base', 'other'):
            tree.add_dynamic('odom', child, T0 + i * SECOND // 100, move(i))
    began = T0 + 3 * SECOND - back_s * SECOND
    refused, notes = 0, set()
    for i in range(150):
        try:
            notes.add(tree.add_dynamic('odom', 'base', began + i * SECOND // 100, move(-i)))
        except TransformError:
            refused += 1
    assert notes - {''} == {"the clock of 'odom' -> 'base' was set back: it begins anew"}
    assert refused == (back_s > 10)
    assert x_of(tree, 'odom', 'base', began + SECOND) == -100
    assert x_of(tree, 'odom', 'other', T0 + 2 * SECOND) == 200
    with pytest.raises(TransformError, match='known from'):
        tree.lookup('odom', 'base', T0 + 3 * SECOND)


def move(x):
    return make_transform(np.eye(3), (x, 0, 0))


def test_link_with_one_stamp_of_the_future_heals():
    tree = TransformTree()
    tree.add_dynamic('odom', 'base', T0, move(0))
    tree.add_dynamic('odom', 'other', T0, move(0))
    tree.add_dynamic('odom', 'base', T0 + 10**9 * SECOND, move(9))
    with pytest.raises(TransformError, match='older than the newest'):
        tree.add_dynamic('odom', 'base', T0 + SECOND // 10, move(1))
    for i in (2, 3):
        tree.add_dynamic('odom', 'base', T0 + i * SECOND // 10, move(i))
    assert x_of(tree, 'odom', 'base', T0 + SECOND // 4) == 2.5
    assert x_of(tree, 'odom', 'other', T0) == 0


def test_frames_that_nobody_moves_any_more_are_forgotten_and_the_rest_stays():
    tree = TransformTree()
    tree.set_static('base', 'camera', move(1))
    for i in range(17_200):
        tree.add_dynamic('base', f'track_{i}', T0 + i * SECOND // 200, move(i))
    for i in range(400):
        stamp_ns = T0 + 86 * SECOND + i * SECOND // 10
        tree.add_dynamic('odom', 'base', stamp_ns, move(i))
        tree.add_dynamic('map', 'odom', stamp_ns + 37 * SECOND, move(0))  # a clock on TAI
    assert tree.frames == ('base', 'camera', 'map', 'odom')
    assert x_of(tree, 'odom', 'camera', T0 + 86 * SECOND + 300 * SECOND // 10) == 301


def test_no_message_lists_more_than_eight_frames():
    tree = TransformTree()
    tree.set_static('base', 'camera', move(1))
    for i in range(17_200):
        tree.add_dynamic('odom', f'track_{i:05}', T0, move(i))
    for target, source in (('camera', 'lidar'), ('camera', 'track_00007')):
        with pytest.raises(TransformError) as caught:
            tree.lookup(target, source, T0)
        assert len(str(caught.value)) < 400
        known = str(caught.value).partition('known: ')[2]
        assert known.startswith('base, camera, ')  # the vehicle's own before a tracker's
        assert known.count(', ') == MOST_NAMES - 1
        assert known.endswith(f'and {17_203 - MOST_NAMES} more)')


def test_fixed_link_that_changes_holds_from_its_time_on():
    tree = TransformTree()
    tree.set_static('base', 'lidar', move(1), T0)
    tree.set_static('base', 'lidar', move(2), T0 + 5 * SECOND)
    tree.set_static('base', 'lidar', move(2), T0 + 6 * SECOND)
    at = [x_of(tree, 'base', 'lidar', T0 + s * SECOND) for s in (-9, 0, 4, 5, 6, 99)]
    assert at == [1, 1, 1, 2, 2, 2]
    assert x_of(tree, 'base', 'lidar') == 2
    tree.set_static('base', 'lidar', move(3))  # live, the newest holds for all times
    assert x_of(tree, 'base', 'lidar', T0) == 3


def test_calibration_said_again_with_its_old_stamp_holds_from_when_it_was_recorded():
    tree = TransformTree()
    recorded = TransformFeed(tree)
    for x, stamp_ns, received_ns in (
        (1, T0, T0),
        (2, T0, T0 + 3 * SECOND),
        (1, 0, T0 + 4 * SECOND),
    ):
        recorded.take(
            SimpleNamespace(transforms=[link('base', 'lidar', x, stamp_ns)]),
            '/tf_static',
            static=True,
            received_ns=received_ns,
        )
    assert [x_of(tree, 'base', 'lidar', T0 + s * SECOND) for s in (0, 2, 3, 4)] == [1, 1, 2, 1]


@pytest.mark.parametrize('order', [('/robot1', '/robot2'), ('/robot2', '/robot1')])
def test_frame_belongs_to_the_namespace_of_the_sensors_and_the_other_tree_is_named(order):
    taken = TransformFeed(TransformTree(), ['/robot1/cam/image_rect', '/robot1/points'])
    for namespace in order:
        x = 1 if namespace == '/robot1' else 2
        links = [link('base', 'camera', 0), link('base', 'lidar', x)]
        taken.take(SimpleNamespace(transforms=links), f'{namespace}/tf_static', static=True)
    assert x_of(taken.tree, 'base', 'lidar') == 1
    assert taken.tree.doubt('camera', 'lidar') == (
        "the transforms of /robot1 and /robot2 place 'lidar' 1.00 m and 0.0 degrees apart: those "
        'of /robot1 are used'
    )
    assert taken.tree.doubt('base', 'camera') == ''


def test_transforms_that_are_relayed_to_another_topic_raise_no_doubt():
    taken = TransformFeed(TransformTree(), ['/robot1/cam/image_rect'])
    for i in range(20):
        for topic in ('/tf', '/robot1/tf'):
            links = [link('odom', 'base', i, T0 + i * SECOND // 10)]
            taken.take(SimpleNamespace(transforms=links), topic, static=False)
    assert taken.tree.doubts == {}
    assert x_of(taken.tree, 'odom', 'base', T0 + SECOND) == 10


def test_two_poses_of_one_stamp_count_before_and_after_it():
    """tf2 keeps both: what moves towards the stamp ends at the first, and leaves from the last."""
    for between in ([], [link('odom', 'base', 9, T0 + SECOND)]):
        tree, refused, _ = feed(
            ('/tf', [link('odom', 'base', 0, T0), link('odom', 'base', 1, T0 + SECOND)]),
            ('/tf', [*between, link('odom', 'base', 2, T0 + SECOND)]),
            ('/tf', [link('odom', 'base', 3, T0 + 2 * SECOND)]),
        )
        assert refused == []
        told = [x_of(tree, 'odom', 'base', T0 + k * SECOND // 4) for k in range(9)]
        assert told == [0, 0.25, 0.5, 0.75, 2, 2.25, 2.5, 2.75, 3]


def test_two_parents_of_one_stamp_count_before_and_after_it():
    tree, _, _ = feed(
        ('/tf', [link('odom', 'base', 0, T0), link('odom', 'base', 1, T0 + SECOND)]),
        ('/tf', [link('map', 'base', 2, T0 + SECOND)]),
    )
    assert x_of(tree, 'odom', 'base', T0 + SECOND // 2) == 0.5
    assert x_of(tree, 'map', 'base', T0 + SECOND) == 2
    with pytest.raises(TransformError, match=r"'odom' is unknown|not connected"):
        tree.lookup('odom', 'base', T0 + SECOND)


def test_poses_of_a_stamp_that_stands_still_take_no_memory():
    tree = TransformTree()
    for k in range(1000):
        pose = np.eye(4)
        pose[0, 3] = k
        tree.add_dynamic('odom', 'base', T0, pose)
    assert len(tree._links['base'].stamps_ns) == 2
    assert x_of(tree, 'odom', 'base', T0) == 999


@pytest.mark.parametrize(
    ('target', 'source', 'x'),
    [('a', 'b', 1), ('b', 'a', 2), ('a', 'c', 3), ('b', 'c', 5), ('b', 'z', 4), ('a', 'z', 5)]
    + [(target, source, None) for target in 'cxz' for source in 'ab' if target != source],
)
def test_way_round_a_loop_is_taken_upwards_from_the_source_only(target, source, x):
    tree, _, _ = feed(
        ('/tf_static', [link('a', 'b', 1), link('b', 'a', 2), link('a', 'c', 3)]),
        ('/tf_static', [link('b', 'z', 4), link('x', 'y', 5)]),
    )
    if x is None:
        with pytest.raises(TransformError, match='form a loop'):
            tree.lookup(target, source)
    else:
        assert x_of(tree, target, source) == x
    assert x_of(tree, 'x', 'y') == 5


def test_frame_that_goes_to_another_parent_and_back_has_the_older_of_two_in_between():
    moves = [link('odom', 'base', k, T0 + k * SECOND) for k in (0, 1, 2)]
    moves += [link('map', 'base', 9, T0 + 3 * SECOND)]
    moves += [link('odom', 'base', k, T0 + k * SECOND) for k in (4, 5)]
    tree, refused, _ = feed(*(('/tf', [each]) for each in moves))
    assert refused == []
    times = {0.5: 0.5, 2.0: 2, 2.5: 2, 4.0: 4, 4.5: 4.5, 5.0: 5}
    assert {t: x_of(tree, 'odom', 'base', T0 + int(t * SECOND)) for t in times} == times
    assert [x_of(tree, 'map', 'base', T0 + int(t * SECOND)) for t in (3.0, 3.5)] == [9, 9]


def test_static_link_after_a_moving_one_holds_at_all_times_and_moves_again():
    tree, _, _ = feed(
        ('/tf', [link('base', 'camera', 4, T0 + k * SECOND) for k in range(3)]),
        ('/tf_static', [link('base', 'camera', 3, T0)]),
    )
    assert [x_of(tree, 'base', 'camera', T0 + k * SECOND) for k in (-9, 0, 1, 99)] == [3] * 4
    tree, _, _ = feed(
        ('/tf', [link('base', 'camera', k, T0 + k * SECOND) for k in (5, 7)]), tree=tree
    )
    assert x_of(tree, 'base', 'camera', T0 + 6 * SECOND) == 6
    with pytest.raises(TransformError, match='known from'):
        tree.lookup('base', 'camera', T0)


@pytest.mark.parametrize('length', [2, 60, 400])
def test_chains_of_any_length_are_composed(length):
    links = [link(f'f{k}', f'f{k + 1}', 1) for k in range(length)]
    tree, _, _ = feed(('/tf_static', links[::-1]))
    assert x_of(tree, 'f0', f'f{length}') == length
    assert x_of(tree, f'f{length}', 'f0') == -length


def test_link_that_is_fixed_later_in_a_recording_moves_before():
    """Fixed links are read ahead of a recording, so that they come before what was before them."""
    tree = TransformTree()
    fixed = np.eye(4)
    fixed[0, 3] = 9
    tree.set_static('base', 'camera', fixed, T0 + 100 * SECOND)
    for k in range(10_000):
        pose = np.eye(4)
        pose[0, 3] = k
        tree.add_dynamic('base', 'camera', T0 + k * SECOND // 100, pose)
        if k in (0, 1, 5000, 9999):
            assert x_of(tree, 'base', 'camera', T0 + k * SECOND // 100) == k
            assert x_of(tree, 'base', 'camera', T0 + 100 * SECOND) == 9
    assert x_of(tree, 'base', 'camera', T0 + 999 * SECOND) == 9
    assert len(tree._links['camera'].stamps_ns) < 5200
    tree.add_dynamic('base', 'camera', T0 + 101 * SECOND, np.eye(4))  # and moves again
    assert x_of(tree, 'base', 'camera', T0 + 101 * SECOND) == 0
