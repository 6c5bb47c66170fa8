"""Records topics into a rosbag2 (MCAP), also where `ros2 bag` is not installed.

With `--black-box` the last seconds stay in memory and go to a bag when something happens: an
error in `/diagnostics`, a frame without a mask, a mask with fewer sensors or of another network,
or a call of the service `~/trigger`.
"""

from __future__ import annotations

import argparse
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.bags.black_box.recorder import BlackBox, BlackBoxOptions
from sam_ad_perception.bags.black_box.triggers import (
    KINDS,
    SERVICE,
    DiagnosticEntry,
    Trigger,
    TriggerRules,
)
from sam_ad_perception.bags.reader import BagMessage
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.fault_codes import KEY
from sam_ad_perception.core.messages.from_ros import status_from_message
from sam_ad_perception.core.sensor_kinds import IMAGE
from sam_ad_perception.core.status import STATUS_NAME
from sam_ad_perception.nodes.ros.diagnostics import LossCounter
from sam_ad_perception.nodes.ros.process import run_node
from sam_ad_perception.nodes.ros.topics import (
    LABEL_INFO,
    ODOMETRY,
    STATUS,
    info_topics,
    sensor_topics,
)

# after run_node's module, which prepares the environment that rclpy reads
from sam_ad_perception.nodes.ros.node import PerceptionNode  # isort: skip
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type  # isort: skip
from rclpy.parameter import parameter_value_to_python  # isort: skip
from rclpy.parameter_client import AsyncParameterClient  # isort: skip
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # isort: skip

from rclpy.serialization import deserialize_message  # isort: skip

DISCOVERY_PERIOD_S = 0.1
DEPTH, DEEP = 50, 1000
"""Messages held per topic until they are taken: event cameras send one per millisecond."""
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'


class TopicWatcher(PerceptionNode, ABC):
    """Subscribes to topics as soon as somebody publishes them, and gives their bytes on.

    A subscription asks for what all of the topic's publishers offer (reliable or best effort,
    latched or not), so that nothing offered is lost and nothing incompatible is asked for.

    Args:
        topics: Names to wait for, relative to the node's namespace.
        depth: Messages held per topic until they are taken.
    """

    def __init__(self, name: str, topics: Sequence[str], depth: int) -> None:
        super().__init__(name)
        self.waiting = {self.resolve_topic_name(topic) for topic in topics}
        self._depth = depth
        self._discovery = self.create_timer(
            DISCOVERY_PERIOD_S, self._discover, clock=_steady_clock()
        )

    @abstractmethod
    def announce(self, topic: str, kind: str, *, latched: bool) -> None:
        """Take notice of a topic before its first message."""

    @abstractmethod
    def take(self, topic: str, kind: str, data: bytes, info: Any) -> None:
        """Take a message, serialized, and what the middleware tells of it."""

    def complete(self) -> None:
        """Take notice that all topics are subscribed."""

    def _discover(self) -> None:
        types = dict(self.get_topic_names_and_types())
        for topic in sorted(self.waiting & types.keys()):
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            kind = types[topic][0]
            reliable = all(
                p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers
            )
            latched = all(
                p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers
            )
            self.announce(topic, kind, latched=latched)
            profile = QoSProfile(
                depth=self._depth,
                reliability=(
                    ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
                ),
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
                ),
            )
            self.create_subscription(
                message_type(kind), topic, self._taker(topic, kind), profile, raw=True
            )
            self.waiting.remove(topic)
        if not self.waiting:
            self._discovery.cancel()
            self.complete()

    def _taker(self, topic: str, kind: str) -> Callable[[bytes, Any], None]:
        # rclpy counts the arguments of the function itself.
        def taker(data: bytes, info: Any) -> None:
            self.take(topic, kind, data, info)

        return taker


