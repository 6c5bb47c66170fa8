"""One view of the segmentation node without its network: stamps, and what is dropped as stale."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import numpy as np

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame
from sam_ad_perception.core.synchronization.bundler import DroppedFrame

pytestmark = pytest.mark.ros

VIEW = CameraModel(4, 4, np.array([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]]), frame_id='camera')
OFFSET_S = 0.02
STAMP_NS = 1_700_000_000_000_000_000


class Pipeline:
    """A configured and started view, and the requests that it hands over."""

    def __init__(self, node):
        from sam_ad_perception.nodes.inputs.clouds import CloudInput
        from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
        from sam_ad_perception.nodes.ros.parameters import NodeParameters
        from sam_ad_perception.nodes.ros.rclpy_helpers import TransformInput, sensor_qos
        from sam_ad_perception.nodes.segmentation.view import CameraPipeline

        parameters = NodeParameters(node, SegmentationConfig)
        self.requests = []
        self.drops = []
        self.view = CameraPipeline(node, '', parameters, self.requests.append)
        self.view.outputs.publish_status = lambda status, *_: self.drops.append(status)
        self.view.configure(
            Calibration(),
            TransformInput(node, TransformTree()),
            CloudInput(node, sensor_qos(parameters.config.qos)),
        )
        self.view.start()

    def deliver(self, *results):
        self.view._on_results(results)


@pytest.fixture
def pipeline(ros_domain):
    import rclpy
    from rclpy.parameter import Parameter

    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = [Parameter('bundler.sync.camera.offset_s', value=OFFSET_S)]
    node = rclpy.create_node('pipeline', context=context, parameter_overrides=overrides)
    made = Pipeline(node)
    # Somebody wants the masks: else bundles are not handed over.
    from sam_ad_perception.nodes.ros.rclpy_helpers import OUTPUT_QOS, message_type

    listener = node.create_subscription(
        message_type('sensor_msgs/msg/Image'), 'semantic/image', print, OUTPUT_QOS
    )
    yield made
    made.view.destroy()
    node.destroy_subscription(listener)
    node.destroy_node()
    rclpy.shutdown(context=context)


def bundle(stamp_ns=STAMP_NS):
    image = np.zeros((4, 4, 3), np.uint8)
    frame = SensorFrame(Modality.CAMERA, stamp_ns, 'camera', image, VIEW)
    return SensorBundle(stamp_ns, Modality.CAMERA, VIEW, {Modality.CAMERA: frame})


def test_a_mask_carries_the_stamp_of_the_image_message(pipeline):
    """The offset was subtracted from the stamp of the message: the header gets it back."""
    pipeline.deliver(bundle())
    (request,) = pipeline.requests
    assert request.stamp_ns == STAMP_NS + 20_000_000


def test_a_drop_carries_the_stamp_of_the_image_message(pipeline):
    pipeline.deliver(DroppedFrame(STAMP_NS, 'because', Modality.CAMERA))
    (status,) = pipeline.drops
    assert (status.stamp_ns, status.dropped) == (STAMP_NS + 20_000_000, 'because')


def test_no_mask_of_before_the_loop_of_a_bag_comes_out(pipeline):
    pipeline.deliver(bundle())
    (before,) = pipeline.requests
    assert not pipeline.view.drop_if_stale(before)
    pipeline.view.on_time_reset()
    assert pipeline.view.drop_if_stale(before)
    assert 'time' in pipeline.drops[-1].dropped
    pipeline.deliver(bundle())
    assert not pipeline.view.drop_if_stale(pipeline.requests[-1])
