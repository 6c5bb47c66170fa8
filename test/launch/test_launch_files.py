"""Launches against the code: executables, topics, arguments and parameters. Mostly without ROS."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from sam_ad_perception.core.consumers.label_files import legend
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import leaves
from sam_ad_perception.nodes.launch import description as launch
from sam_ad_perception.nodes.launch import model as launch_model
from sam_ad_perception.nodes.launch.costmap import (
    costmap_processes,
    costmap_topics,
    write_costmap_config,
)
from sam_ad_perception.nodes.launch.model import NODES, PerceptionLaunch
from sam_ad_perception.nodes.launch.rviz import write_rviz_config
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import (
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
        *topics.sensor_topics().values(),
        *topics.info_topics().values(),
        topics.ODOMETRY,
    },
    'depth_projection': {topics.CAMERA_INFO, topics.POINTS},
    'synchronizer': {
        topics.CAMERA_IMAGE,
        topics.CAMERA_INFO,
        Modality.THERMAL.topic,
        Modality.THERMAL.info_topic,
        topics.POINTS,
    },
    'visualization': {topics.CAMERA_IMAGE, topics.CAMERA_INFO, topics.POINTS},
}


FILES = {name: (str(ROOT / 'config' / f'{name}.param.yaml'),) for name in CONFIGS}


def plan(base='', simulated=None, files=None, **given):
    """A launch with the package's own parameter files."""
    return PerceptionLaunch(given, FILES | (files or {}), base, simulated)


def executables() -> set[str]:
    setup = ast.parse((ROOT / 'setup.py').read_text())
    for each in setup.body:
        if isinstance(each, ast.Assign) and getattr(each.targets[0], 'id', '') == 'EXECUTABLES':
            assert isinstance(each.value, ast.Dict)
            return {ast.literal_eval(key) for key in each.value.keys}
    raise AssertionError('setup.py has no EXECUTABLES')


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_is_an_installed_executable_under_its_own_name(name):
    (process,) = plan().nodes(name)
    assert (process.name, process.executable) == (name, f'{name}_node')
    assert process.executable in executables()
    module = (ROOT / 'sam_ad_perception' / 'nodes' / f'{name}_node.py').read_text()
    assert f"super().__init__('{name}'" in module
    assert process.remappings == ()


def test_every_node_is_described():
    assert set(NODES) == set(CONFIGS)
    assert set(launch.SYSTEM) == {*CONFIGS, 'rviz', 'record', 'costmap'}


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_is_remapped_at_exactly_its_inputs(name):
    inputs = NODES[name].inputs
    (process,) = plan(**{each: f'elsewhere/{each}' for each in inputs}).nodes(name)
    found = dict(process.remappings)
    images = {topic for topic in INPUTS[name] if topic.endswith('image_rect')}
    assert set(found) == INPUTS[name] | {f'{topic}/compressed' for topic in images}
    for topic in images:
        assert found[f'{topic}/compressed'] == f'{found[topic]}/compressed'


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_a_node_is_told_parameters_that_exist(name):
    known = leaves(CONFIGS[name])
    for argument in NODES[name].parameters:
        parameter = known[launch_model.PARAMETERS[argument][0]]
        assert parameter.type is (bool if argument in launch_model.SWITCHES else str)
        assert isinstance(parameter.default, tuple) == (argument == 'views')


def test_arguments_left_empty_leave_the_parameter_file_alone():
    given = dict.fromkeys(launch_model.PARAMETERS, '')
    (process,) = plan(**given).nodes('segmentation')
    assert process.parameters == {}
    told = {'model': 'ad_sam', 'use_event': 'False', 'use_depth': 'true', 'autostart': 'false'}
    (process,) = plan(**given | told, simulated=True).nodes('segmentation')
    assert process.parameters == {
        'model.key': 'ad_sam',
        'bundler.sync.event.enabled': False,
        'bundler.sync.depth.enabled': True,
        'autostart': False,
        'use_sim_time': True,
    }
    with pytest.raises(ValueError, match='sam_ad_use_event:=no, expected true or false'):
        plan(**given | {'use_event': 'no'}).nodes('segmentation')


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


SIX = 'front,front_left,front_right,back,back_left,back_right'


