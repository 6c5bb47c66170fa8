"""What `sam_ad check` writes of two cameras: `label`, launch and replay make one thing of it."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.bags.camera_views import choose_views
from sam_ad_perception.bags.checking.parameters import write_parameters
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands import cli
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import build
from sam_ad_perception.nodes.launch.model import PerceptionLaunch, parameter_files
from test.pictures import camera_picture

pytestmark = pytest.mark.ros

BEGIN_NS, MS, FRAMES = 1_700_000_000_000_000_000, 1_000_000, 10
SIZE, BEND = (48, 64), [-0.3, 0.1, 0.0, 0.0, 0.0]
VIEWS = ('front', 'rear')
IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'


def topic_of(view, name):
    return f'/car/{view}/camera/{name}'


@pytest.fixture(scope='module')
def two_cameras(tmp_path_factory):
    """Two cameras with bent lenses and names of a driver's namespaces, and a lidar."""
    from test.nodes.conftest import Sensors

    folder = tmp_path_factory.mktemp('two_cameras') / 'drive'
    rng = np.random.default_rng(3)
    K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    with BagWriter(folder) as writer:
        types, sensors = writer.types, Sensors(writer.types)
        writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
        writer.add_topic('/car/top/points', 'sensor_msgs/msg/PointCloud2')
        links = [('base_link', 'lidar', 0, np.eye(4))]
        for view in VIEWS:
            writer.add_topic(topic_of(view, 'camera_info'), INFO)
            writer.add_topic(topic_of(view, 'image_raw'), IMAGE)
            T = np.eye(4)
            T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
            T[1, 3] = 0.2 * VIEWS.index(view)
            links.append(('base_link', f'{view}_optical', 0, T))
        writer.write('/tf_static', from_ros.transforms_to_message(types, links), BEGIN_NS)
        for i in range(FRAMES):
            stamp = BEGIN_NS + i * 100 * MS
            for view in VIEWS:
                at = stamp + 3 * MS * VIEWS.index(view)
                camera = CameraModel(64, 48, K, np.array(BEND), frame_id=f'{view}_optical')
                picture = camera_picture(rng, SIZE)
                info = from_ros.camera_to_message(types, camera, at)
                image = from_ros.array_to_image(types, picture, 'rgb8', at, f'{view}_optical')
                writer.write(topic_of(view, 'camera_info'), info, at + 10 * MS)
                writer.write(topic_of(view, 'image_raw'), image, at + 11 * MS)
            writer.write('/car/top/points', sensors.cloud(stamp + 4 * MS), stamp + 18 * MS)
    return folder


@pytest.fixture(scope='module')
def checked(two_cameras, tmp_path_factory):
    path = tmp_path_factory.mktemp('checked') / 'params.yaml'
    path.write_text(write_parameters(check_recording(two_cameras)))
    return path


@pytest.fixture(scope='module')
def labelled(two_cameras, checked, tiny_model, tmp_path_factory):
    """Masks of `label` with these parameters: view -> stamp -> bytes."""
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    given = dict(each.split(':=') for each in tiny_model[1::2])
    model = {**given, 'model.threads': int(given['model.threads'])}
    segmenter = make_segmenter(build(SegmentationConfig, model))
    config = load(SegmentationConfig, checked, 'segmentation')
    assert config.views == VIEWS
    assert config.camera.rectified == 'false'
    with BagReader(two_cameras) as reader:
        views = choose_views(reader, wanted=dict.fromkeys(config.views, '')).mappings
    out = tmp_path_factory.mktemp('labelled') / 'bag'
    options = LabelOptions(config.bundler, copy_inputs=False, plausibility=config.plausibility)
    label_bag(two_cameras, out, segmenter, segmenter.labels, views=views, options=options)
    with BagReader(out) as reader:
        return {
            view: {
                from_ros.stamp_of(m): bytes(m.data)
                for m in map(reader.deserialize, reader.messages([f'/{view}/semantic/image']))
            }
            for view in VIEWS
        }


class Masks:
    """Hears the masks of both views, and what they were made of."""

    def __init__(self, graph):
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        self.heard = {view: {} for view in VIEWS}
        self.used = {view: [] for view in VIEWS}
        status = message_type('diagnostic_msgs/msg/DiagnosticArray')
        for view in VIEWS:
            graph.node.create_subscription(
                message_type(IMAGE), f'{view}/semantic/image', self._taker(view), 100
            )
            graph.node.create_subscription(
                status, f'{view}/semantic/status', self._noter(view), 100
            )

    def _taker(self, view):
        def take(message):
            self.heard[view][from_ros.stamp_of(message)] = bytes(message.data)

        return take

    def _noter(self, view):
        def note(message):
            told = from_ros.status_from_message(message)
            self.used[view].append((told.used, told.dropped))

        return note


def arguments_of(process):
    """How launch starts a process: parameter files, parameters, remaps."""
    told = [word for file in process.files for word in ('--params-file', file)]
    for name, value in process.parameters.items():
        text = f'[{",".join(value)}]' if isinstance(value, list) else str(value).lower()
        told += ['-p', f'{name}:={text}']
    told += ['-r', f'__ns:=/{process.namespace}'] if process.namespace else []
    return told + [word for pair in process.remappings for word in ('-r', ':='.join(pair))]


