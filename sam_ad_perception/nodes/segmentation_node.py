"""The segmentation node: any subset of camera, thermal, event and lidar in, masks out.

One thread of the executor takes messages and asks the bundler of each camera view; one worker
thread decodes what is used, runs the network on the newest bundle of every view as one batch, and
publishes. Here is the node's life; what happens to frames is in `segmentation_view`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from concurrent.futures import Future as Work
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from lifecycle_msgs.msg import Transition
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from sam_ad_perception.core.events.encoding import warm_up as warm_up_events
from sam_ad_perception.core.fault_codes import NODE_LOADING
from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.selections.config import resolve
from sam_ad_perception.core.sensors import Modality, Segmentation
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.unused_topics import (
    diagnose_unused,
    find_unused,
    names_read,
)
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import CONFIGURING, WARN, Diagnosis
from sam_ad_perception.nodes.ros.lifecycle import ERROR, SUCCESS, ManagedNode
from sam_ad_perception.nodes.ros.parameters import NodeParameters
from sam_ad_perception.nodes.ros.process import leave, run_node
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    STEADY,
    DiagnosticsPublisher,
    TransformInput,
    sensor_qos,
)
from sam_ad_perception.nodes.ros.topics import in_view, sensor_topics
from sam_ad_perception.nodes.segmentation.diagnostics import (
    NodeReport,
    SegmentationDiagnostics,
    diagnose_network,
)
from sam_ad_perception.nodes.segmentation.model_loading import LoadedModel, load_model
from sam_ad_perception.nodes.segmentation.view import (
    DEACTIVATED,
    CameraPipeline,
    InferenceRequest,
    advertised_by,
)
from sam_ad_perception.nodes.segmentation.worker import LatestWorker

STOP_TIMEOUT_S = 1.2
RETRY_PERIOD_S = 5.0
CHANGEABLE = ('max_mask_age_s', 'health.*', 'routing.*', 'selections.*')


class SegmentationNode(ManagedNode):
    """See the module's text; parameters are those of `SegmentationConfig`."""

    def __init__(self, **options: Any) -> None:
        """Declare parameters and outputs; the rest is done by `configure` and `activate`.

        Args:
            **options: Of `rclpy.node.Node`.

        Raises:
            ParameterError: A parameter is refused.
        """
        super().__init__('segmentation', **options)
        self._model: LoadedModel | None = None
        self._settings = NodeParameters(
            self,
            SegmentationConfig,
            CHANGEABLE,
            self._change,
            all_changeable=lambda: self.state == 'unconfigured',
        )
        self._publisher = DiagnosticsPublisher(self)
        self._worker: LatestWorker[InferenceRequest] = LatestWorker(
            self._work,
            on_replaced=lambda job: job.view.tell_replaced(job),
            on_error=lambda job, err: job.view.tell_failed(job, err),
            name='segmentation',
        )
        self._active = False
        self._problem = self._lost = self._progress = ''
        self._batch = 0
        self._transforms: TransformInput | None = None
        self._report_timer = self.create_timer(
            self.config.diagnostics_period_s, self._diagnose, clock=STEADY
        )
        self._views: list[CameraPipeline] = []
        self._advertise()
        self._gpu_lost = self.create_guard_condition(self._on_gpu_lost)
        # /clock has one source and never goes back by itself: any step is a new beginning, that of
        # a bag of a few frames, too.
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
        )
        self._jumps = self.get_clock().create_jump_callback(
            threshold, post_callback=self._set_back
        )
        self._tries_again = False
        if self.config.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=STEADY)

    @property
    def config(self) -> SegmentationConfig:
        """The parameters as they are now."""
        return self._settings.config

    # Lifecycle

    def begin_configuring(self) -> Work[LoadedModel]:
        """Load and warm up in the worker's thread, which tells its progress on /diagnostics."""
        config = self.config
        if advertised_by(config) != self._advertised:
            self._advertise()  # parameters were set while the node was unconfigured
        self._calibration = self._load_calibration()
        self._progress = 'configuring'

        def load() -> LoadedModel:
            model = load_model(config, self._tell_progress)
            resolve(config.selections, model.labels)
            warm_up_events()
            return model

        return self._worker.call(load)

    def finish_configuring(self, result: LoadedModel) -> None:
        """Subscribe to geometry and transforms, and publish the labels."""
        self._model = result
        tree = TransformTree()
        self._calibration.fill(tree)
        sensors = [
            in_view(view.name, name) for view in self._views for name in sensor_topics().values()
        ]
        self._transforms = TransformInput(self, tree, sensors)
        clouds = CloudInput(self, sensor_qos(self.config.qos))
        for view in self._views:
            view.configure(self._calibration, self._transforms, clouds)
        # Loading came after all that the worker still had to do: none of it can be lost now.
        self._problem = self._lost = self._progress = ''
        selections = resolve(self.config.selections, result.labels)
        for view in self._views:
            view.outputs.selections.selections = selections
            view.outputs.publish_labels(result.labels)
        # What is loaded now stays: the collector need not walk through torch again and again.
        gc.collect()
        gc.freeze()
        self.get_logger().info(
            f'configured: {self.config.model.key} on {self.config.model.device}'
        )

    def fail_configuring(self, error: BaseException) -> None:
        """Tell why the network cannot be had; the node stays unconfigured."""
        kind = '' if isinstance(error, ValueError | OSError) else f'{type(error).__name__}: '
        self._problem, self._progress = f'cannot configure: {kind}{error}', ''
        self.get_logger().error(self._problem)
        self._release()
        self._diagnose()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the sensors and publish."""
        self._active = True
        for view in self._views:
            view.start()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing; what is on its way is dropped and told. ERROR where the GPU is lost."""
        self._stop_sensing()
        return ERROR if self._lost else SUCCESS

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
        ended = self._worker.stop(STOP_TIMEOUT_S)
        self._readers.shutdown(wait=False, cancel_futures=True)
        return ended

    def destroy_node(self) -> None:
        """Let go of all ROS entities, the DDS participant and its shared memory included."""
        super().destroy_node()
        # It holds the node's handle, and is otherwise freed with the interpreter (see `main`).
        self._state_machine.destroy_when_not_in_use()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.state != 'unconfigured':
            return  # somebody else was faster

        def go_on(configured: Future) -> None:
            if configured.result():
                # Unless somebody else has sent it elsewhere meanwhile.
                if self.state == 'inactive':
                    self.change_state(Transition.TRANSITION_ACTIVATE)
            elif self._tries_again:
                self._autostart_timer.reset()

        self.change_state(Transition.TRANSITION_CONFIGURE).add_done_callback(go_on)

    def _advertise(self) -> None:
        """Make the views with their outputs, in place of those that were there."""
        for view in self._views:
            view.destroy()
        config = self.config
        self._advertised = advertised_by(config)
        self._diagnostics = SegmentationDiagnostics(config)
        self._views = [
            CameraPipeline(
                self, name, self._settings, lambda job: self._worker.submit(job, job.view.name)
            )
            for name in config.views
        ]
        # OpenCV decodes without the interpreter's lock: the pictures of several views at once.
        self._readers = ThreadPoolExecutor(len(self._views), 'reader')
        self._report_timer.timer_period_ns = to_ns(config.diagnostics_period_s)

    def _load_calibration(self) -> Calibration:
        if not self.config.calibration:
            return Calibration()
        calibration = load_calibration(Path(self.config.calibration))
        if len(self._views) > 1 and Modality.CAMERA in calibration.cameras:
            raise ValueError(
                f'{self.config.calibration}: cameras.camera is the geometry of one camera, but '
                f'there are {len(self._views)} views: theirs must come from camera_info'
            )
        return calibration

    def _stop_sensing(self) -> None:
        self._active = False
        for view in self._views:
            view.stop()
        self._worker.clear()

    def _release(self) -> None:
        self._stop_sensing()
        for view in self._views:
            view.release()
        if self._transforms is not None:
            self._transforms.destroy()
        loaded = self._model is not None
        self._transforms = self._model = None
        gc.unfreeze()
        gc.collect()
        if loaded:
            from sam_ad_perception.modeling.devices import release_memory

            self._worker.call(release_memory)  # after the batch that it may be working on

    # The executor's thread

    def _on_gpu_lost(self) -> None:
        """Leave the life cycle by way of an error: what is on the GPU is lost."""
        if not self._active:
            return
        self._problem = f'the GPU was lost, configure may bring it back: {self._lost}'
        self.get_logger().error(self._problem)
        self.change_state(Transition.TRANSITION_DEACTIVATE)
        self._diagnose()
        if self.config.autostart:
            self._tries_again = True
            self._autostart_timer.timer_period_ns = to_ns(RETRY_PERIOD_S)
            self._autostart_timer.reset()

    def _set_back(self, jump: TimeJump) -> None:
        """Begin anew: a bag loops, a simulator was reset."""
        if jump.delta.nanoseconds < 0:
            for view in self._views:
                view.on_time_reset()
            self._worker.clear()

    def _change(self, config: SegmentationConfig) -> None:
        """Let the worker take over what may change while it runs, between two batches."""
        model = self._model
        if model is None:
            return
        segmenter = model.segmenter
        selections = resolve(config.selections, model.labels)

        def adopt() -> None:
            segmenter.routing = config.routing
            segmenter.health.config = config.health
            for view in self._views:
                view.outputs.selections.selections = selections

        self._worker.call(adopt)

    # The worker's thread

    def _work(self, jobs: list[InferenceRequest]) -> None:
        """Make the masks of one batch; a view whose bundle is bad does not spoil the others."""
        model = self._model
        begun = time.monotonic()
        if model is None or self._lost:
            for job in jobs:
                job.view.report_drop(job.stamp_ns, DEACTIVATED)
            return
        wanted = [job for job in jobs if not job.view.drop_if_stale(job)]
        if not wanted:
            return
        several = len(wanted) > 1
        fresh = list((self._readers.map if several else map)(_read, wanted))
        self._batch = len(fresh)
        results = self._segment(model, [job for job, _ in fresh])
        for (job, read_s), result in zip(fresh, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                job.view.publish(job, result, begun, read_s)
            except Exception as err:
                job.view.tell_failed(job, err)

    def _segment(
        self, model: LoadedModel, jobs: list[InferenceRequest]
    ) -> Sequence[Segmentation | Exception]:
        """Segment all; where that raises, one after the other, to find whose fault it is."""
        bundles = [job.bundle for job in jobs]
        outputs = [job.view.outputs for job in jobs]
        depth = [each.depth_wanted for each in outputs]
        confidence = [each.confidence_wanted for each in outputs]
        try:
            return model.segmenter.segment_each(bundles, depth, confidence)
        except Exception as err:
            # torch is loaded by now, see `model_loading`.
            from sam_ad_perception.modeling.devices import is_lost

            if is_lost(err):
                self._lost = str(err)
                self._gpu_lost.trigger()
            if self._lost or len(jobs) == 1:
                return [err] * len(jobs)
        return [result for job in jobs for result in self._segment(model, [job])]

    # Diagnostics

    def _tell_progress(self, what: str) -> None:
        """Tell how far configuring is; called from the worker."""
        self.get_logger().info(what)
        self._progress = told = f'{CONFIGURING}{what}'
        self._publisher.publish(
            [
                Diagnosis(view.report().title('output'), WARN, told, code=NODE_LOADING)
                for view in self._views
            ]
        )

    def _diagnose(self) -> None:
        now = time.monotonic()
        node = NodeReport(
            self.state, self._problem, self._worker.waiting, self._batch, self._progress
        )
        model, entries = self._model, []
        for view in self._views:
            if view.inputs is not None:
                view.inputs.choose_transports()
            view.note_standing()
            report = view.report()
            health = model.segmenter.health.summary(report.frame_id) if model else {}
            entries += self._diagnostics.diagnose_view(report, node, health, now)
        if model is not None:
            entries.append(diagnose_network(model, self.config.model.device, node))
        if self._transforms is not None:
            entries.append(self._transforms.monitor.diagnose(now))
        if self._active:
            topics = [in_view(v.name, t) for v in self._views for t in sensor_topics().values()]
            entries += diagnose_unused(find_unused(self, names_read(self, topics)))
        self._publisher.publish(entries)


def _read(job: InferenceRequest) -> tuple[InferenceRequest, float]:
    """Decode the images of a job."""
    return job.view.read(job)


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