def test_several_cameras_have_topics_of_their_own_and_share_the_rest():
    (process,) = plan(views=SIX).nodes('segmentation')
    six = SIX.split(',')
    assert process.parameters == {'views': six}
    assert SegmentationConfig(views=tuple(six)).views == tuple(six)
    found = dict(process.remappings)
    assert len(found) == 6 * (8 + 2)  # thermal and depth also compressed
    for view in six:
        for topic in (
            topics.POINTS,
            Modality.EVENT.topic,
            Modality.THERMAL.info_topic,
            topics.ODOMETRY,
        ):
            assert found[topics.in_view(view, topic)] == topic
        compressed = f'{Modality.THERMAL.topic}/compressed'
        assert found[topics.in_view(view, compressed)] == compressed
        assert topics.in_view(view, topics.CAMERA_IMAGE) not in found
    (process,) = plan(camera_image='CAM_{view}/image', views='front, back').nodes('segmentation')
    found = dict(process.remappings)
    assert found['back/camera/image_rect'] == 'CAM_back/image'
    assert found['front/camera/image_rect/compressed'] == 'CAM_front/image/compressed'


@pytest.mark.parametrize('name', sorted(set(CONFIGS) - {'segmentation'}))
@pytest.mark.parametrize(('base', 'namespace'), [('', ''), ('/robot1', ''), ('/robot1', 'eyes')])
def test_each_view_has_the_other_nodes_in_its_namespace(name, base, namespace):
    given = {'views': 'front,left', 'namespace': namespace, 'points': 'top/points'}
    front, left = plan(base=base, camera_info='CAM_{view}/info', **given).nodes(name)
    outer = '/'.join(filter(None, [base, namespace])) or ''
    assert (front.namespace, left.namespace) == tuple(
        f'{namespace}/{view}' if namespace else view for view in ('front', 'left')
    )
    assert dict(left.remappings)[topics.CAMERA_INFO] == f'{outer}/CAM_left/info'
    assert dict(left.remappings)[topics.POINTS] == f'{outer}/top/points'
    assert topics.CAMERA_IMAGE not in dict(left.remappings)  # its own, by its place
    if Modality.THERMAL.topic in INPUTS[name]:
        assert (
            dict(front.remappings)[Modality.THERMAL.topic] == f'{outer}/{Modality.THERMAL.topic}'
        )