def launch_of(repository, checked, name, replayed, **given):
    """The launch with the package's parameters, those of a replay, and those of the check."""
    config = repository / 'config'
    told = [config / f'{name}.param.yaml', config / 'replay.param.yaml', checked]
    files = parameter_files('sam_ad_params_file', ':'.join(map(str, told)))
    segmentation = parameter_files('sam_ad_params_file', str(checked))
    bag = {'bag': str(replayed)} if replayed else {}
    return PerceptionLaunch({**bag, **given}, {'segmentation': segmentation, name: files})


def test_a_launch_with_replay_makes_the_masks_of_label_in_both_views(
    start, graph, repository, tiny_model, two_cameras, checked, labelled
):
    assert all(len(masks) == FRAMES for masks in labelled.values())
    masks = Masks(graph)
    launch = launch_of(repository, checked, 'segmentation', two_cameras)
    (process,) = launch.nodes('segmentation')
    node = start(process.executable, ros=[*arguments_of(process), *tiny_model])
    played = launch.replay(str(two_cameras), '1.0')
    assert played.arguments[-4:] == ('--view', 'front', '--view', 'rear')
    replay = start(
        played.executable, *played.arguments, '--timeout=120', ros=['--params-file', str(checked)]
    )
    graph.until(lambda: not replay.running, 'the replay to end', 240.0)
    graph.spin(0.5)
    assert replay.process.returncode == 0, replay.output
    assert node.running
    assert f'{2 * FRAMES} reference frames, {2 * FRAMES} masks, 0 drops' in replay.output
    for view in VIEWS:
        assert masks.used[view] == [(('camera', 'lidar'), None)] * FRAMES
        assert set(masks.heard[view]) == set(labelled[view])
        different = [t for t in labelled[view] if labelled[view][t] != masks.heard[view][t]]
        assert not different, (view, different)
    assert labelled['front'] != labelled['rear']
    node.end()


def test_cameras_of_a_driver_s_namespace_are_views_live_as_in_label(
    start, graph, repository, tiny_model, two_cameras, checked, labelled
):
    """Every topic keeps its name: the launch tells the node where the cameras are."""
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

    masks = Masks(graph)
    given = ','.join(f'{view}:={topic_of(view, "image_raw")}' for view in VIEWS)
    launch = launch_of(
        repository, checked, 'segmentation', '', views=given, points='/car/top/points'
    )
    (process,) = launch.nodes('segmentation')
    real = ['-p', 'use_sim_time:=false', '-p', 'bundler.sync.deadline_s:=0.5']
    start(process.executable, ros=[*arguments_of(process), *tiny_model, *real])
    from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS

    with BagReader(two_cameras) as reader:
        types = {t.name: t.type for t in reader.topics}
        recorded = [(m.topic, m.received_ns, m.data) for m in reader.messages()]
    publishers = {
        name: graph.node.create_publisher(
            message_type(kind), name, LATCHED_QOS if name == '/tf_static' else 50
        )
        for name, kind in types.items()
    }
    graph.until(
        lambda: all(each.get_subscription_count() for each in publishers.values()),
        'the node to listen to every topic',
        90.0,
    )
    before = recorded[0][1]
    for topic, received_ns, data in recorded:
        graph.spin(1e-9 * (received_ns - before))
        before = received_ns
        publishers[topic].publish(data)
    graph.until(lambda: all(masks.heard.values()), 'a mask of each view', 60.0)
    for view in VIEWS:
        stamps = set(masks.heard[view])
        assert stamps <= set(labelled[view])
        assert any('camera' in used for used, _ in masks.used[view])


def test_every_node_of_the_launch_and_the_commands_take_the_file(
    start, graph, repository, two_cameras, checked, tmp_path, capfd
):
    """Those that have no views say so in one line."""
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

    started = {}
    for name in ('visualization', 'depth_projection', 'synchronizer'):
        process = launch_of(repository, checked, name, '').nodes(name)[0]
        started[name] = start(process.executable, ros=arguments_of(process))
    for name, node in started.items():
        told = 'left alone, no parameters of this node'
        graph.until(
            lambda node=node, told=told: told in node.output, f'{name} to tell of views', 90.0
        )
        (line,) = [each for each in node.output.splitlines() if told in each]
        assert "'views'" in line
    # Only a node that accepted all of it tells of itself.
    heard: set[str] = set()

    def hear(message):
        heard.update(status.name.partition(':')[0] for status in message.status)

    kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
    listener = graph.node.create_subscription(kind, '/diagnostics', hear, 10)
    wanted = {f'front/{name}' for name in started}
    graph.until(
        lambda: wanted <= heard or not all(node.running for node in started.values()),
        f'diagnostics of {sorted(wanted)}',
        90.0,
    )
    graph.node.destroy_subscription(listener)
    for node in started.values():
        assert node.running, node.output
    assert cli.main(['check', str(two_cameras), '--params', str(checked)]) == 0
    assert 'camera rear' in capfd.readouterr().out
    one = ['--topic', f'camera:={topic_of("rear", "image_raw")}']
    cli.main(['check', str(two_cameras), '--params', str(checked), *one])
    told = capfd.readouterr().err
    assert 'the parameter views (front, rear) is left aside: --topic camera names' in told
    cli.main(['offsets', str(two_cameras)])
    told = capfd.readouterr().err
    assert f'measured against {topic_of("front", "image_raw")}, none of the views' in told


def test_a_replay_without_views_says_which_cameras_are_none(start, graph, two_cameras):
    process = start('replay_node', str(two_cameras), '--wait', '0.5')
    graph.until(lambda: not process.running, 'the replay to give up', 60.0)
    told = f'of 2 cameras {topic_of("front", "image_raw")} alone is a view: --view front --view'
    assert told in process.output