class RecorderNode(TopicWatcher):
    """Writes topics into a bag, their bytes as they are.

    Args:
        writer: Where the messages go; open.
        topics: Names to wait for, relative to the node's namespace.
        on_complete: Called once, when all of them are subscribed.
    """

    def __init__(
        self, writer: BagWriter, topics: Sequence[str], on_complete: Callable[[], None]
    ) -> None:
        self._writer = writer
        self._early: list[BagMessage] = []
        self._on_complete = on_complete
        super().__init__('recorder', topics, DEPTH)

    def announce(self, topic: str, kind: str, *, latched: bool) -> None:
        """Announce the topic in the bag."""
        self._writer.add_topic(topic, kind, latched=latched)

    def complete(self) -> None:
        """Tell whoever waits for it."""
        self._on_complete()

    def take(self, topic: str, kind: str, data: bytes, info: Any) -> None:
        """Write a message."""
        now_ns = self.get_clock().now().nanoseconds
        message = BagMessage(topic, kind, now_ns, data)
        if now_ns == 0:
            # Latched messages come before simulated time does; they belong to its first moment.
            self._early.append(message)
            return
        for early in self._early:
            self._writer.copy(BagMessage(early.topic, early.type, now_ns, early.data))
        self._early.clear()
        self._writer.copy(message)


class BlackBoxNode(TopicWatcher):
    """Keeps the last seconds of its topics, and writes them on a fault, a fallback or a drop.

    Args:
        box: Takes the messages.
        rules: What is a trigger.
        topics: Names to wait for, relative to the node's namespace.
        observed: Node whose parameters are written, too.
    """

    def __init__(
        self, box: BlackBox, rules: TriggerRules, topics: Sequence[str], observed: str
    ) -> None:
        self._box, self._rules = box, rules
        self._losses: dict[str, LossCounter] = {}
        self._early: list[BagMessage] = []
        super().__init__('recorder', topics, DEEP)
        self._steady = _steady_clock()
        self.create_timer(0.1, self._tick, clock=self._steady)
        self.create_service(message_type('std_srvs/srv/Trigger'), '~/trigger', self._serve)
        self._client = AsyncParameterClient(self, observed)
        self.create_timer(1.0, self._ask_parameters, clock=self._steady)
        self._asked = False
        self._observed = self._client.remote_node_name

    def announce(self, topic: str, kind: str, *, latched: bool) -> None:
        """Tell the box which topics are latched."""
        self._box.announce(topic, latched=latched)
        self._losses[topic] = LossCounter()

    def take(self, topic: str, kind: str, data: bytes, info: Any) -> None:
        """Keep a message, and look at it where it may tell of a fault."""
        number = info.get('publication_sequence_number')
        if number is not None:
            counter = self._losses[topic]
            before = counter.total
            counter.add(number)
            if counter.total > before:
                self._box.lose(topic, counter.total - before)
        now_ns = self.get_clock().now().nanoseconds
        message = BagMessage(topic, kind, now_ns, bytes(data))
        if now_ns == 0:  # simulated time has not begun
            self._early.append(message)
            return
        for early in self._early:
            self._box.take(BagMessage(early.topic, early.type, now_ns, early.data))
        self._early.clear()
        self._box.take(message)
        if kind == DIAGNOSTICS:
            self._look(topic, deserialize_message(data, message_type(kind)))

    def close(self) -> bool:
        """Write what was begun."""
        self._box.close()
        return True

    def _look(self, topic: str, array: Any) -> None:
        """Look for triggers in an array of diagnostics."""
        if any(entry.name == STATUS_NAME for entry in array.status):
            found = self._rules.take_status(topic, status_from_message(array))
        else:
            found = self._rules.take_diagnostics(_entry(each) for each in array.status)
        if found is not None:
            self._write(found)

    def _write(self, trigger: Trigger) -> str:
        self._box.silent = sorted(self.waiting)
        why = self._box.trigger(trigger, time.monotonic())
        told = f'not written: {why}' if why else 'writing'
        self.get_logger().warn(f'{trigger.kind}: {trigger.reason}: {told}')
        return why

    def _serve(self, request: Any, response: Any) -> Any:
        why = self._write(Trigger(SERVICE, 'asked for by service'))
        response.success, response.message = not why, why or 'writing'
        return response

    def _tick(self) -> None:
        self._box.tick(self.get_clock().now().nanoseconds)

    def _ask_parameters(self) -> None:
        """Keep the parameters of the observed node as they are now."""
        if self._asked or not self._client.services_are_ready():
            return
        self._asked = True
        self._client.list_parameters(callback=self._take_names)

    def _take_names(self, future: Any) -> None:
        names = sorted(future.result().result.names)
        self._client.get_parameters(names, callback=lambda f: self._take_values(names, f))

    def _take_values(self, names: Sequence[str], future: Any) -> None:
        self._asked = False
        values = [parameter_value_to_python(value) for value in future.result().values]
        told = {name: _plain(v) for name, v in zip(names, values, strict=True) if v is not None}
        content = {self._observed.lstrip('/'): {'ros__parameters': told}}
        self._box.parameters = yaml.safe_dump(content, sort_keys=True)


