"""The segmentation node: any subset of camera, thermal, event and lidar in, masks out.

One thread of the executor converts messages and asks the bundler; one worker thread runs the
network on the newest bundle and publishes. Every reference frame ends as a mask or as a drop with
its reason on `semantic/status`.
"""

from __future__ import annotations

import gc
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from sam_ad_perception.core.bundler import BundleResult, Dropped
from sam_ad_perception.core.calibration import Calibration, load_calibration
from sam_ad_perception.core.event_encoding import warm_up as warm_up_events
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.status import FrameStatus, summarize_segmentation
from sam_ad_perception.core.synchronizer_config import to_ns
from sam_ad_perception.nodes.configuration import SegmentationConfig
from sam_ad_perception.nodes.health import ERROR, OK, WARN, Diagnosis, ReasonCounter
from sam_ad_perception.nodes.model_loading import LoadedModel, load_model
from sam_ad_perception.nodes.parameters import NodeParameters
from sam_ad_perception.nodes.process import leave, run_node
from sam_ad_perception.nodes.ros import STEADY, DiagnosticsPublisher
from sam_ad_perception.nodes.segmentation_outputs import SegmentationOutputs
from sam_ad_perception.nodes.sensor_inputs import SensorInputs
from sam_ad_perception.nodes.worker import LatestWorker

POLL_PERIOD_S = 0.005
STOP_TIMEOUT_S = 1.2
DEACTIVATED = 'the node was deactivated'
SET_BACK = 'time was set back'

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True, eq=False)
class Job:
    """A bundle on its way through the worker.

    Attributes:
        bundle: The bundle.
        stamp_ns: Header stamp of its reference frame, nanoseconds.
        frame_id: Frame of the camera image.
        arrived: When the reference frame came, steady seconds; None where unknown.
        submitted: When the bundle was complete, steady seconds.
        epoch: How often time had been set back.
    """

    bundle: SensorBundle
    stamp_ns: int
    frame_id: str
    arrived: float | None
    submitted: float
    epoch: int


