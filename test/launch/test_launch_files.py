"""Launch files against the code: executables, topics, arguments and parameters. Without ROS."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from sam_ad_perception.core.parameters import leaves, load
from sam_ad_perception.nodes import launch_description, topics
from sam_ad_perception.nodes.configuration import (
    DepthProjectionConfig,
    SegmentationConfig,
    SynchronizerNodeConfig,
    VisualizationConfig,
)
from sam_ad_perception.nodes.launch_description import overrides, remappings

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'segmentation': SegmentationConfig,
    'depth_projection': DepthProjectionConfig,
    'visualization': VisualizationConfig,
    'synchronizer': SynchronizerNodeConfig,
}
INPUTS = {
    'segmentation': {
        *topics.SENSOR_TOPICS.values(),
        *topics.INFO_TOPICS.values(),
        topics.ODOMETRY,
    },
    'depth_projection': {topics.CAMERA_INFO, topics.POINTS},
    'synchronizer': {
        topics.CAMERA_IMAGE,
        topics.CAMERA_INFO,
        topics.THERMAL_IMAGE,
        topics.THERMAL_INFO,
        topics.POINTS,
    },
    'visualization': {topics.CAMERA_IMAGE, topics.CAMERA_INFO, topics.POINTS},
}


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / 'launch' / f'{name}.launch.py').read_text())


def constants(name: str) -> dict[str, object]:
    """The module-level constants of a launch file, and the tables that it may name."""
    found = {'INPUTS': launch_description.INPUTS, 'SWITCHES': launch_description.SWITCHES}
    for each in tree_of(name).body:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            value = compile(ast.Expression(each.value), name, 'eval')
            found[each.targets[0].id] = eval(value, {'__builtins__': {}}, found)
    return found


def calls(name: str, function: str) -> list[ast.Call]:
    """Where a launch file calls a function."""
    return [
        each
        for each in ast.walk(tree_of(name))
        if isinstance(each, ast.Call) and getattr(each.func, 'id', '') == function
    ]


def described(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What a node's launch file hands to `describe_node`: the node, its inputs, its parameters."""
    (call,) = calls(name, 'describe_node')
    scope = {'__builtins__': {}, 'tuple': tuple}
    node, inputs, *parameters = (
        eval(compile(ast.Expression(each), name, 'eval'), scope, constants(name))
        for each in call.args
    )
    return node, inputs, parameters[0] if parameters else ()


def executables() -> set[str]:
    setup = ast.parse((ROOT / 'setup.py').read_text())
    for each in setup.body:
        if isinstance(each, ast.Assign) and getattr(each.targets[0], 'id', '') == 'EXECUTABLES':
            assert isinstance(each.value, ast.Dict)
            return {ast.literal_eval(key) for key in each.value.keys}
    raise AssertionError('setup.py has no EXECUTABLES')


def all_names() -> list[str]:
    return sorted(p.name.removesuffix('.launch.py') for p in (ROOT / 'launch').glob('*.launch.py'))


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_starts_an_installed_executable_under_its_own_name(name):
    assert described(name)[0] == name
    assert f'{name}_node' in executables()
    module = (ROOT / 'sam_ad_perception' / 'nodes' / f'{name}_node.py').read_text()
    assert f"super().__init__('{name}'" in module


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_remaps_exactly_the_inputs_of_its_node(name):
    _, inputs, _ = described(name)
    assert {launch_description.INPUTS[each][0] for each in inputs} == INPUTS[name]
    targets = {each: f'elsewhere/{each}' for each in inputs}
    found = dict(remappings(targets))
    images = {topic for topic in INPUTS[name] if topic.endswith('image_rect')}
    assert set(found) == INPUTS[name] | {f'{topic}/compressed' for topic in images}
    for topic in images:
        assert found[f'{topic}/compressed'] == f'{found[topic]}/compressed'


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_sets_parameters_that_exist(name):
    known = leaves(CONFIGS[name])
    for argument in described(name)[2]:
        parameter = known[launch_description.PARAMETERS[argument][0]]
        assert parameter.type is (bool if argument in launch_description.SWITCHES else str)
        assert isinstance(parameter.default, tuple) == (argument == 'views')


def test_arguments_left_empty_leave_the_parameter_file_alone():
    given = dict.fromkeys(launch_description.PARAMETERS, '')
    assert overrides({**given, 'use_sim_time': 'false'}) == {}
    told = {'model': 'ad_sam', 'use_event': 'False', 'use_depth': 'true', 'use_sim_time': 'true'}
    assert overrides({**given, **told}) == {
        'model.key': 'ad_sam',
        'bundler.sync.event.enabled': False,
        'bundler.sync.depth.enabled': True,
        'use_sim_time': True,
    }
    with pytest.raises(ValueError, match='use_event:=no, expected true or false'):
        overrides({**given, 'use_sim_time': 'false', 'use_event': 'no'})


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_the_shipped_parameters_are_the_defaults_and_all_of_them(name):
    path = ROOT / 'config' / f'{name}.param.yaml'
    assert load(CONFIGS[name], path) == CONFIGS[name]()
    flat = set()

    def walk(prefix, tree):
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(f'{prefix}{key}.', value)
            else:
                flat.add(f'{prefix}{key}')

    walk('', yaml.safe_load(path.read_text())['/**']['ros__parameters'])
    assert flat == set(leaves(CONFIGS[name]))


