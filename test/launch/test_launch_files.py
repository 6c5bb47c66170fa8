"""Launch files against the code: executables, topics, arguments and parameters. Without ROS."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from sam_ad_perception.core.parameters import leaves, load
from sam_ad_perception.nodes import topics
from sam_ad_perception.nodes.configuration import (
    DepthProjectionConfig,
    SegmentationConfig,
    SynchronizerNodeConfig,
    VisualizationConfig,
)

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
    """The module-level constants of a launch file; they call nothing."""
    found = {}
    for each in tree_of(name).body:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            value = compile(ast.Expression(each.value), name, 'eval')
            found[each.targets[0].id] = eval(value, {'__builtins__': {}}, found)
    return found


def executables() -> set[str]:
    setup = ast.parse((ROOT / 'setup.py').read_text())
    for each in setup.body:
        if isinstance(each, ast.Assign) and getattr(each.targets[0], 'id', '') == 'EXECUTABLES':
            assert isinstance(each.value, ast.Dict)
            return {ast.literal_eval(key) for key in each.value.keys}
    raise AssertionError('setup.py has no EXECUTABLES')


def node_calls(name: str) -> list[dict[str, object]]:
    """The literal keyword arguments of every `Node(...)` in a launch file."""
    calls = []
    for each in ast.walk(tree_of(name)):
        if isinstance(each, ast.Call) and getattr(each.func, 'id', '') == 'Node':
            literal = {}
            for keyword in each.keywords:
                if isinstance(keyword.value, ast.Constant):
                    literal[keyword.arg] = keyword.value.value
            calls.append(literal)
    return calls


def all_names() -> list[str]:
    return sorted(p.name.removesuffix('.launch.py') for p in (ROOT / 'launch').glob('*.launch.py'))


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_starts_an_installed_executable_under_its_own_name(name):
    told = constants(name)
    assert told['EXECUTABLE'] in executables()
    assert told['NAME'] == name
    module = (ROOT / 'sam_ad_perception' / 'nodes' / f'{told["EXECUTABLE"]}.py').read_text()
    assert f"super().__init__('{name}'" in module


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_remaps_exactly_the_inputs_of_its_node(name):
    told = constants(name)
    assert set(told['INPUTS'].values()) == INPUTS[name]
    images = {k for k, topic in told['INPUTS'].items() if topic.endswith('image_rect')}
    assert set(told['COMPRESSED']) == images


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_file_sets_parameters_that_exist(name):
    known = leaves(CONFIGS[name])
    for parameter in constants(name)['PARAMETERS'].values():
        assert parameter in known
        assert known[parameter].type is str
    for parameter in constants(name).get('SWITCHES', {}).values():
        assert known[parameter].type is bool


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


def function_of(name: str, function: str):
    """One function of a launch file that needs nothing but the constants above it."""
    (found,) = (
        each
        for each in tree_of(name).body
        if isinstance(each, ast.FunctionDef) and each.name == function
    )
    scope = constants(name)
    exec(compile(ast.Module([found], []), name, 'exec'), scope)
    return scope[function]


def test_several_cameras_are_told_the_same_as_one():
    many, one = constants('multi_camera'), constants('segmentation')
    assert many['OWN'] | many['SHARED'] == one['INPUTS']
    for name in ('EXECUTABLE', 'NAME', 'COMPRESSED', 'PARAMETERS', 'FLAGS', 'PROFILE_VARIABLES'):
        assert many[name] == one[name]
    views = tuple(many['VIEWS'].split(','))
    assert len(views) == 6
    assert SegmentationConfig(views=views).views == views


def test_several_cameras_have_topics_of_their_own_and_share_the_rest():
    told = constants('multi_camera')
    wanted = {name: f'{{view}}/{topic}' for name, topic in told['OWN'].items()} | told['SHARED']
    remappings = function_of('multi_camera', 'remappings')
    found = dict(remappings(['front', 'back'], wanted))
    assert len(found) == 2 * (len(told['SHARED']) + 2)  # thermal and depth also compressed
    for view in ('front', 'back'):
        for topic in (topics.POINTS, topics.EVENTS, topics.THERMAL_INFO):
            assert found[topics.in_view(view, topic)] == topic
        compressed = f'{topics.THERMAL_IMAGE}/compressed'
        assert found[topics.in_view(view, compressed)] == compressed
        assert topics.in_view(view, topics.CAMERA_IMAGE) not in found
    nuscenes = wanted | {'camera_image': 'CAM_{view}/image'}
    found = dict(remappings(['front', 'back'], nuscenes))
    assert found['back/camera/image_rect'] == 'CAM_back/image'
    assert found['front/camera/image_rect/compressed'] == 'CAM_front/image/compressed'


def test_the_replay_parameters_load_over_the_defaults():
    config = load(SegmentationConfig, ROOT / 'config' / 'replay.param.yaml')
    assert config.bundler.sync.lidar.policy == 'nearest'
    assert config.qos.reliability == 'reliable'


def test_perception_passes_only_arguments_that_it_declares_and_that_are_taken():
    told = constants('perception')
    assert set(told['NODES']) == set(told['PASSED']) == set(CONFIGS)
    for name, passed in told['PASSED'].items():
        own = constants(name)
        taken = {'namespace', *own['INPUTS'], *own['PARAMETERS'], *own['FLAGS']}
        taken |= set(own.get('SWITCHES', ()))
        assert set(passed) <= set(told['ARGUMENTS'])
        # Nothing that a node can be told stays out of reach of the front door.
        assert set(passed) == taken


def test_perception_leaves_topics_where_the_nodes_have_them():
    told = constants('perception')
    for name in CONFIGS:
        for argument, topic in constants(name)['INPUTS'].items():
            assert told['ARGUMENTS'][argument][0] == topic


def test_each_sensor_can_be_switched():
    switches = constants('segmentation')['SWITCHES']
    sensors = {str(modality) for modality in topics.SENSOR_TOPICS}
    assert switches == {f'use_{name}': f'bundler.sync.{name}.enabled' for name in sensors}


def test_perception_records_topics_that_are_published():
    recorded = set(constants('perception')['RECORDED'])
    published = {topics.MASK, topics.CONFIDENCE, topics.STATUS, topics.LABEL_INFO}
    assert recorded == published | {'/diagnostics'}


def test_replay_passes_only_arguments_of_perception():
    assert set(constants('replay')['PASSED']) <= set(constants('perception')['ARGUMENTS'])


@pytest.mark.parametrize('name', all_names())
def test_every_node_of_ours_is_installed(name):
    for call in node_calls(name):
        if call.get('package') == 'sam_ad_perception' and 'executable' in call:
            assert call['executable'] in executables()
        else:
            assert call.get('package') in ('sam_ad_perception', 'rviz2')


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


@pytest.mark.ros
@pytest.mark.parametrize('name', all_names())
def test_launch_itself_reads_every_file(name, monkeypatch):
    # Not `launch`: the folder of that name beside us is importable as a namespace package.
    pytest.importorskip('launch_ros', reason='launch_ros is not installed (not in the wheels)')
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        get_package_share_directory('sam_ad_perception')
    except PackageNotFoundError:
        pytest.skip('sam_ad_perception is not installed with its data files')
    spec = importlib.util.spec_from_file_location(
        name, ROOT / 'launch' / f'{name}.launch.py', submodule_search_locations=[]
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.generate_launch_description().entities
