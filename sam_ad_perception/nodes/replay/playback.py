"""Publishing a bag: simulated time, pacing, and waiting for masks in lockstep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages.from_ros import (
    ConversionError,
    make,
    ns_to_stamp,
    status_from_message,
)
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.replay.deadline import DEFAULT_DEADLINE_S, ask_deadline
from sam_ad_perception.nodes.replay.schedule import (
    NS,
    Drop,
    Item,
    Lead,
    Plan,
    Route,
    first_items,
    header_stamp,
    is_stream,
    ordered_items,
)
from sam_ad_perception.nodes.replay.summary import ReplayStats
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.diagnostics import CONFIGURING
from sam_ad_perception.nodes.ros.rclpy_helpers import OUTPUT_QOS, STATUS_QOS, message_type

CLOCK_STEP_NS = 5_000_000
MARGIN_NS = 15_000_000
SETTLE_S, MOST_SETTLE_S = 0.5, 5.0
HOLD_S = 0.03
WAIT_TOLD_S = 10.0
CREEP_AFTER_S = 1.0
CREEP_RATE = 0.05


@dataclass(frozen=True)
class _Reference:
    """A frame that waits for its answer in lockstep.

    Attributes:
        view: The camera view.
        stamp_ns: Header stamp, nanoseconds.
        sent_ns: When it went out, nanoseconds of the bag.
        sure: Whether it surely leads.
    """

    view: str
    stamp_ns: int
    sent_ns: int
    sure: bool


class ReplayError(ValueError):
    """The replay cannot go on, in one sentence."""


@dataclass(frozen=True)
class ReplayOptions:
    """What the user asked for.

    Attributes:
        rate: Speed, times real time.
        loop: Start again at the end, until stopped.
        lockstep: See the module's text.
        drops: What to leave out when.
        start_s: Begin so long after the start of the bag, seconds.
        duration_s: End after so much of the bag, seconds; None for all of it.
        wait_s: Longest wait for the nodes before the start, seconds; 0 for none.
        timeout_s: Longest wait for an answer in lockstep, seconds.
        deadline_s: The node's deadline; None asks the node.
    """

    rate: float = 1.0
    loop: bool = False
    lockstep: bool = False
    drops: tuple[Drop, ...] = ()
    start_s: float = 0.0
    duration_s: float | None = None
    wait_s: float = 60.0
    timeout_s: float = 30.0
    deadline_s: float | None = None


class Replay:
    """One bag on its way out.

    Attributes:
        ledger: What went out and came back.
    """

    def __init__(
        self,
        node: Node,
        executor: SingleThreadedExecutor,
        reader: BagReader,
        plan: Plan,
        options: ReplayOptions,
    ) -> None:
        """Advertise the topics and listen for masks.

        Args:
            node: Publishes.
            executor: Spins the node.
            reader: The bag.
            plan: Where each topic goes.
            options: What the user asked for.
        """
        self._node = node
        self._executor = executor
        self._reader = reader
        self._plan = plan
        self._options = options
        self.ledger = ReplayStats()
        self._loading = ''
        self._deadline_ns = 0
        self._start_ns = reader.start_ns + int(options.start_s * NS)
        self._stop_ns = (
            None if options.duration_s is None else self._start_ns + int(options.duration_s * NS)
        )
        self._now_ns = self._start_ns
        self._told_clock_ns = -1
        self._anchor = (self._now_ns, time.monotonic())
        # Subscriptions first: who finds our publishers shall have found these, too.
        self._listeners = {view: self._listen(view) for view in plan.views}
        clock = message_type('rosgraph_msgs/msg/Clock')
        self._clock = node.create_publisher(clock, '/clock', 10)
        self._publishers = self._advertise()
        self._leaders: dict[str, Route] = {}
        for view in plan.views:
            first = next((r for m in Modality if (r := plan.route_of(m, view)) is not None), None)
            if first is not None:
                self._leaders[view] = first

    def run(self, tell: Callable[[float], object]) -> None:
        """Publish the bag.

        Args:
            tell: Told now and then how much of the bag is out, seconds.

        Raises:
            ReplayError: Nobody is there to listen, or no answer comes.
        """
        self._wait_for_nodes()
        while True:
            for item in first_items(self._reader, self._plan, self._start_ns):
                self._publish(item)
            self._settle()
            self._run_once(tell)
            if not self._options.loop or not rclpy.ok():
                return
            self._now_ns = self._start_ns
            self._told_clock_ns = -1

    def finish(self, quiet_s: float = 1.0, limit_s: float = 10.0) -> None:
        """Wait for answers that are still on their way, while any come.

        Args:
            quiet_s: Stop when none came for so long, seconds.
            limit_s: Stop anyhow, seconds.
        """
        end = time.monotonic() + limit_s
        last, seen = time.monotonic(), -1
        while self.ledger.unanswered and time.monotonic() < end and rclpy.ok():
            if self.ledger.unanswered != seen:
                last, seen = time.monotonic(), self.ledger.unanswered
            if time.monotonic() - last > quiet_s:
                return
            self._executor.spin_once(0.02)

    # Setting up

    def _listen(self, view: str) -> tuple[Subscription, Subscription]:
        """Hear what becomes of the frames of a view: masks and drops."""
        return (
            self._node.create_subscription(
                message_type('sensor_msgs/msg/Image'),
                topics.in_view(view, topics.MASK),
                partial(self._on_mask, view),
                OUTPUT_QOS,
                raw=True,
            ),
            self._node.create_subscription(
                message_type('diagnostic_msgs/msg/DiagnosticArray'),
                topics.in_view(view, topics.STATUS),
                partial(self._on_status, view),
                STATUS_QOS,
            ),
        )

    def _advertise(self) -> dict[str, Publisher]:
        """Make one publisher per target; two topics with one target share it."""
        publishers: dict[str, Publisher] = {}
        for route in self._plan.routes.values():
            if route.target in publishers:
                continue
            many = is_stream(route.type)
            depth = 1000 if many else 100 if route.latched else 20
            profile = QoSProfile(
                depth=depth,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL
                    if route.latched
                    else DurabilityPolicy.VOLATILE
                ),
            )
            publishers[route.target] = self._node.create_publisher(
                message_type(route.type), route.target, profile
            )
        return publishers

    def _wait_for_nodes(self) -> None:
        """Wait until the leading sensor is listened to and, in lockstep, masks are published.

        Meanwhile each step of loading that a node names in /diagnostics is printed once.
        """
        end = time.monotonic() + self._options.wait_s
        told = time.monotonic()
        kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
        listener = self._node.create_subscription(
            kind, '/diagnostics', self._on_diagnostics, STATUS_QOS
        )
        while self._options.wait_s and (lacking := self._lacking()) and rclpy.ok():
            now = time.monotonic()
            if now > end:
                raise ReplayError(f'waited {self._options.wait_s:g} s, but {lacking}')
            if not self._loading and now - told > WAIT_TOLD_S:
                told = now
                print(f'waiting: {lacking}', flush=True)
            self._publish_clock()
            self._executor.spin_once(0.05)
        self._node.destroy_subscription(listener)
        deadline_s = self._options.deadline_s
        if deadline_s is None and self._options.lockstep:
            deadline_s = ask_deadline(self._node, self._executor)
        self._deadline_ns = int(NS * (DEFAULT_DEADLINE_S if deadline_s is None else deadline_s))

    def _on_diagnostics(self, message: Any) -> None:
        """Print a step of loading when it begins."""
        for status in message.status:
            if status.message.startswith(CONFIGURING) and status.message != self._loading:
                self._loading = status.message
                node = status.name.partition(':')[0].strip('/')
                print(f'{node}: {status.message.removeprefix(CONFIGURING)}', flush=True)

    def _lacking(self) -> str:
        """What is not there yet, in words; empty when all is."""
        infos = {topics.in_view(view, topics.CAMERA_INFO) for view in self._plan.views}
        wanted = [*self._leaders.values()]
        wanted += [r for r in self._plan.routes.values() if r.target in infos]
        for route in wanted:
            publisher = self._publishers[route.target]
            if not publisher.get_subscription_count():
                return f'nobody subscribes to {publisher.topic_name}'
        if self._options.lockstep:
            for listener in (each for pair in self._listeners.values() for each in pair):
                if not listener.get_publisher_count():
                    return f'nobody publishes {listener.topic_name}'
        return ''

    def _settle(self) -> None:
        """Let transforms and simulated time reach everybody, until no more listeners are found."""
        last, known = time.monotonic() + MOST_SETTLE_S, -1
        end = last
        while time.monotonic() < min(end, last) and rclpy.ok():
            found = sum(each.get_subscription_count() for each in self._publishers.values())
            found += self._clock.get_subscription_count()
            if found != known:
                end, known = time.monotonic() + SETTLE_S, found
            self._publish_clock()
            self._executor.spin_once(0.02)
        self._anchor = (self._now_ns, time.monotonic())

    # Running

    def _run_once(self, tell: Callable[[float], object]) -> None:
        """Publish the bag from start to end."""
        leads = {v: Lead(self._plan, self._deadline_ns / NS, v) for v in self._plan.views}
        pending: dict[str, _Reference] = {}
        for item in self._items():
            route, message = item.route, item.message
            led = [
                view
                for view, lead in leads.items()
                if route.sensor is not None
                and route.view in ('', view)
                and lead.leads(route.sensor, message.received_ns)
            ]
            if self._options.lockstep:
                for view in [each for each in led if each in pending]:
                    self._await_answer(pending.pop(view))
            self._advance(message.received_ns)
            if not rclpy.ok():
                return
            stamp_ns = header_stamp(message.data) if led else None
            if stamp_ns is not None:
                self._publish_clock()
                for view in led:
                    sure = route is self._leaders[view]
                    pending[view] = _Reference(view, stamp_ns, self._now_ns, sure)
                    self.ledger.send(stamp_ns, time.monotonic(), view)
                    if not sure and not self._options.lockstep:
                        self.ledger.withdraw(stamp_ns, view)
            self._publish(item)
            if self._options.lockstep and route.sensor is not None and not is_stream(route.type):
                self._hold()
            tell((message.received_ns - self._start_ns) / NS)
        for reference in pending.values() if self._options.lockstep else ():
            self._await_answer(reference)

    def _items(self) -> Iterator[Item]:
        return ordered_items(
            self._reader, self._plan, self._options.drops, self._start_ns, self._stop_ns
        )

    def _advance(self, to_ns: int) -> None:
        """Let time pass at the chosen rate until `to_ns`; time never goes back."""
        while self._now_ns < to_ns and rclpy.ok():
            from_ns, since = self._anchor
            elapsed_ns = int((time.monotonic() - since) * self._options.rate * NS)
            self._now_ns = min(max(from_ns + elapsed_ns, self._now_ns), to_ns)
            if self._now_ns - self._told_clock_ns >= CLOCK_STEP_NS:
                self._publish_clock()
            if self._now_ns < to_ns:
                left = (to_ns - self._now_ns) / NS / self._options.rate
                self._executor.spin_once(min(left, CLOCK_STEP_NS / NS / self._options.rate))

    def _await_answer(self, reference: _Reference) -> None:
        """Wait for the mask or the drop of a reference frame, while time runs to its deadline.

        Raises:
            ReplayError: It did not come.
        """
        begin = time.monotonic()
        from_ns = self._now_ns
        limit_ns = max(reference.sent_ns + self._deadline_ns + MARGIN_NS, from_ns)
        median_s = statistics.median(self.ledger.round_trips or [0.5])
        # Whether another sensor's frame leads is for the node to decide; most often it answers.
        patience_s = self._options.timeout_s if reference.sure else max(0.5, 3 * median_s)
        # The first answers may have waited for kernels: the others must not wait as long.
        creep_after_s = min(max(CREEP_AFTER_S, 3 * median_s), self._options.timeout_s / 4)
        while self.ledger.is_open(reference.stamp_ns, reference.view) and rclpy.ok():
            waited_s = time.monotonic() - begin
            if waited_s > patience_s:
                if reference.sure:
                    raise ReplayError(self._no_answer(reference))
                self.ledger.withdraw(reference.stamp_ns, reference.view)
                break
            # A frame that was held up on its way has a later deadline: far behind any usual
            # answer, time creeps on until it passes.
            creep_s = max(waited_s - creep_after_s, 0.0) * CREEP_RATE
            elapsed_ns = int(waited_s * self._options.rate * NS)
            self._now_ns = min(from_ns + elapsed_ns, limit_ns) + int(creep_s * NS)
            self._publish_clock()
            self._executor.spin_once(CLOCK_STEP_NS / NS)
        self._anchor = (self._now_ns, time.monotonic())

    def _no_answer(self, reference: _Reference) -> str:
        mask, status = (each.topic_name for each in self._listeners[reference.view])
        return (
            f'neither a mask on {mask} nor a drop on {status} came within '
            f'{self._options.timeout_s:g} s for the frame of '
            f'{reference.stamp_ns / NS:.3f} s'
        )

    def _hold(self) -> None:
        """Let a frame arrive before time goes on: deadlines count in it.

        Not `wait_for_all_acked`: readers acknowledge with the next heartbeat, seconds later.
        """
        end = time.monotonic() + HOLD_S
        while time.monotonic() < end and rclpy.ok():
            self._executor.spin_once(HOLD_S / 4)
        self._anchor = (self._now_ns, time.monotonic())

    def _publish(self, item: Item) -> None:
        self.ledger.messages[item.route.target] += 1
        self._publishers[item.route.target].publish(item.message.data)

    def _publish_clock(self) -> None:
        stamp = ns_to_stamp(message_type, self._now_ns)
        self._clock.publish(make(message_type, 'rosgraph_msgs/msg/Clock', clock=stamp))
        self._told_clock_ns = self._now_ns

    def _on_mask(self, view: str, data: bytes) -> None:
        stamp_ns = header_stamp(data)
        if stamp_ns is not None:
            self.ledger.on_mask(stamp_ns, time.monotonic(), view)

    def _on_status(self, view: str, message: Any) -> None:
        try:
            status = status_from_message(message)
        except ConversionError:
            return  # somebody else's status on this topic
        if status.dropped is not None:
            self.ledger.on_drop(status.stamp_ns, status.dropped, view)
