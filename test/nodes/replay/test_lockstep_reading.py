"""Raw images under the name of rectified ones: the node in lockstep goes over, as label reads."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.settings.parameters import build
from test.pictures import lens_picture

pytestmark = pytest.mark.ros

BEGIN_NS, PERIOD_NS, FRAMES = 1_700_000_000_000_000_000, 100_000_000, 14
SIZE, K = (240, 360), np.array([[290.0, 0, 180], [0, 290, 119], [0, 0, 1]])
CAMERA = CameraModel(360, 240, K, np.array([-0.32, 0.1, 0, 0, 0]), frame_id='camera_optical')


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    from test.nodes.conftest import Sensors

    folder = tmp_path_factory.mktemp('reading') / 'drive'
    with BagWriter(folder) as writer:
        sensors = Sensors(writer.types)
        writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
        writer.add_topic('/camera/camera_info', 'sensor_msgs/msg/CameraInfo')
        writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
        writer.add_topic('/points', 'sensor_msgs/msg/PointCloud2')
        writer.write('/tf_static', sensors.places(), BEGIN_NS)
        for i in range(FRAMES):
            stamp = BEGIN_NS + i * PERIOD_NS
            picture = lens_picture(sensors.rng, SIZE, K, CAMERA.D)
            image = from_ros.array_to_image(sensors.types, picture, 'rgb8', stamp, CAMERA.frame_id)
            info = from_ros.camera_to_message(sensors.types, CAMERA, stamp)
            writer.write('/camera/camera_info', info, stamp)
            writer.write('/camera/image_rect', image, stamp)
            writer.write('/points', sensors.cloud(stamp - 3_000_000), stamp)
    return folder


def test_the_node_reads_raw_images_as_label_does(
    start, graph, repository, tiny_model, drive, tmp_path
):
    from sam_ad_perception.bags.topics import choose_topics
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    given = dict(each.split(':=') for each in tiny_model[1::2])
    model = {**given, 'model.threads': int(given['model.threads'])}
    segmenter = make_segmenter(build(SegmentationConfig, model))
    with BagReader(drive) as reader:
        mapping = choose_topics(reader)
    options = LabelOptions(copy_inputs=False)
    label_bag(
        drive, tmp_path / 'out', segmenter, segmenter.labels, options=options, mapping=mapping
    )
    wanted = {}
    with BagReader(tmp_path / 'out') as reader:
        for message in reader.messages(['/depth_registered/image_raw']):
            image = reader.deserialize(message)
            wanted[from_ros.stamp_of(image)] = bytes(image.data)
    assert len(wanted) == FRAMES
    heard, statuses, infos = {}, [], []
    depth = message_type('sensor_msgs/msg/Image')

    def take(message):
        heard[from_ros.stamp_of(message)] = bytes(message.data)

    graph.node.create_subscription(depth, 'depth_registered/image_rect', take, 100)
    for kind, topic, known in (
        ('sensor_msgs/msg/CameraInfo', 'semantic/camera_info', infos),
        ('diagnostic_msgs/msg/DiagnosticArray', 'semantic/status', statuses),
        ('sensor_msgs/msg/Image', 'semantic/image', []),
    ):
        graph.node.create_subscription(message_type(kind), topic, known.append, 100)
    names = ('segmentation.param.yaml', 'replay.param.yaml')
    files = [a for n in names for a in ('--params-file', str(repository / 'config' / n))]
    node = start('segmentation_node', ros=[*files, *tiny_model])
    process = start('replay_node', str(drive), '--lockstep', '--timeout=120')
    graph.until(lambda: not process.running, 'the replay to end', 180.0)
    graph.spin(0.5)
    assert process.process.returncode == 0, process.output
    # on a slow machine the clock creeps on, and the lidar may lead in between
    read = [from_ros.status_from_message(message) for message in statuses]
    read = [s for s in read if s.stamp_ns in wanted and s.dropped is None]
    assert len(read) == FRAMES
    turned = next(k for k, s in enumerate(read) if 'camera' in s.notes)
    assert 2 <= turned < FRAMES - 3
    assert 'lidar' in read[turned].missing  # its sweep was projected by the other reading
    for status in read[turned + 1 :]:
        assert 'its images are not rectified' in status.notes['camera']
        assert 'lidar' not in status.missing
    # the router waits a while before it counts on the lidar again
    both = [s.stamp_ns for s in read[turned + 1 :] if s.used == ('camera', 'lidar')]
    assert len(both) >= 3
    assert [t for t in both if heard[t] != wanted[t]] == []
    is_raw = {from_ros.stamp_of(info): bool(np.any(info.d)) for info in infos}
    assert [is_raw[s.stamp_ns] for s in read] == [k > turned for k in range(FRAMES)]
    assert 'from here on its images are raw, told from the images' in node.output