def test_views_of_a_parameter_file_shape_every_process(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**/segmentation: {ros__parameters: {views: [front, rear]}}')
    files = {'segmentation': (*FILES['segmentation'], str(file))}
    assert plan(files=files).views == ('front', 'rear')
    assert plan(files=files, views='left').views == ('left',)
    assert [each.namespace for each in plan(files=files).nodes('visualization')] == [
        'front',
        'rear',
    ]
    recorded = plan(files=files).recorder('out').arguments
    assert recorded[0] == 'out'
    assert {'front/semantic/image', 'rear/semantic/label_info', '/diagnostics'} < set(recorded)


@pytest.mark.parametrize(
    ('views', 'sentence'),
    [
        ('front-left', "sam_ad_views:=front-left: a view is named .* got 'front-left'"),
        ('2nd', "got '2nd'"),
        ('front,', "got ''"),
        ('a/b', "got 'a/b'"),
        ('links,vorn,größe', "got 'größe'"),
        ('left,left', 'views must differ'),
        ('left:=/a,left:=/b', 'views must differ'),
        ('left:=', 'expected a topic behind left:='),
    ],
)
def test_a_view_that_ros_does_not_allow_is_refused_before_anything_starts(views, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(views=views).nodes('segmentation')


CARS = 'front:=/car/front/camera/image_raw, rear:=/oak_rear/rgb/image_rect/compressed'


def test_cameras_with_topics_of_no_pattern_are_named_one_by_one():
    made = plan(views=f'{CARS},left', camera_image='CAM_{view}/image')
    assert made.views == ('front', 'rear', 'left')
    (process,) = made.nodes('segmentation')
    assert process.parameters == {'views': ['front', 'rear', 'left']}
    found = dict(process.remappings)
    assert found['front/camera/image_rect'] == '/car/front/camera/image_raw'
    assert found['front/camera/camera_info'] == '/car/front/camera/camera_info'
    assert found['rear/camera/image_rect'] == '/oak_rear/rgb/image_rect'
    assert found['rear/camera/image_rect/compressed'] == '/oak_rear/rgb/image_rect/compressed'
    assert found['left/camera/image_rect'] == 'CAM_left/image'
    assert found['rear/points'] == 'points'
    front, rear, _ = made.nodes('visualization')
    assert dict(front.remappings)['camera/image_rect'] == '/car/front/camera/image_raw'
    assert dict(rear.remappings)['camera/camera_info'] == '/oak_rear/rgb/camera_info'


def test_a_replay_of_the_launch_is_told_its_views(tmp_path):
    made = plan(views=CARS, bag='drive')
    told = ('--view', 'front:=/car/front/camera/image_raw', '--view', CARS.split(', ')[1])
    assert made.replay('drive', '1.0').arguments[-4:] == told
    (process,) = made.nodes('segmentation')  # which reads what the replay publishes
    assert 'front/camera/image_rect' not in dict(process.remappings)
    assert '--view' not in plan(bag='drive').replay('drive', '1.0').arguments
    file = tmp_path / 'mine.yaml'
    file.write_text('/**: {ros__parameters: {views: [front, rear]}}')
    files = {'segmentation': (*FILES['segmentation'], str(file))}
    replayed = plan(files=files, bag='drive').replay('drive', '1.0')
    assert replayed.arguments[-4:] == ('--view', 'front', '--view', 'rear')


def test_a_topic_with_a_view_needs_views():
    with pytest.raises(ValueError, match=r'sam_ad_points:=\{view\}/points names \{view\}, but'):
        plan(points='{view}/points').nodes('segmentation')


def test_every_process_holds_the_same_of_simulated_time(tmp_path):
    for simulated in (None, True, False):
        told = {} if simulated is None else {'use_sim_time': simulated}
        made = plan(simulated=simulated, views='a,b')
        processes = [each for name in NODES for each in made.nodes(name)]
        processes += [
            made.recorder('out'),
            made.rviz(tmp_path),
            *costmap_processes(made, tmp_path),
        ]
        for each in processes:
            assert {k: v for k, v in each.parameters.items() if k == 'use_sim_time'} == told
    # The replay is the clock.
    assert plan(simulated=True).replay('bag', '1.0').parameters == {'use_sim_time': False}


def test_simulated_time_of_one_parameter_file_is_found(tmp_path):
    assert launch_model.simulated_by(FILES) is None
    file = tmp_path / 'sim.yaml'
    file.write_text('/robot/visualization: {ros__parameters: {use_sim_time: true}}')
    files = FILES | {'visualization': (str(file),)}
    assert launch_model.simulated_by(files) is True
    assert launch_model.simulated_by(FILES | {'segmentation': (str(file),)}) is None


@pytest.mark.parametrize('name', ['missing.yaml', '~/params.yaml', ''])
def test_a_parameter_file_that_is_not_there_ends_the_launch(name):
    good = FILES['segmentation'][0]
    assert launch_model.parameter_files('x_params_file', f'{good}:{good}') == (good, good)
    with pytest.raises(ValueError, match='x_params_file: there is no parameter file') as caught:
        launch_model.parameter_files('x_params_file', f'{good}:{name}')
    assert repr(name) in str(caught.value)
    assert ('does not expand ~' in str(caught.value)) == name.startswith('~')


def test_nodes_are_started_again_unless_told_otherwise():
    assert plan().nodes('segmentation')[0].respawn
    assert not plan(respawn='false').nodes('segmentation')[0].respawn
    assert not plan().recorder('out').respawn  # its bag exists by then
    with pytest.raises(ValueError, match='sam_ad_respawn:=perhaps'):
        plan(respawn='perhaps').nodes('segmentation')


def test_visualization_inside_is_a_parameter_of_segmentation_and_no_process():
    assert plan(visualization='inside').nodes('segmentation')[0].parameters == {
        'visualization.enabled': True
    }
    assert plan(visualization='true').nodes('segmentation')[0].parameters == {}
    given = {'visualization': 'inside', 'segmentation': 'true'}
    assert not launch_model.starts('visualization', given)
    assert launch_model.starts('visualization', given | {'visualization': 'true'})
    with pytest.raises(ValueError, match='insid, expected true, false or inside'):
        launch_model.starts('visualization', given | {'visualization': 'insid'})
    with pytest.raises(ValueError, match='inside needs sam_ad_segmentation:=true'):
        launch_model.starts('visualization', given | {'segmentation': 'false'})
    with pytest.raises(ValueError, match='sam_ad_segmentation:=inside, expected true or false'):
        launch_model.starts('segmentation', {'segmentation': 'inside'})


def test_the_replay_parameters_load_over_the_defaults():
    config = load(SegmentationConfig, ROOT / 'config' / 'replay.param.yaml')
    assert config.bundler == SegmentationConfig().bundler, 'replay and label have one default'
    assert config.qos.reliability == 'reliable'


def test_each_sensor_can_be_switched():
    sensors = {str(modality) for modality in topics.sensor_topics()}
    found = {name: parameter for name, (parameter, _) in launch_model.SWITCHES.items()}
    del found['autostart']
    assert found == {f'use_{name}': f'bundler.sync.{name}.enabled' for name in sensors}


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
    told = layout['configById']['Markdown!legend']['markdown']
    assert told == legend(LABEL_SPACES['cityscapes'])


def test_the_aggregator_groups_every_entry_of_diagnostics():
    content = yaml.safe_load((ROOT / 'config' / 'diagnostic_aggregator.yaml').read_text())
    groups = content['analyzers']['ros__parameters']
    words = {name: each['contains'] for name, each in groups.items() if name != 'path'}

    def groups_of(entry):
        return {name for name, found in words.items() if any(word in entry for word in found)}

    for node in ('segmentation', 'robot1/segmentation'):
        for view in ('', 'front/'):
            assert groups_of(f'{node}: {view}output') == {'masks'}
            for sensor in topics.sensor_topics():
                assert groups_of(f'{node}: {view}{sensor}') == {'inputs'}
        assert groups_of(f'{node}: network') == {'masks'}
        assert groups_of(f'{node}: tf') == {'inputs'}
    for node in ('visualization', 'robot1/front/synchronizer', 'depth_projection'):
        assert 'others' in groups_of(f'{node}: mask')


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


def test_the_costmap_reads_what_perception_publishes_of_every_view(tmp_path):
    source, target = ROOT / 'config' / 'nav2_semantic_layer.yaml', tmp_path / 'costmap.yaml'
    published = {topics.POINTS_MASK, topics.POINTS_CONFIDENCE, topics.LABEL_INFO, topics.POINTS}
    (read,) = costmap_topics(plan()).values()
    assert set(read.values()) == {f'/{each}' for each in published}
    write_costmap_config(source, target, plan())
    made, kept = (yaml.safe_load(each.read_text()) for each in (target, source))
    layer = kept['/**']['ros__parameters']['semantic_layer']
    assert {layer['sweep'][name] for name in read} == published
    layer['sweep'] |= read
    assert made == kept

    launched = plan(base='/robot', namespace='top', views='front,left', points='/ouster/points')
    write_costmap_config(source, target, launched)
    layer = yaml.safe_load(target.read_text())['/**']['ros__parameters']['semantic_layer']
    assert layer['observation_sources'] == 'sweep_front sweep_left'
    left = layer['sweep_left']
    assert left['segmentation_topic'] == '/robot/top/left/semantic/points/mask'
    assert left['labels_topic'] == '/robot/top/left/semantic/label_info'
    assert left['pointcloud_topic'] == '/ouster/points'
    assert left['moving'] == layer['sweep_front']['moving']
    costmap, manager = costmap_processes(launched, target)
    assert (costmap.namespace, costmap.name) == ('top/costmap', 'costmap')
    assert manager.parameters['node_names'] == ['costmap/costmap']
    assert manager.namespace == 'top'


def test_rviz_shows_the_topics_of_every_view(tmp_path):
    source, target = ROOT / 'config' / 'perception.rviz', tmp_path / 'made.rviz'
    write_rviz_config(source, target, ('',))
    assert yaml.safe_load(target.read_text()) == yaml.safe_load(source.read_text())
    write_rviz_config(source, target, ('front', 'left'))
    displays = yaml.safe_load(target.read_text())['Visualization Manager']['Displays']
    shown = [each['Topic']['Value'] for each in displays if 'Topic' in each]
    assert sorted(shown) == sorted(
        f'{view}/{topic}'
        for view in ('front', 'left')
        for topic in (
            topics.LABELLED_POINTS,
            topics.OVERLAY,
            topics.COLOR,
            topics.DEPTH_RECT,
            topics.CAMERA_IMAGE,
        )
    )
    assert len({each['Name'] for each in displays}) == len(displays)
    remapped = dict(plan(views='front,left', camera_image='cam_{view}').rviz(target).remappings)
    assert remapped['left/camera/image_rect'] == 'cam_left'


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
    kind = NODES[name]
    own = {f'sam_ad_{each}' for each in (*kind.inputs, *kind.parameters, 'respawn')}
    params = f'sam_ad_{name}_params_file'
    found = declared(name)
    assert set(found) == {*own, params, 'namespace', 'use_sim_time'}
    read = {found[f'sam_ad_{each}'].removeprefix('{view}/') for each in kind.inputs}
    assert read == INPUTS[name]
    assert (
        Path(found[params]).read_bytes() == (ROOT / 'config' / f'{name}.param.yaml').read_bytes()
    )


@pytest.mark.ros
def test_the_front_door_takes_whatever_a_node_can_be_told(declared):
    everything = set().union(*(declared(name) for name in CONFIGS))
    system = {f'sam_ad_{each}' for each in (*CONFIGS, 'rviz', 'record', 'costmap')}
    assert set(declared('perception')) == everything | system
    assert set(declared('replay')) == everything | system | {'sam_ad_bag', 'sam_ad_rate'}
    assert {p.name.removesuffix('.launch.py') for p in (ROOT / 'launch').iterdir()} == {
        *CONFIGS,
        'perception',
        'replay',
    }
