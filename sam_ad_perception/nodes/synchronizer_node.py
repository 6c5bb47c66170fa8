"""Republishes what belongs together with one stamp, for consumers that match stamps exactly.

Messages go through as they are, but for the header's stamp: nothing is decoded but the times of a
sweep's points, by which it is matched. A sensor that is
absent from a set is absent there too; `synchronized/status` names it with the reason. Packets of
the event camera are a stream and not republished.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.serialization import deserialize_message

from sam_ad_perception.core.messages.from_ros import (
    ConversionError,
    diagnostic_to_message,
    make,
    make_header,
)
from sam_ad_perception.core.messages.serialized_stamp import read_stamp, replace_stamp
from sam_ad_perception.core.sensor_kinds import POINTS
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.synchronization.measured_times import MeasuredTimes, sweep_times
from sam_ad_perception.core.synchronization.results import DroppedReference, Outcome, SyncedSet
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer
from sam_ad_perception.nodes.inputs.clouds import read_sweep
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import SynchronizerNodeConfig
from sam_ad_perception.nodes.ros.diagnostics import (
    OK,
    WARN,
    Diagnosis,
    ReasonCounter,
    TopicMonitor,
)
from sam_ad_perception.nodes.ros.message_filters import ApproximateSynchronizer
from sam_ad_perception.nodes.ros.node import PerceptionNode
from sam_ad_perception.nodes.ros.parameters import NodeParameters
from sam_ad_perception.nodes.ros.process import run_node
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    OUTPUT_QOS,
    STATUS_QOS,
    STEADY,
    DeadlineTimer,
    DiagnosticsPublisher,
    InfoSubscription,
    guard,
    message_type,
    sensor_qos,
    subscribe,
)

KINDS = {
    'raw': 'sensor_msgs/msg/Image',
    'compressed': 'sensor_msgs/msg/CompressedImage',
    'cloud': 'sensor_msgs/msg/PointCloud2',
}


class SynchronizerNode(PerceptionNode):
    """See the module's text; parameters are those of `SynchronizerNodeConfig`."""

    def __init__(self, **options: Any) -> None:
        """Subscribe and advertise.

        Args:
            **options: Of `rclpy.node.Node`.

        Raises:
            ValueError: A parameter is refused.
        """
        super().__init__('synchronizer', **options)
        self.config = NodeParameters(self, SynchronizerNodeConfig).config
        sync = self.config.sync
        self._sensors = tuple(m for m in self._known_sensors() if sync.sensors[m].enabled)
        leaders = [Modality(n) for n in sync.reference if Modality(n) in self._sensors]
        if not leaders:
            raise ValueError(f'sync.reference names no enabled sensor, got {sync.reference}')
        self._synchronizer = self._make_synchronizer(leaders)
        self._infos: dict[Modality, bytes] = {}
        self._sets = 0
        self._drops = ReasonCounter()
        self._absent = ReasonCounter()
        self._diagnostics = DiagnosticsPublisher(self)
        self._status = self.create_publisher(
            message_type('diagnostic_msgs/msg/DiagnosticArray'),
            topics.SYNCHRONIZED_STATUS,
            STATUS_QOS,
        )
        self._monitors: list[TopicMonitor] = []
        self._timer = DeadlineTimer(self, lambda: self._synchronizer.next_deadline_ns, self._poll)
        # rclpy runs callbacks in the order of the subscriptions: what a camera frame needs first.
        self._outputs = {m: self._connect(m) for m in reversed(self._sensors)}
        self._info_outputs = {m: self._connect_info(m) for m in self._sensors if m.info_topic}
        self.create_timer(self.config.diagnostics_period_s, self._diagnose, clock=STEADY)

    def _known_sensors(self) -> list[Modality]:
        """Images and sweeps; packets of events are a stream."""
        return [m for m in Modality if m in self.config.inputs or m.record.form == POINTS]

    def _make_synchronizer(
        self, leaders: list[Modality]
    ) -> Synchronizer[Modality, bytes] | ApproximateSynchronizer:
        if self.config.policy == 'approximate':
            rest = [m for m in self._sensors if m not in leaders]
            approximate = self.config.approximate
            return ApproximateSynchronizer(
                [*leaders, *rest], approximate.queue_size, approximate.slop_s
            )
        sync = self.config.sync
        return Synchronizer(
            {m: sync.sensors[m] for m in self._sensors},
            leaders,
            deadline_s=sync.deadline_s,
            time_jump_s=sync.time_jump_s,
        )

    def _connect(self, modality: Modality) -> Any:
        """Subscribe to a sensor and advertise its synchronized twin."""
        topic = modality.topic
        image = self.config.inputs.get(modality)
        kind = image.transport if image is not None else 'cloud'
        if kind == 'compressed':
            topic = f'{topic}/compressed'
        monitor = TopicMonitor(str(modality), self.config.sync.sensors[modality].max_age_s)
        self._subscribe(KINDS[kind], topic, monitor, partial(self._take, modality))
        return self.create_publisher(
            message_type(KINDS[kind]), f'{topics.SYNCHRONIZED}/{topic}', OUTPUT_QOS
        )

    def _connect_info(self, modality: Modality) -> Any:
        """Subscribe to a sensor's geometry and advertise its synchronized twin."""
        topic, kind = modality.info_topic, 'sensor_msgs/msg/CameraInfo'
        monitor = TopicMonitor(f'camera_info/{modality}', float('inf'))
        self._monitors.append(monitor)
        take = partial(self._infos.__setitem__, modality)
        InfoSubscription(self, topic, monitor, take, self.config.qos, raw=True)
        name = f'{topics.SYNCHRONIZED}/{topic}'
        return self.create_publisher(message_type(kind), name, OUTPUT_QOS)

    def _subscribe(
        self, kind: str, topic: str, monitor: TopicMonitor, take: Callable[[bytes], None]
    ) -> None:
        self._monitors.append(monitor)
        callback = guard(self, monitor, take)
        qos = sensor_qos(self.config.qos)
        subscribe(self, kind, topic, callback, qos, raw=True)

    def _take(self, modality: Modality, data: bytes) -> None:
        now_ns = self.get_clock().now().nanoseconds
        stamp_ns = read_stamp(data)
        if isinstance(self._synchronizer, ApproximateSynchronizer):
            self._give_out(self._synchronizer.add(modality, stamp_ns, data, now_ns))
            return
        measured = _sweep_times(data) if modality is Modality.LIDAR else None
        self._give_out(self._synchronizer.add(modality, stamp_ns, data, now_ns, measured))

    def _poll(self) -> None:
        self._give_out(self._synchronizer.poll(self.get_clock().now().nanoseconds))

    def _give_out(self, outcomes: Sequence[Outcome[Modality, bytes]]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, DroppedReference):
                if self._drops.add(outcome.reason):
                    self.get_logger().warning(f'{outcome.reference} dropped: {outcome.reason}')
                continue
            self._sets += 1
            for why in outcome.absent.values():
                self._absent.add(why)
            for modality, (_, data) in outcome.items.items():
                self._publish(self._outputs[modality], data, outcome.stamp_ns)
                if modality in self._infos:
                    info = self._infos[modality]
                    self._publish(self._info_outputs[modality], info, outcome.stamp_ns)
            self._tell(outcome)
        self._timer.arm()

    def _publish(self, publisher: Any, data: bytes, stamp_ns: int) -> None:
        if publisher.get_subscription_count():
            publisher.publish(replace_stamp(data, stamp_ns))

    def _tell(self, made: SyncedSet[Modality, bytes]) -> None:
        """Publish what a set holds, after the set."""
        if not self._status.get_subscription_count():
            return
        pairs = [('reference', str(made.reference))]
        for modality, (stamp_ns, _) in made.items.items():
            pairs.append((f'{modality}.time_error_ms', f'{(stamp_ns - made.stamp_ns) / 1e6:.3f}'))
        pairs += [(f'{modality}.absent', why) for modality, why in made.absent.items()]
        absent = ', '.join(map(str, made.absent))
        entry = diagnostic_to_message(
            message_type,
            f'{self.get_fully_qualified_name().lstrip("/")}: set',
            WARN if absent else OK,
            f'without {absent}' if absent else 'complete',
            pairs,
        )
        header = make_header(message_type, made.stamp_ns, '')
        self._status.publish(
            make(
                message_type, 'diagnostic_msgs/msg/DiagnosticArray', header=header, status=[entry]
            )
        )

    def _diagnose(self) -> None:
        values = [('sets', str(self._sets)), ('policy', self.config.policy)]
        values += [(f'{m}.{what}', str(n)) for (m, what), n in self._synchronizer.counters.items()]
        values += [(f'dropped: {why}', str(n)) for why, n in self._drops.counts.items()]
        values += [(f'absent: {why}', str(n)) for why, n in self._absent.counts.items()]
        now = time.monotonic()
        entries = [Diagnosis('sets', OK, f'{self._sets} sets', tuple(values))]
        synchronizer = self._synchronizer
        timing = synchronizer.report() if isinstance(synchronizer, Synchronizer) else {}
        for monitor in self._monitors:
            known = timing.get(Modality(monitor.name)) if monitor.name in self._sensors else None
            entries.append(monitor.diagnose(now, timing=known))
        self._diagnostics.publish(entries)


def _sweep_times(data: bytes) -> MeasuredTimes | None:
    """When a serialized cloud was measured; None where its points do not tell.

    There is no view here, so that all its points count.
    """
    cloud = deserialize_message(data, message_type(KINDS['cloud']))
    try:
        return sweep_times(read_sweep(cloud), None, None)
    except ConversionError:  # it is republished as it is
        return None


def main(args: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        args: Command line; the process's own by default.

    Returns:
        The exit code.
    """
    return run_node(SynchronizerNode, args)


if __name__ == '__main__':
    sys.exit(main())
