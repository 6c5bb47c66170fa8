"""Visualization inside the segmentation node makes what the visualization node beside it makes."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import InsideConfig, SegmentationConfig
from sam_ad_perception.nodes.segmentation.picture_outputs import PictureOutputs
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders
from sam_ad_perception.nodes.segmentation.view import advertised_by

pytestmark = pytest.mark.ros

SENSORS = ('camera', 'lidar')
PICTURES = ('semantic/color', 'semantic/overlay')
INSIDE = [
    *('-p', 'qos.reliability:=reliable', '-p', 'diagnostics_period_s:=0.2'),
    *('-p', 'bundler.sync.depth.enabled:=true'),  # off by default
    *('-p', 'visualization.enabled:=true', '-p', 'visualization.alpha:=0.3'),
]
BESIDE = [
    *('-p', 'qos.reliability:=reliable', '-p', 'overlay.alpha:=0.3'),
    *(w for t in (*PICTURES, 'semantic/points') for w in ('-r', f'{t}:=beside/{t}')),
]


def test_pictures_are_those_of_the_node_beside_to_the_byte(start, tiny_model, vehicle):
    start('segmentation_node', ros=[*tiny_model, *INSIDE])
    start('visualization_node', ros=BESIDE)
    for topic in PICTURES:
        vehicle.listen(topic, 'sensor_msgs/msg/Image')
        vehicle.listen(f'beside/{topic}', 'sensor_msgs/msg/Image')
    vehicle.listen('semantic/points', 'sensor_msgs/msg/PointCloud2')
    vehicle.place_sensors()
    vehicle.wait_for_perception()
    every = [*PICTURES, *(f'beside/{topic}' for topic in PICTURES), 'semantic/image']
    common = set()

    def done():
        common.update(set.intersection(*(set(vehicle.stamps(topic)) for topic in every)))
        return common and vehicle.heard['semantic/points']

    vehicle.drive_until(done, 'all pictures of one frame', SENSORS)
    for stamp_ns in common:
        for topic in PICTURES:
            inside = vehicle.at(topic, stamp_ns)
            beside = vehicle.at(f'beside/{topic}', stamp_ns)
            assert inside.header == beside.header
            assert inside.data == beside.data
    cloud = vehicle.heard['semantic/points'][-1]
    assert [field.name for field in cloud.fields][-2:] == ['rgb', 'label']


class Topic:
    """A publisher with so many listeners."""

    def __init__(self, listeners):
        self.listeners, self.sent = listeners, []

    def get_subscription_count(self):
        return self.listeners

    def publish(self, message):
        self.sent.append(message)


class Nothing:
    """A bundle, or a sweep, without anything."""

    def __init__(self):
        self.frame, self.frames = None, {}


@pytest.mark.parametrize('listeners', [0, 1])
def test_nothing_is_made_that_nobody_listens_to(listeners):
    made = {}

    def advertise(kind, topic):
        return made.setdefault(topic, Topic(listeners))

    outputs = PictureOutputs(InsideConfig(enabled=True), advertise)
    assert set(made) == {topics.COLOR, topics.OVERLAY, topics.LABELLED_POINTS}
    assert outputs.wanted == outputs.depth_wanted == bool(listeners)
    space = LABEL_SPACES['cityscapes']
    outputs.set_labels(space)
    mask = np.full((4, 6), space.id_of('road'), np.uint8)
    result = SimpleNamespace(mask=mask)
    outputs.publish(result, Nothing(), Nothing(), ResultHeaders(1, 0, 'camera'))
    assert len(made[topics.COLOR].sent) == listeners
    for image in made[topics.COLOR].sent:
        pixels, encoding = from_ros.image_to_array(image)
        assert encoding == 'rgb8'
        assert (pixels == (128, 64, 128)).all()  # road, as Cityscapes publishes its colours
    # Without a camera image and without a sweep there is neither an overlay nor points.
    assert not made[topics.OVERLAY].sent
    assert not made[topics.LABELLED_POINTS].sent


def test_without_it_no_topic_is_there_and_a_change_counts_at_the_next_configure():
    outputs = PictureOutputs(InsideConfig(), lambda *_: pytest.fail('advertised'))
    assert not outputs.wanted
    assert not outputs.depth_wanted
    inside = SegmentationConfig(visualization=InsideConfig(enabled=True))
    assert advertised_by(inside) != advertised_by(SegmentationConfig())
