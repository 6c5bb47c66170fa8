"""Selections and labels of points of the segmentation node over DDS: what they show, and when."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from sam_ad_perception.core.consumers.autoware import autoware_ids
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.selections.config import SelectionConfig, resolve
from sam_ad_perception.core.selections.messages import PARTS
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders
from sam_ad_perception.nodes.segmentation.selection_outputs import SelectionOutputs

pytestmark = pytest.mark.ros

SPACE = LABEL_SPACES['cityscapes']
SENSORS = ('camera', 'lidar')
OPTIONS = [
    *('-p', 'qos.reliability:=reliable', '-p', 'diagnostics_period_s:=0.2'),
    *('-p', 'bundler.sync.depth.enabled:=true'),  # off by default
    *('-p', 'selections.some.classes:=[road]', '-p', 'selections.others.classes:=[sky]'),
]


@pytest.fixture(scope='module')
def node(start, tiny_model, vehicle):
    process = start('segmentation_node', ros=[*tiny_model, *OPTIONS])
    for part, kind in PARTS.items():
        vehicle.listen(f'semantic/some/{part}', kind)
    vehicle.place_sensors()
    vehicle.wait_for_perception()
    vehicle.drive_until(lambda: vehicle.heard['semantic/some/points'], 'a selected cloud', SENSORS)
    return process


def set_parameter(vehicle, name, value):
    """Set a parameter; return what was answered."""
    client = vehicle.graph.node.create_client(SetParameters, '/segmentation/set_parameters')
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    vehicle.graph.until(client.service_is_ready, 'the service')
    answer = vehicle.graph.result(client.call_async(request), 'the answer').results[0]
    vehicle.graph.node.destroy_client(client)
    return answer


def drive_whole(vehicle):
    """Publish rounds until every output of one frame is there; return its stamp."""
    topics = ['semantic/image', 'depth_registered/image_rect']
    topics += [f'semantic/some/{part}' for part in PARTS]
    for topic in topics:
        vehicle.heard[topic].clear()
    found = []

    def done():
        found[:] = sorted(set.intersection(*(set(vehicle.stamps(topic)) for topic in topics)))
        return bool(found)

    vehicle.drive_until(done, 'all parts of a selection', SENSORS)
    return found[-1]


def most_common(mask):
    """The class that covers most of a mask."""
    return SPACE.names[np.bincount(mask.reshape(-1), minlength=19)[:19].argmax()]


def test_parts_have_the_header_of_the_mask_and_follow_a_change(node, vehicle):
    stamp_ns = drive_whole(vehicle)
    mask, _ = from_ros.image_to_array(vehicle.at('semantic/image', stamp_ns))
    common = most_common(mask)
    for classes, keep in (([common], False), ([common, 'train'], True)):
        assert set_parameter(vehicle, 'selections.some.classes', classes).successful
        assert set_parameter(vehicle, 'selections.some.keep', keep).successful
        drive_whole(vehicle)  # what was on its way was made before the change
        stamp_ns = drive_whole(vehicle)
        image = vehicle.at('semantic/image', stamp_ns)
        ids = [SPACE.id_of(name) for name in classes]
        member = np.isin(from_ros.image_to_array(image)[0], ids)
        selected = vehicle.at('semantic/some/mask', stamp_ns)
        assert selected.header == image.header
        pixels, encoding = from_ros.image_to_array(selected)
        assert encoding == 'mono8'
        np.testing.assert_array_equal(pixels, np.where(member, 255, 0))
        info = vehicle.at('semantic/some/camera_info', stamp_ns)
        assert info.header == image.header
        np.testing.assert_array_equal(np.reshape(info.k, (3, 3)), vehicle.camera('camera').K)
        whole, _ = from_ros.image_to_array(vehicle.at('depth_registered/image_rect', stamp_ns))
        depth = vehicle.at('semantic/some/depth', stamp_ns)
        assert depth.header == image.header
        expected = np.where(member == keep, whole, np.nan)
        np.testing.assert_array_equal(from_ros.image_to_array(depth)[0], expected)
        cloud = vehicle.at('semantic/some/points', stamp_ns)
        assert cloud.header.frame_id == 'lidar'
        assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'intensity']
        assert 0 <= cloud.width <= 400
        assert len(cloud.data) == cloud.width * 16
        if keep:
            assert cloud.width < 400  # points beside the view are of no class


def test_labels_of_points_are_those_of_the_mask_where_the_points_fall(node, vehicle):
    kinds = {
        'semantic/points/mask': 'sensor_msgs/msg/Image',
        'semantic/points/confidence': 'sensor_msgs/msg/Image',
        'semantic/points_registered': 'sensor_msgs/msg/PointCloud2',
        'points': 'sensor_msgs/msg/PointCloud2',
    }
    for topic, kind in kinds.items():
        vehicle.listen(topic, kind)
    topics = [*kinds, 'semantic/image', 'semantic/confidence', 'depth_registered/image_rect']
    found = []

    def done():
        found[:] = sorted(set.intersection(*(set(vehicle.stamps(topic)) for topic in topics)))
        return bool(found)

    vehicle.drive_until(done, 'labels of points', SENSORS)
    at = {topic: vehicle.at(topic, found[-1]) for topic in topics}
    sweep, camera = at['points'], vehicle.camera('camera')
    xyz = np.frombuffer(bytes(sweep.data), '<f4').reshape(-1, 4)[:, :3].astype(float)
    # the rig of the tests: x forward to z forward, the lidar 0.15 m before the camera
    seen = np.column_stack([-xyz[:, 1], -xyz[:, 2], xyz[:, 0] + 0.15])
    u, v = np.floor(seen[:, :2] / seen[:, 2:] * 64 + [32, 24] + 0.5).astype(int).T
    height, width = camera.size
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    for name, unseen in (('mask', 255), ('confidence', 0)):
        image = at[f'semantic/points/{name}']
        assert image.header == sweep.header
        assert (image.height, image.width) == (sweep.height, sweep.width) == (1, 400)
        values, encoding = from_ros.image_to_array(image)
        assert encoding == 'mono8'
        whole = at['semantic/image' if name == 'mask' else 'semantic/confidence']
        pixels = from_ros.image_to_array(whole)[0]
        told = values[0] != unseen
        assert told.sum() > 50
        assert not (told & ~inside).any()
        np.testing.assert_array_equal(values[0][told], pixels[v[told], u[told]])
    depth, _ = from_ros.image_to_array(at['depth_registered/image_rect'])
    cloud = at['semantic/points_registered']
    assert cloud.header == at['semantic/image'].header
    assert (cloud.height, cloud.width) == camera.size
    z = np.frombuffer(bytes(cloud.data), '<f4').reshape(height, width, 4)[..., 2]
    np.testing.assert_allclose(z, depth, rtol=1e-6)


def test_forms_of_single_consumers_are_of_the_same_mask(node, vehicle):
    vehicle.listen('semantic/autoware/mask', 'sensor_msgs/msg/Image')
    vehicle.listen('semantic/points_channels', 'sensor_msgs/msg/PointCloud2')
    topics = ['semantic/autoware/mask', 'semantic/points_channels', 'semantic/image']
    found = []

    def done():
        found[:] = sorted(set.intersection(*(set(vehicle.stamps(topic)) for topic in topics)))
        return bool(found)

    vehicle.drive_until(done, 'forms of consumers', SENSORS)
    runs, cloud, image = (vehicle.at(topic, found[-1]) for topic in topics)
    assert runs.header == image.header
    data = np.frombuffer(bytes(runs.data), [('label', 'u1'), ('length', '<i4')])
    decoded = np.repeat(data['label'], data['length']).reshape(image.height, image.width)
    np.testing.assert_array_equal(decoded, autoware_ids(SPACE)[from_ros.image_to_array(image)[0]])
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'some', 'others']
    assert cloud.header.frame_id == 'lidar'
    assert 50 < cloud.width < 400


def test_a_misspelt_class_is_refused_with_the_nearest(node, vehicle):
    answer = set_parameter(vehicle, 'selections.some.classes', ['persn'])
    assert not answer.successful
    assert "did you mean 'person'" in answer.reason
    answer = set_parameter(vehicle, 'selections.some.dilate_px', 500)
    assert not answer.successful


def test_a_node_with_a_misspelt_class_does_not_configure(start, tiny_model, vehicle):
    options = ['-r', '__node:=wrong', '-r', '__ns:=/wrong']
    process = start(
        'segmentation_node',
        ros=[*tiny_model, *options, '-p', 'selections.some.classes:=[Traffic Sing]'],
    )
    vehicle.graph.until(
        lambda: "did you mean 'traffic sign'" in process.output, 'the refusal', timeout=90.0
    )
    assert 'cannot configure: selections.some.classes' in process.output


def test_nothing_is_made_for_nobody(graph):
    """Without a listener not even the frame is looked at."""
    from sam_ad_perception.nodes.ros.rclpy_helpers import OUTPUT_QOS, message_type

    made = []

    def advertise(kind, topic):
        made.append(
            graph.node.create_publisher(message_type(kind), f'/nobody/{topic}', OUTPUT_QOS)
        )
        return made[-1]

    outputs = SelectionOutputs(['some'], advertise)
    outputs.selections = resolve({'some': SelectionConfig(('car',))}, SPACE)
    assert (outputs.wanted, outputs.depth_wanted) == (False, False)
    outputs.publish(None, None, ResultHeaders(0, 0, ''))
    listener = graph.node.create_subscription(
        message_type(PARTS['mask']), '/nobody/semantic/some/mask', print, 1
    )
    graph.until(lambda: outputs.wanted, 'the listener')
    assert not outputs.depth_wanted
    with pytest.raises(AttributeError):  # now the frame is looked at, and there is none
        outputs.publish(None, None, ResultHeaders(0, 0, ''))
    graph.node.destroy_subscription(listener)
    for each in made:
        graph.node.destroy_publisher(each)
