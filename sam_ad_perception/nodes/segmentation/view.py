"""One camera view of the segmentation node: from its sensor topics to its masks.

Sensors are the business of the executor's thread; masks come from the worker's. Every reference
frame ends as a mask or as a drop with its reason on `semantic/status`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rclpy.node import Node

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.images.lazy_image import decode_lazy
from sam_ad_perception.core.lidar.visibility import SweepView
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import FrameStatus, summarize_segmentation
from sam_ad_perception.core.synchronization.bundler import BundleResult, DroppedFrame
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import ReasonCounter
from sam_ad_perception.nodes.ros.parameters import NodeParameters
from sam_ad_perception.nodes.ros.rclpy_helpers import DeadlineTimer, TransformInput
from sam_ad_perception.nodes.segmentation.diagnostics import StageLatencies, ViewReport
from sam_ad_perception.nodes.segmentation.outputs import SegmentationOutputs
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders

DEACTIVATED = 'the node was deactivated'
SET_BACK = 'time was set back'
REPLACED = 'a newer frame took its place'


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """A bundle on its way through the worker.

    Attributes:
        view: Where it comes from.
        bundle: The bundle.
        stamp_ns: Header stamp of its reference frame, nanoseconds.
        frame_id: Frame of the camera image.
        arrived: When the reference frame came, steady seconds; None where unknown.
        submitted: When the bundle was complete, steady seconds.
        epoch: How often time had been set back.
    """

    view: CameraPipeline
    bundle: SensorBundle
    stamp_ns: int
    frame_id: str
    arrived: float | None
    submitted: float
    epoch: int


class CameraPipeline:
    """See the module's text.

    Attributes:
        name: In front of its topics; empty for the only view of a node.
        outputs: Its publishers.
        inputs: Its subscriptions; None while the node is not configured.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        parameters: NodeParameters[SegmentationConfig],
        submit: Callable[[InferenceRequest], object],
    ) -> None:
        """Advertise the outputs.

        Args:
            node: The node.
            name: See the class.
            parameters: Of the node; the age of masks may change while it runs.
            submit: Takes each bundle that is to be segmented.
        """
        config = parameters.config
        self.name = name
        self.outputs = SegmentationOutputs(
            node,
            rectified=config.camera.starts_rectified,
            view=name,
            selections=config.selections,
            compressed=config.compressed,
            inside=config.visualization,
        )
        self.inputs: SensorInputs | None = None
        self._node = node
        self._parameters = parameters
        self._submit = submit
        self._timer = DeadlineTimer(node, self._next_deadline_ns, self._poll)
        self._active_since: float | None = None
        self._frame_id = ''
        self._epoch = self._masks = self._unwanted = 0
        self._drops = ReasonCounter()
        self._notes = ReasonCounter(period=math.inf)  # each is logged once
        self._latencies = StageLatencies()
        self._last_mask: FrameStatus | None = None
        self._last_mask_at: float | None = None
        self._last_drop: FrameStatus | None = None
        offsets = config.bundler.sync.sensors
        self._offset_ns = {m: to_ns(each.offset_s) for m, each in offsets.items()}

    # Life

    def configure(
        self, calibration: Calibration, transforms: TransformInput, clouds: CloudInput
    ) -> None:
        """Subscribe to geometry.

        Args:
            calibration: Geometry that holds until topics bring other.
            transforms: Where the sensors sit.
            clouds: The input of point clouds, which the views share.
        """
        self.inputs = SensorInputs(
            self._node,
            self._parameters.config,
            calibration,
            transforms,
            clouds,
            self._on_results,
            view=self.name,
        )

    def start(self) -> None:
        """Subscribe to the sensors."""
        assert self.inputs is not None
        self._active_since = time.monotonic()
        self.inputs.start()

    def stop(self) -> None:
        """Unsubscribe from the sensors; what is on its way is dropped and told."""
        self._active_since = None
        self._timer.stop()
        if self.inputs is not None:
            self.inputs.stop()
            self._drop_all(self.inputs.restart(), DEACTIVATED)

    def release(self) -> None:
        """Unsubscribe from everything."""
        self.stop()
        if self.inputs is not None:
            self.inputs.destroy()
        self.inputs = None

    def destroy(self) -> None:
        """Take the topics back, for good."""
        self.release()
        self._timer.destroy()
        self.outputs.destroy()

    # Sensors to bundles: the executor's thread

    def on_time_reset(self) -> None:
        """Begin anew: a bag loops, a simulator was reset. What is on its way belongs to before."""
        if self.inputs is not None:
            self._epoch += 1
            self._drop_all(self.inputs.restart(), SET_BACK)

    def _next_deadline_ns(self) -> int | None:
        return None if self.inputs is None else self.inputs.bundler.next_deadline_ns

    def _poll(self) -> None:
        """Let the bundler know that its deadline has come."""
        if self.inputs is not None:
            self._on_results(self.inputs.bundler.poll(self.inputs.now_ns()))

    def _on_results(self, results: Sequence[BundleResult]) -> None:
        assert self.inputs is not None
        refusals = self.inputs.refusals(time.monotonic()) if results else {}
        if results and Modality.EVENT in self.inputs.sensors:
            bundler = self.inputs.bundler
            self.inputs.checks.count_events(bundler.counters, bundler.event_size)
        for result in results:
            stamp_ns = result.stamp_ns + self._offset_ns[result.reference]
            if isinstance(result, DroppedFrame):
                why = [f'{sensor} {refusal}' for sensor, refusal in refusals.items()]
                self.report_drop(stamp_ns, '; '.join([result.reason, *why]))
            elif not self.outputs.wanted:
                self._unwanted += 1
            else:
                missing = {m: refusals.get(m, why) for m, why in result.missing.items()}
                self._hand_over(replace(result, missing=missing), stamp_ns)
        self._timer.arm()

    def _hand_over(self, bundle: SensorBundle, stamp_ns: int) -> None:
        assert self.inputs is not None
        camera = bundle.frames.get(Modality.VIEW)
        frame_id = camera.frame_id if camera is not None else bundle.camera.frame_id
        self._frame_id = bundle.camera.frame_id
        arrived = self.inputs.arrival(bundle.reference, stamp_ns)
        self._submit(
            InferenceRequest(
                self, bundle, stamp_ns, frame_id, arrived, time.monotonic(), self._epoch
            )
        )

    def _drop_all(self, results: Sequence[BundleResult], reason: str) -> None:
        for each in results:
            self.report_drop(each.stamp_ns + self._offset_ns[each.reference], reason)

    # Bundles to masks: the worker's thread

    def read(self, job: InferenceRequest) -> tuple[InferenceRequest, float]:
        """Decode the images of a job, and take out what cannot be right.

        Args:
            job: The job.

        Returns:
            The same with pixels, and the seconds that it took.
        """
        begun, inputs = time.perf_counter(), self.inputs
        bundle = decode_lazy(job.bundle)
        if inputs is not None:
            bundle = inputs.checks.check_bundle(bundle)
        job = replace(job, bundle=bundle)
        return job, time.perf_counter() - begun

    def drop_if_stale(self, job: InferenceRequest) -> bool:
        """Drop a job that nobody wants any more; it must not come out as if it were fresh.

        Args:
            job: A job of this view.

        Returns:
            Whether it was dropped.
        """
        age = time.monotonic() - (job.submitted if job.arrived is None else job.arrived)
        limit = self._parameters.config.max_mask_age_s
        if self._active_since is None:
            reason = DEACTIVATED
        elif job.epoch != self._epoch:
            reason = SET_BACK
        elif limit and age > limit:
            reason = f'it is {age:.2f} s old, more than max_mask_age_s allows ({limit:g} s)'
        else:
            return False
        self.report_drop(job.stamp_ns, reason)
        return True

    def publish(
        self, job: InferenceRequest, result: Segmentation, begun: float, read_s: float
    ) -> None:
        """Publish a mask with all that belongs to it, unless it is too late for it.

        Args:
            job: The job.
            result: What the network made of it.
            begun: When the worker took the job, steady seconds.
            read_s: Time spent decoding, seconds.
        """
        if self.drop_if_stale(job):
            return
        publishing = time.perf_counter()
        self._publish_for_consumers(job, result)
        self.outputs.publish_images(result, job.stamp_ns, job.frame_id)
        publish_s = time.perf_counter() - publishing
        status = summarize_segmentation(result)
        latency_ms = {'read': 1e3 * read_s, **status.latency_ms, 'publish': 1e3 * publish_s}
        latency_ms['queue'] = 1e3 * (begun - job.submitted)
        if job.arrived is not None:
            latency_ms['wait'] = 1e3 * (job.submitted - job.arrived)
            latency_ms['total'] = 1e3 * (time.monotonic() - job.arrived)
        status = replace(status, stamp_ns=job.stamp_ns, latency_ms=latency_ms)
        self._latencies.add(latency_ms)
        self.outputs.publish_status(status, job.frame_id)
        for sensor, note in status.notes.items():
            self._log_once(f'{sensor}: {note}')
        self._last_mask, self._last_mask_at = status, time.monotonic()
        self._masks += 1

    def _publish_for_consumers(self, job: InferenceRequest, result: Segmentation) -> None:
        """Publish what is made of the mask; it fails alone, the mask still comes."""
        sweep = SweepView(job.bundle, result)
        stamp_ns = sweep.frame.stamp_ns + self._offset_ns[Modality.RANGING] if sweep.frame else 0
        headers = ResultHeaders(job.stamp_ns, stamp_ns, job.frame_id)
        outputs = self.outputs
        every: tuple[Callable[..., None], ...] = (
            *(each.publish for each in (outputs.selections, outputs.points, outputs.consumers)),
            partial(outputs.pictures.publish, bundle=job.bundle),
        )
        for publish in every:
            try:
                publish(result=result, sweep=sweep, headers=headers)
            except ValueError as err:
                self._log_once(f'beside the mask: {err}')

    def tell_replaced(self, job: InferenceRequest) -> None:
        """Tell that a job gave way to a newer one; any thread."""
        if not self.drop_if_stale(job):
            self.report_drop(job.stamp_ns, REPLACED)

    def tell_failed(self, job: InferenceRequest, err: Exception) -> None:
        """Tell that a job ended with an exception."""
        text = str(err) if isinstance(err, ValueError) else f'{type(err).__name__}: {err}'
        self.report_drop(job.stamp_ns, text)

    def report_drop(self, stamp_ns: int, reason: str) -> None:
        """Publish a drop, count it, and log each reason now and then; any thread.

        Args:
            stamp_ns: Header stamp of the reference frame, nanoseconds.
            reason: Why it has no mask.
        """
        self._last_drop = FrameStatus(stamp_ns=stamp_ns, dropped=reason)
        if not self._node.context.ok():
            return  # ROS is gone, and with it everybody who could be told
        if self._drops.add(reason):
            self._node.get_logger().warning(f'{self._prefix}{self._last_drop.message}')
        self.outputs.publish_status(self._last_drop)

    # Diagnostics

    def report(self) -> ViewReport:
        """Sum up what happened so far, for `/diagnostics`."""
        return ViewReport(
            name=self.name,
            frame_id=self._frame_id,
            active_since=self._active_since,
            masks=self._masks,
            unwanted=self._unwanted,
            drops=self._drops.counts,
            last_mask=self._last_mask,
            last_mask_at=self._last_mask_at,
            last_drop=self._last_drop,
            latencies=self._latencies.percentiles(),
            wanted=self.outputs.wanted,
            epoch=self._epoch,
            inputs=self.inputs,
        )

    def note_standing(self) -> None:
        """Log, once, what holds for every frame and so is no shortcoming of any one of them."""
        if self.inputs is not None and self.inputs.standing_notes:
            for sensor, note in self.inputs.standing_notes.items():
                self._log_once(f'{sensor}: {note}')

    def _log_once(self, text: str) -> None:
        if self._notes.add(text):
            self._node.get_logger().warning(f'{self._prefix}{text}')

    @property
    def _prefix(self) -> str:
        return f'{self.name}: ' if self.name else ''


def advertised_by(config: SegmentationConfig) -> tuple[object, ...]:
    """List the parameters that shape the views and what they advertise.

    Args:
        config: Of the node.

    Returns:
        Their values.
    """
    return (
        config.views,
        config.camera.rectified,
        config.bundler.sync,
        config.diagnostics_period_s,
        config.compressed,
        config.visualization,
        tuple(config.selections),
    )