def test_several_cameras_have_topics_of_their_own_and_share_the_rest():
    shared = {name: topic for name, (topic, _) in launch_description.INPUTS.items()}
    told = constants('multi_camera')['DEFAULTS']
    six = told['views'].split(',')
    assert len(six) == 6
    assert overrides({**told, 'use_sim_time': 'false'}) == {'views': six}
    assert SegmentationConfig(views=tuple(six)).views == tuple(six)
    found = dict(remappings(shared | told))
    assert len(found) == 6 * (8 + 2)  # thermal and depth also compressed
    for view in six:
        for topic in (topics.POINTS, topics.EVENTS, topics.THERMAL_INFO, topics.ODOMETRY):
            assert found[topics.in_view(view, topic)] == topic
        compressed = f'{topics.THERMAL_IMAGE}/compressed'
        assert found[topics.in_view(view, compressed)] == compressed
        assert topics.in_view(view, topics.CAMERA_IMAGE) not in found
    nuscenes = {'camera_image': 'CAM_{view}/image', 'views': 'front, back'}
    found = dict(remappings(shared | told | nuscenes))
    assert found['back/camera/image_rect'] == 'CAM_back/image'
    assert found['front/camera/image_rect/compressed'] == 'CAM_front/image/compressed'


def test_the_replay_parameters_load_over_the_defaults():
    config = load(SegmentationConfig, ROOT / 'config' / 'replay.param.yaml')
    assert config.bundler.sync.lidar.policy == 'nearest'
    assert config.qos.reliability == 'reliable'


def test_perception_includes_every_node():
    assert set(constants('perception')['NODES']) == set(CONFIGS)


def test_each_sensor_can_be_switched():
    sensors = {str(modality) for modality in topics.SENSOR_TOPICS}
    found = {name: parameter for name, (parameter, _) in launch_description.SWITCHES.items()}
    assert found == {f'use_{name}': f'bundler.sync.{name}.enabled' for name in sensors}


def test_perception_records_topics_that_are_published():
    recorded = set(constants('perception')['RECORDED'])
    published = {topics.MASK, topics.CONFIDENCE, topics.STATUS, topics.LABEL_INFO}
    assert recorded == published | {'/diagnostics'}


@pytest.mark.parametrize('name', all_names())
def test_every_node_and_every_file_that_is_named_exists(name):
    for call in calls(name, 'Node'):
        named = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        if named['package'] == 'sam_ad_perception':
            assert named['executable'] in executables()
        else:
            assert named['package'] == 'rviz2'
    for call in calls(name, 'include'):
        included = call.args[0]
        assert not isinstance(included, ast.Constant) or included.value in all_names()


def test_foxglove_shows_topics_that_exist_in_panels_that_are_configured():
    layout = json.loads((ROOT / 'config' / 'foxglove_layout.json').read_text())
    named = set()

    def walk(value):
        if isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, str) and value.startswith('/'):
            named.add(value[1:].split('.')[0])

    def panels(tree):
        return [tree] if isinstance(tree, str) else panels(tree['first']) + panels(tree['second'])

    walk(layout['configById'])
    walk({'topics': [t for p in layout['configById'].values() for t in p.get('topics', {})]})
    constants_of = vars(topics)
    known = {
        constants_of[name] for name in constants_of if name.isupper() and 'TOPICS' not in name
    }
    assert named <= known | {'diagnostics'}
    for shown in (topics.OVERLAY, topics.CAMERA_IMAGE, topics.DEPTH_RECT, topics.LABELLED_POINTS):
        assert shown in named
    assert sorted(panels(layout['layout'])) == sorted(layout['configById'])


def test_rviz_shows_topics_that_are_published():
    displays = yaml.safe_load((ROOT / 'config' / 'perception.rviz').read_text())
    shown = {
        each['Topic']['Value']
        for each in displays['Visualization Manager']['Displays']
        if 'Topic' in each
    }
    assert shown == {
        topics.LABELLED_POINTS,
        topics.OVERLAY,
        topics.COLOR,
        topics.DEPTH_RECT,
        topics.CAMERA_IMAGE,
    }


@pytest.fixture
def declared():
    """What launch itself finds that a launch file can be told: argument -> default."""
    # Not `launch`: the folder of that name beside us is importable as a namespace package.
    pytest.importorskip('launch_ros', reason='launch_ros is not installed (not in the wheels)')
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    try:
        share = get_package_share_directory('sam_ad_perception')
    except PackageNotFoundError:
        pytest.skip('sam_ad_perception is not installed with its data files')

    def find(name):
        file = f'{share}/launch/{name}.launch.py'
        arguments = get_launch_description_from_python_launch_file(file).get_launch_arguments()
        assert all(len(each.description) > 10 for each in arguments)
        return {each.name: ''.join(part.text for part in each.default_value) for each in arguments}

    return find


@pytest.mark.ros
@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_launch_reads_the_arguments_of_a_node_file(name, declared):
    _, inputs, parameters = described(name)
    params = f'{name}_params_file'
    others = ('namespace', params, 'use_sim_time')
    found = declared(name)
    assert set(found) == {*inputs, *parameters, *others}
    assert {found[each] for each in inputs} == INPUTS[name]
    assert (
        Path(found[params]).read_bytes() == (ROOT / 'config' / f'{name}.param.yaml').read_bytes()
    )


@pytest.mark.ros
def test_the_front_door_takes_whatever_a_node_can_be_told(declared):
    everything = set().union(*(declared(name) for name in CONFIGS))
    assert set(declared('perception')) == everything | {*CONFIGS, 'rviz', 'record'}
    assert {'bag', 'rate', 'record', 'model', 'namespace'} <= set(declared('replay'))
    assert declared('multi_camera').items() >= constants('multi_camera')['DEFAULTS'].items()
