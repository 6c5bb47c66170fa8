"""A configuration as ROS parameters: declared with text and range, refused with the reason."""

from dataclasses import dataclass, field

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from sam_ad_perception.core.settings.parameters import ParameterError, parameter
from sam_ad_perception.nodes.ros.parameters import NodeParameters

pytestmark = pytest.mark.ros


@dataclass(frozen=True)
class Overlay:
    alpha: float = parameter(0.5, 'Opacity of the mask.', ge=0.0, le=1.0)
    style: str = parameter('flat', 'How to draw.', choices=('flat', 'outline'))


@dataclass(frozen=True)
class Config:
    size: int = parameter(3, 'Pixels.', ge=1, unit='px')
    names: tuple[str, ...] = parameter(('a', 'b'), 'Names.')
    overlay: Overlay = field(default_factory=Overlay)

    def __post_init__(self):
        if self.size == 13:
            raise ValueError('size must not be 13, it brings bad luck')


@pytest.fixture
def make_node(graph):
    nodes = []

    def make(overrides=(), **kwargs):
        node = Node(
            'configured',
            context=graph.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides],
        )
        nodes.append(node)
        return node, NodeParameters(node, Config, **kwargs)

    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_and_overrides_become_the_configuration(make_node):
    assert make_node()[1].config == Config()
    _, parameters = make_node([('overlay.alpha', 0.25), ('names', ['x']), ('use_sim_time', True)])
    assert parameters.config == Config(names=('x',), overlay=Overlay(alpha=0.25))


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('overlay.alhpa', 0.5, "'overlay.alhpa'.*overlay.alpha"),
        ('overlay.alpha', 1, r"'overlay.alpha' must be.*float.*write 1\.0"),
        ('overlay.alpha', 1.5, "'overlay.alpha' must be at most 1"),
        ('overlay.style', 'loud', "'overlay.style' must be one of"),
        ('size', 13, 'bad luck'),
        ('names', [1], "'names'"),
    ],
)
def test_a_bad_value_at_start_is_refused_by_name(make_node, name, value, message):
    with pytest.raises(ParameterError, match=message):
        make_node([(name, value)])


def test_parameters_of_the_whole_vehicle_are_left_alone(make_node):
    _, parameters = make_node([('size', 4), ('robot_name', 'rover'), ('wheel.base', 2.9)])
    assert parameters.config == Config(size=4)


def test_everything_may_be_set_while_the_node_says_so(make_node):
    open_now = [True]
    node, parameters = make_node(all_changeable=lambda: open_now[0])
    assert 'unconfigured' in node.describe_parameter('size').additional_constraints
    assert node.set_parameters([Parameter('size', value=5)])[0].successful
    assert parameters.config.size == 5
    open_now[0] = False
    (refused,) = node.set_parameters([Parameter('size', value=6)])
    assert not refused.successful
    assert 'set it while the node is unconfigured' in refused.reason
    assert node.set_parameters([Parameter('size', value=5)])[0].successful  # what it is already
    assert parameters.config.size == 5


def test_qos_overrides_count_for_each_topic(graph):
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
    from std_msgs.msg import String

    from sam_ad_perception.nodes.ros.node import PerceptionNode

    def make(**overrides):
        return PerceptionNode(
            'overridden',
            namespace='ns',
            context=graph.context,
            parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()],
        )

    start = 'qos_overrides./ns/points.subscription.'
    given = {f'{start}reliability': 'reliable', f'{start}depth': 42}
    given |= {'qos_overrides./ns/mask.publisher.durability': 'transient_local'}
    shared = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    node = make(**given)
    try:
        for _ in range(2):  # a node that is activated again subscribes again
            points = node.create_subscription(String, 'points', print, shared)
            assert points.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            assert points.qos_profile.depth == 42
            node.destroy_subscription(points)
        other = node.create_subscription(String, 'events', print, shared)
        assert other.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        (info,) = [
            each.qos_profile
            for _ in [node.create_publisher(String, 'mask', 3)]
            for each in node.get_publishers_info_by_topic('/ns/mask')
        ]
        assert info.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert (shared.depth, shared.reliability) == (5, ReliabilityPolicy.BEST_EFFORT)
    finally:
        node.destroy_node()
    node = make(**{f'{start}relaibility': 'reliable'})
    try:
        with pytest.raises(ValueError, match="no QoS policy 'relaibility', expected one of"):
            node.create_subscription(String, 'points', print, shared)
    finally:
        node.destroy_node()


