"""Launch files through the real launch: every argument, and including files that mean no good."""

import os
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import GroupAction, IncludeLaunchDescription, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetUseSimTime
from rclpy.node import Node as RosNode

from launch import LaunchContext
from sam_ad_perception.nodes.launch.description import arguments_of, full_name
from sam_ad_perception.nodes.launch.model import INPUTS, NODES, SWITCHES

pytestmark = pytest.mark.ros
GENERIC = {
    'model': 'car.urdf.xacro',
    'device': '/dev/video0',
    'record': 'true',
    'points': '/velodyne',
    'views': 'a,b',
    'camera_image': '/elsewhere',
    'rviz': 'perhaps',
    'respawn': 'perhaps',
    'zoo': 'animals',
    'calibration': '/none.yaml',
    'bag': 'x',
    'rate': 'fast',
    'segmentation': 'no',
}
EVERYTHING = {
    'sam_ad_depth_projection': 'true',
    'sam_ad_synchronizer': 'true',
    'sam_ad_record': 'recorded',
}


@pytest.fixture(scope='module')
def share():
    try:
        return Path(get_package_share_directory('sam_ad_perception'))
    except PackageNotFoundError:
        pytest.skip('sam_ad_perception is not installed with its data files')


@pytest.fixture(scope='module', autouse=True)
def ros(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    yield context
    context.try_shutdown()


class Started:
    """One process as launch would start it, read by rclpy as the node would read it."""

    def __init__(self, action, context, ros):
        action._perform_substitutions(context)
        # launch makes these known when it starts the process.
        namespace, _, name = action.node_name.rpartition('/')
        told = {'name': f'__node:={name}', 'ns': f'__ns:={namespace or "/"}'}
        context.extend_locals({'ros_specific_arguments': told})
        words = [perform_substitutions(context, word) for word in action.cmd]
        at = words.index('--ros-args')
        self.arguments, self.executable = words[1:at], Path(words[0]).name
        self.environment = {
            perform_substitutions(context, key): perform_substitutions(context, value)
            for key, value in action.additional_env or ()
        }
        self.node = RosNode(
            self.executable,
            context=ros,
            cli_args=words[at:],
            start_parameter_services=False,
            allow_undeclared_parameters=True,
            automatically_declare_parameters_from_overrides=True,
        )

    def reads(self, topic):
        return self.node.resolve_topic_name(topic)

    def parameter(self, name):
        return self.node.get_parameter(name).value if self.node.has_parameter(name) else None


@pytest.fixture
def launched(share, ros):
    """Runs actions and a launch file in one context; returns the processes by node name."""
    made, contexts = [], []

    def run(name, arguments, *before):
        context = LaunchContext()
        contexts.append(context)
        source = PythonLaunchDescriptionSource(str(share / 'launch' / f'{name}.launch.py'))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        environment = dict(context.environment)
        found = {}

        def visit(entity):
            if isinstance(entity, Node):
                one = Started(entity, context, ros)
                made.append(one)
                found[one.node.get_fully_qualified_name()] = one
                return
            for each in entity.visit(context) or ():
                visit(each)

        # Before and include in one scope, as in one launch file.
        visit(GroupAction([*before, include], scoped=False))
        assert dict(context.environment) == environment
        return found

    yield run
    for each in made:
        each.node.destroy_node()
    for context in contexts:
        # Made by SetUseSimTime; its thread outlives pytest otherwise.
        if hasattr(context.locals, 'ros_adapter'):
            context.locals.ros_adapter.shutdown()


def test_each_argument_reaches_its_node(launched, share, tmp_path, count):
    for name in ('perception', *NODES):
        system = name == 'perception'
        names = arguments_of(tuple(NODES) if system else (name,), system=system, replay=False)
        always = EVERYTHING if system else {}
        for argument in names:
            if argument in INPUTS:
                found = launched(name, {**always, full_name(argument): '/other/topic'})
                source = INPUTS[argument][0].removeprefix('{view}/')
                readers = [each for each in NODES if argument in NODES[each].inputs]
                for reader in readers if system else [name]:
                    assert found[f'/{reader}'].reads(source) == '/other/topic'
            elif argument in SWITCHES:
                found = launched(name, {**always, full_name(argument): 'false'})
                assert found['/segmentation'].parameter(SWITCHES[argument][0]) is False
            elif argument == 'views':
                found = launched(name, {**always, full_name(argument): 'left,right'})
                assert found['/segmentation'].parameter('views') == ['left', 'right']
            count('launch', 'arguments')


def test_a_parameter_file_counts_more_than_ours(launched, share, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**: {ros__parameters: {max_mask_age_s: 7.5}}')
    ours = share / 'config' / 'segmentation.param.yaml'
    found = launched('segmentation', {'sam_ad_segmentation_params_file': f'{ours}:{file}'})
    assert found['/segmentation'].parameter('max_mask_age_s') == 7.5
    assert found['/segmentation'].parameter('model.key') == 'mle_sam_demo'


def test_an_including_launch_file_with_arguments_of_its_own_changes_nothing(launched, count):
    plain = launched('perception', EVERYTHING)
    hostile = launched(
        'perception', EVERYTHING, *(SetLaunchConfiguration(*each) for each in GENERIC.items())
    )
    assert set(hostile) == set(plain)
    for name, one in plain.items():
        other = hostile[name]
        assert (other.arguments, other.environment) == (one.arguments, one.environment)
        for parameter in ('model.key', 'model.device', 'model.zoo', 'views', 'calibration'):
            assert other.parameter(parameter) == one.parameter(parameter)
        for source, _ in INPUTS.values():
            topic = source.removeprefix('{view}/')
            assert other.reads(topic) == one.reads(topic)
        count('launch', 'processes of hostile includers')


@pytest.mark.parametrize(
    'teller', ['argument', 'SetParameter', 'SetUseSimTime', 'parameter file', 'nobody']
)
def test_all_processes_agree_on_simulated_time(launched, tmp_path, teller, count):
    arguments, before = {**EVERYTHING, 'sam_ad_views': 'a,b'}, []
    if teller == 'argument':
        arguments['use_sim_time'] = 'true'
    elif teller == 'SetParameter':
        before = [SetParameter('use_sim_time', True)]
    elif teller == 'SetUseSimTime':
        before = [SetUseSimTime(True)]
    elif teller == 'parameter file':
        file = tmp_path / 'sim.yaml'
        file.write_text('/**: {ros__parameters: {use_sim_time: true}}')
        arguments['sam_ad_visualization_params_file'] = str(file)
    found = launched('perception', arguments, *before)
    assert len(found) == 1 + 3 * 2 + 1
    told = {name: each.parameter('use_sim_time') for name, each in found.items()}
    assert set(told.values()) == {teller != 'nobody'}
    count('launch', 'processes asked for their time', len(found))


def test_views_and_namespaces_reach_every_process(launched):
    arguments = {**EVERYTHING, 'sam_ad_views': 'front,left', 'sam_ad_points': 'top/points'}
    arguments |= {'sam_ad_camera_image': '{view}/image', 'namespace': 'eyes'}
    found = launched('perception', arguments, PushRosNamespace('robot'))
    assert {name for name in found if name.endswith('visualization')} == {
        '/robot/eyes/front/visualization',
        '/robot/eyes/left/visualization',
    }
    left = found['/robot/eyes/left/visualization']
    segmentation = found['/robot/eyes/segmentation']
    assert left.reads('camera/image_rect') == '/robot/eyes/left/image'
    assert segmentation.reads('left/camera/image_rect') == '/robot/eyes/left/image'
    assert left.reads('semantic/image') == segmentation.reads('left/semantic/image')
    assert left.reads('points') == segmentation.reads('left/points') == '/robot/eyes/top/points'
    recorded = found['/robot/eyes/recorder'].arguments[1:]
    assert 'left/semantic/status' in recorded


def test_fast_dds_is_told_per_process_and_not_where_the_user_chose(launched, monkeypatch):
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' not in os.environ
    (one,) = launched('segmentation', {}).values()
    assert {Path(each).name for each in one.environment.values()} == {'fastdds.xml'}
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/mine.xml')
    (one,) = launched('segmentation', {}).values()
    assert one.environment == {}


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({'sam_ad_views': 'front-left'}, 'a view is named by letters'),
        ({'sam_ad_segmentation_params_file': '~/x.yaml'}, 'there is no parameter file'),
        ({'sam_ad_visualization_params_file': '/none/x.yaml'}, 'there is no parameter file'),
        ({'sam_ad_use_lidar': 'no'}, 'expected true or false'),
        ({'use_sim_time': 'yes'}, 'use_sim_time:=yes, expected true or false'),
        ({'sam_ad_camera_image': '{view}/x'}, 'names {view}, but there are no views'),
    ],
)
def test_a_wrong_argument_ends_the_launch_with_one_sentence(launched, arguments, sentence, count):
    with pytest.raises(ValueError, match=sentence):
        launched('perception', arguments)
    count('launch', 'wrong arguments')