class SegmentationNode(LifecycleNode):
    """See the module's text; parameters are those of `SegmentationConfig`."""

    def __init__(self, **options: Any) -> None:
        """Declare parameters and outputs; the rest is done by `configure` and `activate`.

        Args:
            **options: Of `rclpy.node.Node`.

        Raises:
            ParameterError: A parameter is refused.
        """
        super().__init__('segmentation', **options)
        self.config = NodeParameters(self, SegmentationConfig).config
        self._outputs = SegmentationOutputs(self, rectified=self.config.camera.rectified)
        self._diagnostics = DiagnosticsPublisher(self)
        self._worker: LatestWorker[Job] = LatestWorker(
            self._segment,
            on_replaced=self._tell_replaced,
            on_error=self._tell_failed,
            name='segmentation',
        )
        self._active = False
        self._problem = ''
        self._model: LoadedModel | None = None
        self._inputs: SensorInputs | None = None
        self._drops = ReasonCounter()
        self._notes = ReasonCounter(period=math.inf)  # each is logged once
        self._masks = self._unwanted = self._epoch = 0
        self._latencies: deque[float] = deque(maxlen=200)
        self._last_mask: FrameStatus | None = None
        self._last_drop: FrameStatus | None = None
        self._told_at, self._told_masks, self._told_drops = time.monotonic(), 0, 0
        offsets = self.config.bundler.sync.sensors
        self._offset_ns = {m: to_ns(each.offset_s) for m, each in offsets.items()}
        self.create_timer(self.config.diagnostics_period_s, self._diagnose, clock=STEADY)
        self._poll_timer = self.create_timer(POLL_PERIOD_S, self._poll, clock=STEADY)
        self._poll_timer.cancel()
        backward = Duration(nanoseconds=-to_ns(self.config.bundler.sync.time_jump_s))
        threshold = JumpThreshold(min_forward=None, min_backward=backward, on_clock_change=False)
        self._jumps = self.get_clock().create_jump_callback(
            threshold, post_callback=self._set_back
        )
        if self.config.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=STEADY)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up in the worker's thread, which tells its progress on /diagnostics."""
        try:
            calibration = Calibration()
            if self.config.calibration:
                calibration = load_calibration(Path(self.config.calibration))
            self._model = self._load()
            if self._model is None:
                return FAILURE
            self._inputs = SensorInputs(self, self.config, calibration, self._take_results)
        except Exception as err:  # rclpy would swallow it without a word
            kind = '' if isinstance(err, ValueError | OSError) else f'{type(err).__name__}: '
            self._problem = f'cannot configure: {kind}{err}'
            self.get_logger().error(self._problem)
            self._diagnose()
            return FAILURE
        self._problem = ''
        self._outputs.publish_labels(self._model.labels)
        # What is loaded now stays: the collector need not walk through torch again and again.
        gc.collect()
        gc.freeze()
        self.get_logger().info(
            f'configured: {self.config.model.key} on {self.config.model.device}'
        )
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the sensors and publish."""
        assert self._inputs is not None
        self._active = True
        self._inputs.start()
        self._poll_timer.reset()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing; what is on its way is dropped and told."""
        self._stop_sensing()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the network and of all that was seen."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, whatever the state."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured; `configure` may bring the node back."""
        self._release()
        return SUCCESS

    def close(self) -> bool:
        """End the worker; False where it is stuck in a native call."""
        self._active = False
        return self._worker.stop(STOP_TIMEOUT_S)

    def destroy_node(self) -> None:
        """Let go of all ROS entities, the DDS participant and its shared memory included."""
        super().destroy_node()
        # It holds the node's handle, and is otherwise freed with the interpreter (see `main`).
        self._state_machine.destroy_when_not_in_use()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _load(self) -> LoadedModel | None:
        """Load the network; None where ROS was shut down meanwhile."""

        def load() -> LoadedModel:
            config = self.config
            model = load_model(config.model, config.depth, config.health, self._tell_progress)
            warm_up_events()
            return model

        future = self._worker.call(load)
        while True:
            try:
                return future.result(0.05)
            except FutureTimeoutError:
                if future.done():
                    raise
                if not self.context.ok():
                    return None

    def _stop_sensing(self) -> None:
        self._active = False
        self._poll_timer.cancel()
        if self._inputs is not None:
            self._inputs.stop()
            self._drop_all(self._inputs.restart(), DEACTIVATED)
        self._worker.clear()

    def _release(self) -> None:
        self._stop_sensing()
        if self._inputs is not None:
            self._inputs.destroy()
        self._inputs = self._model = None
        gc.unfreeze()
        gc.collect()

    # Sensors to bundles: the executor's thread

    def _poll(self) -> None:
        """Give the bundler its deadlines; the timer is steady, the deadlines are in ROS time."""
        if self._inputs is None:
            return
        deadline_ns, now_ns = self._inputs.bundler.next_deadline_ns, self._inputs.now_ns()
        if deadline_ns is not None and now_ns >= deadline_ns:
            self._take_results(self._inputs.bundler.poll(now_ns))

    def _set_back(self, jump: TimeJump) -> None:
        """Begin anew: a bag loops, a simulator was reset. What is on its way belongs to before."""
        if self._inputs is None or jump.delta.nanoseconds >= 0:
            return
        self._epoch += 1
        self._drop_all(self._inputs.restart(), SET_BACK)
        self._worker.clear()

    def _take_results(self, results: Sequence[BundleResult]) -> None:
        for result in results:
            stamp_ns = result.stamp_ns + self._offset_ns[result.reference]
            if isinstance(result, Dropped):
                self._tell_dropped(stamp_ns, result.reason)
            elif not self._outputs.wanted:
                self._unwanted += 1
            else:
                self._submit(result, stamp_ns)

    def _drop_all(self, results: Sequence[BundleResult], reason: str) -> None:
        for each in results:
            self._tell_dropped(each.stamp_ns + self._offset_ns[each.reference], reason)

    def _submit(self, bundle: SensorBundle, stamp_ns: int) -> None:
        assert self._inputs is not None
        camera = bundle.frames.get(Modality.CAMERA)
        frame_id = camera.frame_id if camera is not None else bundle.camera.frame_id
        arrived = self._inputs.arrival(bundle.reference, stamp_ns)
        self._worker.submit(
            Job(bundle, stamp_ns, frame_id, arrived, time.monotonic(), self._epoch)
        )

    # Bundles to masks: the worker's thread

    def _segment(self, job: Job) -> None:
        model = self._model
        if model is None or self._is_stale(job):
            return
        begun = time.monotonic()
        result = model.segmenter.segment([job.bundle])[0]
        if self._is_stale(job):
            return
        publish_s = self._outputs.publish_images(result, job.stamp_ns, job.frame_id)
        status = summarize_segmentation(result)
        latency_ms = {**status.latency_ms, 'publish': 1e3 * publish_s}
        latency_ms['queue'] = 1e3 * (begun - job.submitted)
        if job.arrived is not None:
            latency_ms['wait'] = 1e3 * (job.submitted - job.arrived)
            latency_ms['total'] = 1e3 * (time.monotonic() - job.arrived)
            self._latencies.append(latency_ms['total'])
        status = replace(status, stamp_ns=job.stamp_ns, latency_ms=latency_ms)
        self._outputs.publish_status(status, job.frame_id)
        for sensor, note in status.notes.items():
            if self._notes.add(f'{sensor}: {note}'):
                self.get_logger().warning(f'{sensor}: {note}')
        self._last_mask = status
        self._masks += 1

    def _is_stale(self, job: Job) -> bool:
        """Drop a job that nobody wants any more; it must not come out as if it were fresh."""
        if self._active and job.epoch == self._epoch:
            return False
        self._tell_dropped(job.stamp_ns, SET_BACK if self._active else DEACTIVATED)
        return True

    def _tell_replaced(self, job: Job) -> None:
        if not self._is_stale(job):
            self._tell_dropped(job.stamp_ns, 'a newer frame took its place')

    def _tell_failed(self, job: Job, err: Exception) -> None:
        if not self.context.ok():
            return  # ROS is gone, and with it everybody who could be told
        text = str(err) if isinstance(err, ValueError) else f'{type(err).__name__}: {err}'
        self._tell_dropped(job.stamp_ns, text)

    def _tell_dropped(self, stamp_ns: int, reason: str) -> None:
        """Publish a drop, count it, and log each reason now and then; any thread."""
        self._last_drop = FrameStatus(stamp_ns=stamp_ns, dropped=reason)
        if self._drops.add(reason):
            self.get_logger().warning(self._last_drop.message)
        if self.context.ok():
            self._outputs.publish_status(self._last_drop)

    # Diagnostics

    def _tell_progress(self, what: str) -> None:
        """Tell how far configuring is; called from the worker, timers do not tick meanwhile."""
        self.get_logger().info(what)
        self._diagnostics.publish([Diagnosis('output', WARN, f'configuring: {what}')])

    def _diagnose(self) -> None:
        now = time.monotonic()
        entries = [self._diagnose_node(now)]
        if self._inputs is not None:
            self._inputs.choose_transports()
            counts, model = self._inputs.counters, self._model
            summary = model.segmenter.health.summary() if model else {}
            health = {str(modality): each for modality, each in summary.items()}
            timing = self._inputs.timing
            for name, monitor in self._inputs.monitors.items():
                start = f'{name}.'
                own = {k.removeprefix(start): n for k, n in counts.items() if k.startswith(start)}
                own.pop('received', None)  # the monitor's own count holds the bad ones, too
                entries.append(monitor.diagnose(now, own, health.get(name), timing.get(name)))
            entries.append(self._inputs.transforms.monitor.diagnose(now))
        self._diagnostics.publish(entries)

    def _diagnose_node(self, now: float) -> Diagnosis:
        """Whether masks come, and if not, why not."""
        masks = self._masks
        rate = (masks - self._told_masks) / max(now - self._told_at, 1e-9)
        fresh, fresh_drops = masks > self._told_masks, self._drops.total > self._told_drops
        self._told_at, self._told_masks, self._told_drops = now, masks, self._drops.total
        level, message = OK, ''
        state = self._state_machine.current_state[1]
        if self._problem:
            level, message = ERROR, self._problem
        elif not self._active:
            level, message = WARN, f'the node is {state}'
        elif fresh and self._last_mask is not None:
            level, message = self._last_mask.level, self._last_mask.message
        elif not self._outputs.wanted:
            message = 'nobody listens'
        elif fresh_drops and self._last_drop is not None:
            level, message = ERROR, self._last_drop.message
        else:
            level, message = ERROR, 'no mask: no reference frame came'
        values = [
            ('state', state),
            ('rate_hz', f'{rate:.2f}'),
            ('masks', str(masks)),
            ('drops', str(self._drops.total)),
            ('not wanted', str(self._unwanted)),
        ]
        values += [(f'dropped: {reason}', str(n)) for reason, n in self._drops.counts.items()]
        if self._inputs is not None:
            jumps = self._epoch + self._inputs.counters['time_jumps']
            values.append(('time_jumps', str(jumps)))
        ordered = sorted(self._latencies)
        if ordered:
            for percent in (50, 95, 99):
                at = min(len(ordered) * percent // 100, len(ordered) - 1)
                values.append((f'latency_ms/p{percent}', f'{ordered[at]:.1f}'))
        return Diagnosis('output', level, message, tuple(values))


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node, and end the process with the exit code.

    Args:
        args: Command line without the program's name; the process's own by default.

    Returns:
        Never: taking down an interpreter that has torch in it can last ten seconds on a busy
        machine, longer than `ros2 launch` waits before it kills.
    """
    leave(run_node(SegmentationNode, args))


if __name__ == '__main__':
    main()