def test_description_range_and_constraints_are_declared(make_node):
    node, _ = make_node(changeable=['overlay.alpha'])
    alpha = node.describe_parameter('overlay.alpha')
    assert alpha.description == 'Opacity of the mask.'
    assert (alpha.floating_point_range[0].from_value, alpha.floating_point_range[0].to_value) == (
        0.0,
        1.0,
    )
    assert alpha.additional_constraints == ''
    size = node.describe_parameter('size')
    assert size.description == 'Pixels. [px]'
    assert size.integer_range[0].from_value == 1
    assert 'start-up' in size.additional_constraints
    assert 'flat, outline' in node.describe_parameter('overlay.style').additional_constraints


def test_changes_at_run_time_are_adopted_or_refused_with_the_reason(make_node):
    seen = []

    def on_change(config):
        if config.overlay.alpha == 0.75:
            raise ValueError('alpha 0.75 is taken')
        seen.append(config.overlay.alpha)

    node, parameters = make_node(
        changeable=['overlay.alpha', 'overlay.style'], on_change=on_change
    )

    def set_to(name, value):
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert set_to('overlay.alpha', 0.25).successful
    assert parameters.config.overlay.alpha == 0.25
    for name, value, reason in [
        ('overlay.alpha', 2.0, 'out of range'),
        ('overlay.alpha', 'x', ''),
        ('overlay.alpha', 0.75, 'is taken'),
        ('overlay.style', 'loud', 'one of'),
        ('size', 4, 'read at start-up; changeable at any time are'),
    ]:
        result = set_to(name, value)
        assert not result.successful, (name, value)
        assert reason in result.reason
    assert parameters.config == Config(overlay=Overlay(alpha=0.25))
    assert seen == [0.25]
    assert node.get_parameter('overlay.alpha').value == 0.25


def test_services_tell_and_set_over_dds(graph, make_node):
    node, parameters = make_node(changeable=['overlay.alpha'])
    executor = SingleThreadedExecutor(context=graph.context)
    executor.add_node(node)
    describe = graph.node.create_client(DescribeParameters, '/configured/describe_parameters')
    change = graph.node.create_client(SetParameters, '/configured/set_parameters')
    try:
        graph.until(describe.service_is_ready, 'the describe service')
        graph.until(change.service_is_ready, 'the set service')

        def ask(client, request):
            future = client.call_async(request)
            graph.until(lambda: executor.spin_once(0.01) or future.done(), 'the answer')
            return future.result()

        told = ask(describe, DescribeParameters.Request(names=['overlay.alpha']))
        assert told.descriptors[0].description == 'Opacity of the mask.'
        for value, successful in ((0.125, True), (7.0, False)):
            request = SetParameters.Request(
                parameters=[Parameter('overlay.alpha', value=value).to_parameter_msg()]
            )
            result = ask(change, request).results[0]
            assert result.successful is successful
            assert bool(result.reason) is not successful
        assert parameters.config.overlay.alpha == 0.125
    finally:
        graph.node.destroy_client(describe)
        graph.node.destroy_client(change)
        executor.shutdown()


@dataclass(frozen=True)
class Asking:
    rectified: str = parameter('auto', 'Whether.', choices=('auto', 'true', 'false'))


def test_a_bool_is_taken_where_true_and_false_are_among_the_choices(graph):
    for given, held in ((True, 'true'), (False, 'false'), ('auto', 'auto'), ('true', 'true')):
        node = Node(
            'asking',
            context=graph.context,
            parameter_overrides=[Parameter('rectified', value=given)],
        )
        parameters = NodeParameters(node, Asking, changeable=('rectified',))
        assert parameters.config.rectified == held
        assert node.get_parameter('rectified').value == held
        (result,) = node.set_parameters([Parameter('rectified', value=False)])
        assert result.successful, result.reason
        assert parameters.config.rectified == 'false'
        (result,) = node.set_parameters([Parameter('rectified', value=2)])
        assert not result.successful
        assert 'must be one of auto, true, false, got 2 (int)' in result.reason
        fixed = NodeParameters(
            fresh := Node('fixed', context=graph.context, parameter_overrides=[]), Asking
        )
        (result,) = fresh.set_parameters([Parameter('rectified', value=True)])
        assert 'read at start-up' in result.reason
        assert fixed.config.rectified == 'auto'
        node.destroy_node()
        fresh.destroy_node()
