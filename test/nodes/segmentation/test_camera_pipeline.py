"""One view of the segmentation node without its network: stamps, and what is dropped as stale."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import numpy as np

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
    SensorFrame,
)
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
    overrides = [
        Parameter('bundler.sync.camera.offset_s', value=OFFSET_S),
        Parameter('bundler.sync.lidar.offset_s', value=0.003),
        Parameter('max_mask_age_s', value=0.0),  # however slow the machine is
    ]
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


def test_what_waits_is_dropped_with_the_stamp_of_its_image_message(pipeline):
    pipeline.view._drop_all([bundle()], 'the node ends')
    (status,) = pipeline.drops
    assert (status.stamp_ns, status.dropped) == (STAMP_NS + 20_000_000, 'the node ends')


def made_of(request):
    """A mask of nothing."""
    nothing = np.zeros(VIEW.size, np.uint8)
    return Segmentation(request.bundle.stamp_ns, VIEW, nothing, nothing, 'toy', (Modality.CAMERA,))


def test_the_status_tells_how_long_each_stage_took(pipeline):
    pipeline.deliver(bundle())
    now = time.monotonic()
    request = replace(pipeline.requests[-1], arrived=now - 0.5, submitted=now - 0.2)
    begun = time.perf_counter()
    pipeline.view.publish(request, made_of(request), begun=now - 0.15, read_s=0.007)
    took_ms = 1e3 * (time.perf_counter() - begun)
    latency_ms = pipeline.drops[-1].latency_ms
    assert latency_ms['wait'] == pytest.approx(300)
    assert latency_ms['queue'] == pytest.approx(50)
    assert latency_ms['read'] == pytest.approx(7)
    assert 0 <= latency_ms['publish'] <= took_ms
    assert 500 <= latency_ms['total'] <= 500 + 1e3 * (time.monotonic() - now)


def test_what_is_made_of_the_sweep_carries_the_stamp_of_its_message(pipeline):
    """Each sensor gets its own offset back: the lidar's here, not the camera's."""
    sweep = SensorFrame(Modality.LIDAR, STAMP_NS - 7, 'lidar', PointCloud(np.ones((2, 3))))
    whole = bundle()
    frames = {**whole.frames, Modality.LIDAR: sweep}
    whole = replace(whole, frames=frames, T_camera={Modality.LIDAR: np.eye(4)})
    pipeline.deliver(whole)
    (request,) = pipeline.requests
    told = []
    pipeline.view.outputs.points.publish = lambda result, sweep, headers: told.append(headers)
    pipeline.view._publish_for_consumers(request, made_of(request))
    (headers,) = told
    assert headers.cloud_stamp_ns == STAMP_NS - 7 + 3_000_000
    assert (headers.stamp_ns, headers.frame_id) == (STAMP_NS + 20_000_000, 'camera')
