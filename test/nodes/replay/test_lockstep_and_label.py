"""One recording, two ways: the node in lockstep over DDS and `sam_ad label` give one result."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.bags.checking.parameters import write_parameters
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import build
from sam_ad_perception.nodes.launch.model import PerceptionLaunch, parameter_files

pytestmark = pytest.mark.ros

BEGIN_NS, MS, FRAMES = 1_700_000_000_000_000_000, 1_000_000, 30


@pytest.fixture(scope='module')
def kitti_like(tmp_path_factory):
    """30 frames at 10 Hz: image and sweep a few ms apart by stamp, the sweep is recorded last.

    The camera turns past one scene, so that masks can be carried from frame to frame.
    """
    from test.nodes.conftest import Sensors
    from test.pictures import camera_picture

    folder = tmp_path_factory.mktemp('kitti_like') / 'drive'
    random = np.random.default_rng(0)
    with BagWriter(folder) as writer:
        sensors = Sensors(writer.types)
        height, width = sensors.size
        scene = camera_picture(random, (height, width + FRAMES))
        writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
        writer.add_topic('/camera/camera_info', 'sensor_msgs/msg/CameraInfo')
        writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
        writer.add_topic('/points', 'sensor_msgs/msg/PointCloud2')
        writer.write('/tf_static', sensors.places(), BEGIN_NS)
        for i in range(FRAMES):
            stamp = BEGIN_NS + i * 100 * MS
            sweep = stamp + int(random.integers(-8, 9)) * MS
            writer.write('/camera/camera_info', sensors.geometry('camera', stamp), stamp + 14 * MS)
            seen = np.ascontiguousarray(scene[:, i : i + width])
            image = from_ros.array_to_image(writer.types, seen, 'rgb8', stamp, 'camera_optical')
            writer.write('/camera/image_rect', image, stamp + 15 * MS)
            writer.write('/points', sensors.cloud(sweep), stamp + 16 * MS)
    return folder


def read_images(folder, name):
    """The bytes of the images of a topic, by their stamps."""
    with BagReader(folder) as reader:
        messages = [reader.deserialize(m) for m in reader.messages([name])]
    return {from_ros.stamp_of(m): bytes(m.data) for m in messages}


def test_masks_of_the_node_and_of_label_are_equal_bit_for_bit(
    start, graph, repository, tiny_model, kitti_like, tmp_path
):
    """Both take the parameters that `sam_ad check` writes, the node by way of the launch files.

    Masks are steadied, so that each depends on the frames before it.
    """
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    given = dict(each.split(':=') for each in tiny_model[1::2])
    model = {**given, 'model.threads': int(given['model.threads'])}
    plain = make_segmenter(build(SegmentationConfig, model))
    segmenter = make_segmenter(build(SegmentationConfig, {**model, 'stability.filter': True}))
    out = tmp_path / 'labelled'
    checked = tmp_path / 'params.yaml'
    checked.write_text(write_parameters(check_recording(kitti_like)))
    config = load(SegmentationConfig, checked, 'segmentation')
    options = LabelOptions(config.bundler, copy_inputs=False, plausibility=config.plausibility)
    report = label_bag(kitti_like, out, segmenter, segmenter.labels, options=options)
    assert report.frames == FRAMES
    assert report.used == {'camera+lidar': FRAMES}
    names = '/semantic/image', '/depth_registered/image_rect'
    told = {name: read_images(out, name) for name in names}
    label_bag(kitti_like, tmp_path / 'plain', plain, plain.labels, options=options)
    assert read_images(tmp_path / 'plain', names[0]) != told[names[0]]

    heard = {name: {} for name in told}

    def listen(name):
        def take(message):
            heard[name][from_ros.stamp_of(message)] = bytes(message.data)

        kind = message_type('sensor_msgs/msg/Image')
        graph.node.create_subscription(kind, name.lstrip('/'), take, 100)

    for name in heard:
        listen(name)
    statuses = []
    kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
    graph.node.create_subscription(kind, 'semantic/status', statuses.append, 100)
    files = ('segmentation.param.yaml', 'replay.param.yaml')
    told_files = ':'.join([*(str(repository / 'config' / name) for name in files), str(checked)])
    files = parameter_files('sam_ad_segmentation_params_file', told_files)
    (launched,) = PerceptionLaunch({}, {'segmentation': files}).nodes('segmentation')
    params = [word for file in launched.files for word in ('--params-file', file)]
    remaps = [word for pair in launched.remappings for word in ('-r', ':='.join(pair))]
    steadied = ['-p', 'stability.filter:=true']
    start(launched.executable, ros=[*params, *remaps, *tiny_model, *steadied])
    process = start('replay_node', str(kitti_like), '--lockstep', '--timeout=120')
    graph.until(lambda: not process.running, 'the replay to end', 180.0)
    graph.spin(0.5)
    assert process.process.returncode == 0, process.output
    read = [from_ros.status_from_message(message) for message in statuses]
    assert [(s.used, s.dropped) for s in read] == [(('camera', 'lidar'), None)] * FRAMES
    for name in told:
        assert set(heard[name]) == set(told[name]), name
        different = [t for t in told[name] if told[name][t] != heard[name][t]]
        assert not different, (name, different)
