"""The package's nodes that run: their topics after remapping, their state, their parameters."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from sam_ad_perception.commands.doctor.findings import FAIL, NOTE, OK, WARN, Finding
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameters import leaves
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import ERROR
from sam_ad_perception.nodes.ros.diagnostics import OK as LEVEL_OK
from sam_ad_perception.nodes.ros.rclpy_helpers import HARDWARE_ID, STATUS_QOS, message_type

PERIOD_S = 2.5
"""A node tells of itself at least so often unless `diagnostics_period_s` is longer."""
ANNOUNCED_S = 6.5
"""Fast DDS announces a participant every 3 s: who was missed twice is not there."""
DISCOVERY_S = 10.0
"""So long DDS may take to connect with somebody who is known to publish."""
MAX_SHOWN = 8
"""So many parameters are named."""
SERVICE_S = 2.0
"""A service of a running node has answered by then."""
_INFO = 'camera_info/'


@dataclass(frozen=True)
class Entry:
    """One entry of a node's `/diagnostics`.

    Attributes:
        level: Of `diagnostic_msgs/DiagnosticStatus`.
        message: One sentence.
        values: Figures by name.
    """

    level: int
    message: str
    values: Mapping[str, str]


@dataclass(eq=False)
class RunningNode:
    """A node of the package, as it tells of itself.

    Attributes:
        name: Fully qualified, with a leading slash.
        entries: The newest entry by name, for example `camera` or `front/camera`.
    """

    name: str
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def views(self) -> tuple[str, ...]:
        """Its camera views; `('',)` for the only one, nothing for a node without masks."""
        found = (n.removesuffix('output') for n in self.entries if n.endswith('output'))
        return tuple(name.rstrip('/') for name in found)

    def topics(self, view: str = '') -> dict[str, str]:
        """The topics of its sensors.

        Args:
            view: One of `views`.

        Returns:
            Relative name, as the package calls it, to the name that the node listens to.
        """
        start = f'{view}/' if view else ''
        known = {str(modality): modality for modality in Modality}
        topics = {}
        for name, entry in self.entries.items():
            sensor = name.removeprefix(start)
            modality = known.get(sensor.removeprefix(_INFO))
            if modality is None or not name.startswith(start) or 'topic' not in entry.values:
                continue
            relative = modality.info_topic if sensor.startswith(_INFO) else modality.topic
            topics[relative] = entry.values['topic']
            if 'topic/compressed' in entry.values:
                topics[f'{relative}/compressed'] = entry.values['topic/compressed']
        return topics


class NodeListener:
    """Hears what the package's nodes tell on `/diagnostics`.

    Args:
        node: Its executor runs the callback.
    """

    def __init__(self, node: Node) -> None:
        self.nodes: dict[str, RunningNode] = {}
        kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
        self._node = node
        self._subscription = node.create_subscription(kind, '/diagnostics', self._hear, STATUS_QOS)

    def destroy(self) -> None:
        """Listen no more."""
        self._node.destroy_subscription(self._subscription)

    def _hear(self, message: Any) -> None:
        for status in message.status:
            if status.hardware_id != HARDWARE_ID:
                continue
            name, _, entry = status.name.partition(': ')
            running = self.nodes.setdefault(f'/{name}', RunningNode(f'/{name}'))
            values = {each.key: each.value for each in status.values}
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            running.entries[entry] = Entry(level, status.message, values)


def find_running(node: Node, seconds: float = PERIOD_S) -> list[RunningNode]:
    """Wait until the package's nodes have told of themselves.

    Where none of them has, it waits until every participant was announced again, and longer where
    somebody is known to publish on /diagnostics.

    Args:
        node: Of the one who asks; no executor has it.
        seconds: How long.

    Returns:
        The nodes, those that make masks first.
    """
    listener = NodeListener(node)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < seconds + DISCOVERY_S:
        if listener.nodes and waited >= seconds:
            break
        if waited >= seconds + ANNOUNCED_S and not node.count_publishers('/diagnostics'):
            break
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    listener.destroy()
    return sorted(listener.nodes.values(), key=lambda each: (not each.views, each.name))


def judge_node(running: RunningNode) -> Iterator[Finding]:
    """Say what a node tells of its masks and of its sensors.

    Args:
        running: The node.

    Yields:
        One finding for each view, for the network, and for each sensor with which it is not
        content.
    """
    for name, entry in running.entries.items():
        state = FAIL if entry.level >= ERROR else OK if entry.level == LEVEL_OK else WARN
        told = f'{running.name}, {name}: {entry.message}'
        if name.endswith('output'):
            figures = [
                f'{entry.values[key]} {unit}'
                for key, unit in (('rate_hz', 'masks/s'), ('masks', 'masks'), ('drops', 'drops'))
                if key in entry.values
            ]
            told = f'{running.name} is {entry.values.get("state", "running")}: {entry.message}'
            fix = '' if state == OK else 'the lines on its sensors say why'
            yield Finding('node', state, f'{told} ({", ".join(figures)})', fix)
        elif name == 'network':
            yield Finding('network', state, told)
        elif state != OK:
            topic = entry.values.get('topic', '')
            yield Finding(name, state, f'{told}{f" on {topic}" if topic else ""}')


def judge_types(node: Node, topics: Collection[str]) -> Iterator[Finding]:
    """Name topics that carry messages of two types: DDS connects only those of the same.

    Args:
        node: Whose graph is looked at.
        topics: Fully qualified names.

    Yields:
        A finding for each.
    """
    for topic, types in node.get_topic_names_and_types():
        if topic in topics and len(types) > 1:
            who = [
                f'{info.node_name} ({info.topic_type})'
                for info in node.get_publishers_info_by_topic(topic)
            ]
            yield Finding(
                'types',
                FAIL,
                f'{topic} has {len(types)} types, {" and ".join(types)}; it is published by '
                f'{", ".join(who) or "nobody"}',
                'give one of them another name: who wants one type gets nothing of the other',
            )


def judge_parameters(node: Node, name: str) -> Iterator[Finding]:
    """Name the parameters of a segmentation node that are not at their defaults.

    Args:
        node: Of the one who asks; no executor has it.
        name: Fully qualified name of the other.

    Yields:
        One finding.
    """
    known = leaves(SegmentationConfig)
    values = _parameters(node, name, list(known))
    if values is None:
        text = f'{name} does not answer within {SERVICE_S:g} s when asked for its parameters'
        yield Finding('parameters', WARN, text, 'it is busy or hangs: look at its log')
        return
    other = []
    for (key, leaf), value in zip(known.items(), values, strict=True):
        default = leaf.default if leaf.length is None else list(leaf.default)  # type: ignore[arg-type]
        held = value if leaf.length is None or value is None else list(value)
        if held is not None and held != default:
            other.append(f'{key}: {held!r}')
    more = f' and {len(other) - MAX_SHOWN} more' if len(other) > MAX_SHOWN else ''
    text = ', '.join(other[:MAX_SHOWN]) or 'all at their defaults'
    yield Finding('parameters', NOTE if not other else OK, f'{name}: {text}{more}')


def _parameters(node: Node, name: str, wanted: Sequence[str]) -> list[Any] | None:
    from rclpy.parameter import parameter_value_to_python

    kind = message_type('rcl_interfaces/srv/GetParameters')
    client = node.create_client(kind, f'{name}/get_parameters')
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        if not client.wait_for_service(SERVICE_S):
            return None
        future = client.call_async(kind.Request(names=list(wanted)))  # type: ignore[attr-defined]
        executor.spin_until_future_complete(future, SERVICE_S)
        answer = future.result() if future.done() else None
        if answer is None or len(answer.values) != len(wanted):
            return None
        return [parameter_value_to_python(value) for value in answer.values]
    finally:
        executor.remove_node(node)
        node.destroy_client(client)