def _entry(status: Any) -> DiagnosticEntry:
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    codes = [str(pair.value) for pair in status.values if pair.key == KEY]
    return DiagnosticEntry(status.name, level, status.message, codes[0] if codes else '')


def _plain(value: Any) -> Any:
    """A value of a parameter as YAML has it."""
    return list(value) if hasattr(value, 'tolist') or isinstance(value, tuple) else value


def _steady_clock() -> Any:
    from rclpy.clock import Clock, ClockType

    # Simulated time may not run yet, and discovery is not a matter of the vehicle's time.
    return Clock(clock_type=ClockType.STEADY_TIME)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recorder until SIGINT or SIGTERM.

    Args:
        argv: `OUT [TOPIC ...] [--black-box ...] [--ros-args ...]`; the process's own by default.

    Returns:
        Exit code; 1 where the bag exists already or cannot be written.
    """
    parser = _parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index('--ros-args') if '--ros-args' in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    if not options.black_box and not options.topics:
        parser.error('topics must be named, but for --black-box')
    try:
        if options.black_box:
            return _run_black_box(options, arguments[split:])
        with BagWriter(options.out) as writer:
            return run_node(
                lambda: RecorderNode(
                    writer,
                    options.topics,
                    lambda: print(f'recording {len(options.topics)} topics', flush=True),
                ),
                arguments[split:],
            )
    except (ValueError, OSError) as err:
        print(f'recorder_node: {err}', file=sys.stderr)
        return 1


def _run_black_box(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    rules = TriggerRules(options.on.split(','))
    bounds = BlackBoxOptions(
        options.before,
        options.after,
        options.memory,
        options.disk,
        options.interval,
        options.per_hour,
    )
    box = BlackBox(options.out, bounds, lambda path: print(f'wrote {path}', flush=True))
    topics = options.topics or default_topics()
    print(f'black box of {len(topics)} topics', flush=True)
    return run_node(lambda: BlackBoxNode(box, rules, topics, options.node), arguments)


def default_topics() -> list[str]:
    """What `sam_ad label` needs, and what tells of faults: of one view, relative names."""
    images = [name for m, name in sensor_topics().items() if m.record.form == IMAGE]
    return [
        *sensor_topics().values(),
        *(f'{name}/compressed' for name in images),
        *info_topics().values(),
        ODOMETRY,
        '/tf',
        '/tf_static',
        '/diagnostics',
        STATUS,
        LABEL_INFO,
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='recorder_node', description=__doc__)
    add = parser.add_argument
    add('out', type=Path, help='folder of the new bag; with --black-box, of the bags')
    add('topics', nargs='*', help='topics to wait for; --black-box knows the usual ones')
    add('--black-box', action='store_true', help='keep the last seconds, write them on a trigger')
    box = parser.add_argument_group('black box')
    add, own = box.add_argument, BlackBoxOptions()
    add('--before', type=float, default=own.before_s, help='seconds, default: %(default)s')
    add('--after', type=float, default=own.after_s, help='seconds, default: %(default)s')
    add('--memory', type=int, default=own.memory_mib, help='MiB, default: %(default)s')
    add('--disk', type=int, default=own.disk_mib, help='MiB of all bags, default: %(default)s')
    add(
        '--interval',
        type=float,
        default=own.interval_s,
        help='least seconds between two bags, default: %(default)s',
    )
    add('--per-hour', type=int, default=own.per_hour, help='most bags, default: %(default)s')
    add('--on', default=','.join(KINDS), help='what triggers, default: %(default)s')
    add('--node', default='segmentation', help='whose parameters are written, too')
    return parser


if __name__ == '__main__':
    sys.exit(main())
