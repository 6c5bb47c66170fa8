"""Records topics into a rosbag2 (MCAP), also where `ros2 bag` is not installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from sam_ad_perception.bags.reader import BagMessage
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.nodes.process import run_node

# after run_node's module, which prepares the environment that rclpy reads
from rclpy.node import Node  # isort: skip
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # isort: skip

DISCOVERY_PERIOD_S = 0.1


class RecorderNode(Node):
    """Subscribes to topics as soon as somebody publishes them and writes their bytes as they are.

    A subscription asks for what all of the topic's publishers offer (reliable or best effort,
    latched or not), so that nothing offered is lost and nothing incompatible is asked for.

    Args:
        writer: Where the messages go; open.
        topics: Names to wait for, relative to the node's namespace.
        on_complete: Called once, when all of them are subscribed.
    """

    def __init__(
        self, writer: BagWriter, topics: Sequence[str], on_complete: Callable[[], None]
    ) -> None:
        super().__init__('recorder')
        self._writer = writer
        self._waiting = {self.resolve_topic_name(topic) for topic in topics}
        self._on_complete = on_complete
        self._early: list[BagMessage] = []
        self._discovery = self.create_timer(
            DISCOVERY_PERIOD_S, self._discover, clock=_steady_clock()
        )

    def _discover(self) -> None:
        types = dict(self.get_topic_names_and_types())
        for topic in sorted(self._waiting & types.keys()):
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
            self._writer.add_topic(topic, kind, latched=latched)
            profile = QoSProfile(
                depth=50,
                reliability=(
                    ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
                ),
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
                ),
            )
            write = partial(self._write, topic, kind)
            self.create_subscription(_message_class(kind), topic, write, profile, raw=True)
            self._waiting.remove(topic)
        if not self._waiting:
            self._discovery.cancel()
            self._on_complete()

    def _write(self, topic: str, kind: str, data: bytes) -> None:
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


def _steady_clock() -> Any:
    from rclpy.clock import Clock, ClockType

    # Simulated time may not run yet, and discovery is not a matter of the vehicle's time.
    return Clock(clock_type=ClockType.STEADY_TIME)


def _message_class(kind: str) -> Any:
    package, _, name = kind.split('/')
    return getattr(import_module(f'{package}.msg'), name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recorder until SIGINT or SIGTERM.

    Args:
        argv: `OUT TOPIC [TOPIC ...] [--ros-args ...]`; the process's own by default.

    Returns:
        Exit code; 1 where the bag exists already or cannot be written.
    """
    parser = argparse.ArgumentParser(prog='recorder_node', description=__doc__)
    parser.add_argument('out', type=Path, help='folder of the new bag')
    parser.add_argument('topics', nargs='+', help='topics to wait for and record')
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index('--ros-args') if '--ros-args' in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    try:
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


if __name__ == '__main__':
    sys.exit(main())
