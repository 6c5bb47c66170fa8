"""What `sam_ad doctor` looks at on the wire: topics there against topics expected, QoS, clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

from sam_ad_perception.commands.doctor.data import DataCheck
from sam_ad_perception.commands.doctor.findings import FAIL, NOTE, OK, WARN, Finding
from sam_ad_perception.commands.doctor.running import (
    RunningNode,
    find_running,
    judge_node,
    judge_parameters,
    judge_types,
)
from sam_ad_perception.core.messages.from_ros import stamp_of
from sam_ad_perception.core.messages.serialized_stamp import read_stamp
from sam_ad_perception.core.sensor_kinds import EVENTS, IMAGE, IMAGE_TYPES
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.inputs.events import EVENT_TYPES, EventInput
from sam_ad_perception.nodes.inputs.unused_topics import find_unused, names_read
from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, subscribe
from sam_ad_perception.nodes.ros.topics import info_topics, sensor_topics

IMAGE_TYPE, COMPRESSED = IMAGE_TYPES
MAX_CLOCK_ERROR_S = 0.5
"""Beyond this, stamps and the machine's clock do not belong together."""
OUR_NODES = {'segmentation', 'visualization', 'depth_projection', 'synchronizer', 'recorder'}


@dataclass
class Heard:
    """What came on one topic.

    Attributes:
        arrivals: When, seconds of the system's clock.
        stamps: Their header stamps, seconds.
    """

    arrivals: list[float] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)


def look_at_topics(
    seconds: float,
    namespace: str = '',
    renamed: Mapping[str, str] | None = None,
    view: str | None = None,
) -> Iterator[Finding]:
    """Listen to the sensor topics for a while: those of a node that runs, else the usual ones.

    Args:
        seconds: How long.
        namespace: Of the topics, and of the node whose topics are looked at.
        renamed: Where a topic (by the name that the nodes use) has another one.
        view: Whose sensors are looked at, where a node has several; None for the first.

    Yields:
        Findings per running node, per sensor, on the transforms, and on the connections.
    """
    own_context = not rclpy.ok()
    if own_context:
        rclpy.init(args=[])  # the command line is no list of remappings for ROS
    scout = _make_node('sam_ad_doctor_scout', namespace, {})
    running = find_running(scout)
    chosen, topics = _choose(running, namespace, view)
    node = _make_node('sam_ad_doctor', namespace, {**topics, **(renamed or {})})
    try:
        for each in running:
            yield from judge_node(each)
        if chosen is not None:
            yield from _tell_choice(chosen, view)
            yield from judge_parameters(scout, chosen.name)
        data = DataCheck(node)
        heard = _listen(node, seconds)
        data.stop()
        # only now has every publisher been discovered
        yield from judge_types(scout, {*topics.values()})
        for modality, topic in sensor_topics().items():
            yield from _judge_sensor(node, modality, topic, heard, data.clocks)
        yield from data.findings()
        for name, why in find_unused(
            node, names_read(node, sensor_topics().values()), ours=OUR_NODES
        ):
            yield Finding('not read', NOTE, f'{name}: {why}')
        yield from _judge_transforms(node)
        yield from _judge_connections(node, {each.name for each in running})
    finally:
        scout.destroy_node()
        node.destroy_node()
        if own_context:
            rclpy.try_shutdown()


def _make_node(name: str, namespace: str, renamed: Mapping[str, str]) -> Node:
    rules = [('-r', f'{topic}:={other}') for topic, other in renamed.items()]
    return Node(
        name,
        namespace=namespace or None,
        cli_args=['--ros-args', *(word for rule in rules for word in rule)],
        start_parameter_services=False,
    )


def _choose(
    running: Sequence[RunningNode], namespace: str, view: str | None
) -> tuple[RunningNode | None, dict[str, str]]:
    """Choose the node whose topics are looked at, and say what they are called."""
    below = f'/{namespace.strip("/")}/' if namespace.strip('/') else '/'
    for node in running:
        if node.views and node.name.startswith(below) and view in (None, *node.views):
            return node, node.topics(node.views[0] if view is None else view)
    return None, {}


def _tell_choice(node: RunningNode, view: str | None) -> Iterator[Finding]:
    """Say whose topics are looked at where there are several views."""
    if len(node.views) > 1:
        shown = node.views[0] if view is None else view
        text = f'{node.name} has the views {", ".join(node.views)}; this looks at {shown}'
        yield Finding('views', NOTE, text, 'name another one by --view')


def _listen(node: Node, seconds: float) -> dict[str, Heard]:
    """Count what comes on every sensor topic; best effort, which matches every publisher."""
    qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
    heard: dict[str, Heard] = {}

    def hear(topic: str) -> Callable[[Any, Any], None]:
        entry = heard[node.resolve_topic_name(topic)] = Heard()

        def take(message: Any, info: Any) -> None:
            stamp_ns = read_stamp(message) if isinstance(message, bytes) else stamp_of(message)
            entry.arrivals.append(time.time())
            entry.stamps.append(stamp_ns * 1e-9)

        return take

    def listen(topic: str, kind: str) -> None:
        subscribe(node, kind, topic, hear(topic), qos)

    for modality, topic in sensor_topics().items():
        if modality.record.form == EVENTS:
            continue
        listen(topic, modality.record.message_types[0])
        if modality.record.form == IMAGE:
            listen(f'{topic}/compressed', COMPRESSED)
    topic = Modality.EVENT.topic
    callbacks = dict.fromkeys(EVENT_TYPES, hear(topic))
    events = EventInput(node, topic, qos, callbacks, lambda problem: None)  # the type is judged
    for topic in info_topics().values():
        take, kind = hear(topic), 'sensor_msgs/msg/CameraInfo'
        subscribe(node, kind, topic, take, qos)
        # a driver may publish it once, before this listens
        subscribe(node, kind, topic, take, LATCHED_QOS, quiet=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        events.choose()
        executor.spin_once(timeout_sec=min(left, 0.1))
    executor.remove_node(node)
    return heard


def _judge_sensor(
    node: Node,
    modality: Modality,
    topic: str,
    heard: Mapping[str, Heard],
    clocks: Collection[Modality],
) -> Iterator[Finding]:
    """Say what is with one sensor."""
    # Who publishes it, raw or compressed.
    names = [node.resolve_topic_name(topic)]
    types = modality.record.message_types
    accepted = [tuple(t for t in types if t != COMPRESSED)]
    if modality.record.form == EVENTS:
        accepted = [EVENT_TYPES]
    if modality.record.form == IMAGE:
        names.append(node.resolve_topic_name(f'{topic}/compressed'))
        accepted.append((COMPRESSED,))
    there = [
        (name, kinds, info)
        for name, kinds in zip(names, accepted, strict=True)
        for info in node.get_publishers_info_by_topic(name)
    ]
    if not there:
        yield Finding(
            str(modality),
            WARN if modality is Modality.VIEW else NOTE,
            f'nobody publishes {" or ".join(names)}',
            f'start its driver, or say {topic}:=/its/topic; `ros2 topic list` shows what is there',
        )
        return
    # Types and quality of service.
    for name, kinds, info in there:
        if info.topic_type not in kinds:
            fix = 'remap the right topic here'
            wrong = f'{name} is {info.topic_type}, not {" or ".join(kinds)}'
            yield Finding(str(modality), FAIL, wrong, fix)
        elif info.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT:
            yield Finding(
                str(modality),
                OK,
                f'{name} is best effort: qos.reliability must stay best_effort to match it',
            )
    # What came while we listened: its clock, then its CameraInfo.
    came = [name for name in names if heard[name].arrivals]
    if not came:
        yield Finding(
            str(modality),
            WARN,
            f'{names[0]} is advertised but nothing came',
            'look at the driver; other machine: `sam_ad doctor` there, and the socket buffers',
        )
    for name in came:
        yield _judge_clock(f'{modality}', name, heard[name], told=modality in clocks)
    if modality.info_topic:
        yield from _judge_info(node, modality, heard)


def _judge_clock(what: str, name: str, heard: Heard, *, told: bool) -> Finding:
    """Compare header stamps with the machine's clock, unless more is told of the clock."""
    ages = [a - s for a, s in zip(heard.arrivals, heard.stamps, strict=True)]
    age = statistics.median(ages)
    span = heard.arrivals[-1] - heard.arrivals[0]
    rate = f'{(len(ages) - 1) / span:.1f} Hz' if span > 0 else '1 message'
    if abs(age) <= MAX_CLOCK_ERROR_S:
        text = f'{name}: {rate}, stamps {1e3 * age:.0f} ms old on arrival'
        return Finding(what, WARN if told else OK, text)
    side = 'behind' if age > 0 else 'ahead of'
    return Finding(
        what,
        WARN,
        f'{name}: {rate}, but its stamps are {abs(age):.1f} s {side} the clock of this machine',
        'a bag or simulator: use_sim_time:=true; a driver: let PTP or NTP set its clock, or set '
        f'bundler.sync.{what}.offset_s: {-age:.1f}',
    )


def _judge_info(node: Node, modality: Modality, heard: Mapping[str, Heard]) -> Iterator[Finding]:
    """Say whether the geometry of an image comes."""
    name = node.resolve_topic_name(modality.info_topic)
    if not heard[name].arrivals:
        alone = modality is Modality.VIEW
        needed = 'the camera is used alone' if alone else f'{modality} is not used'
        yield Finding(
            str(modality),
            WARN,
            f'no {name}: {needed} without geometry',
            'publish camera_info, or name a calibration file (config/extrinsics.example.yaml)',
        )


def _judge_transforms(node: Node) -> Iterator[Finding]:
    """Say whether transforms are published so that late subscribers get them."""
    static = node.get_publishers_info_by_topic('/tf_static')
    if not static:
        yield Finding(
            'transforms',
            WARN,
            'nobody publishes /tf_static',
            'start robot_state_publisher, or name a calibration file',
        )
    for info in static:
        if info.qos_profile.durability is not DurabilityPolicy.TRANSIENT_LOCAL:
            yield Finding(
                'transforms',
                FAIL,
                f'/tf_static of {info.node_name} is volatile: who starts later gets nothing',
                'publish it transient local (ros2 bag play: --qos-profile-overrides-path)',
            )
        else:
            yield Finding('transforms', OK, f'/tf_static of {info.node_name}')


def _judge_connections(node: Node, told: Collection[str]) -> Iterator[Finding]:
    """Say which of the package's nodes run, and with whom they cannot talk."""
    ours = OUR_NODES | {name.rpartition('/')[2] for name in told}
    running = sorted(set(node.get_node_names()) & ours)
    if not running:
        yield Finding('nodes', NOTE, 'none of this package runs in this ROS domain')
        return
    yield Finding('nodes', OK, f'{", ".join(running)} in this ROS domain')
    for topic, _ in node.get_topic_names_and_types():
        readers = node.get_subscriptions_info_by_topic(topic)
        for writer in node.get_publishers_info_by_topic(topic):
            yield from _judge_readers(topic, writer, readers, ours)


def _judge_readers(
    topic: str,
    writer: TopicEndpointInfo,
    readers: Sequence[TopicEndpointInfo],
    ours: Collection[str],
) -> Iterator[Finding]:
    """Name the nodes that get nothing of a publisher, by any of their subscriptions."""
    refused: dict[str, str] = {}
    reached = set()
    for reader in readers:
        if not {writer.node_name, reader.node_name} & set(ours):
            continue
        fit, why = qos_check_compatible(writer.qos_profile, reader.qos_profile)
        if fit == QoSCompatibility.ERROR:
            refused.setdefault(reader.node_name, why)
        else:
            reached.add(reader.node_name)
    for name, why in refused.items():
        if name not in reached:
            yield _mismatch(topic, writer.node_name, name, why, ours)


def _mismatch(topic: str, writer: str, reader: str, why: str, ours: Collection[str]) -> Finding:
    """Tell of a publisher and a subscription whose QoS keeps them apart."""
    if reader in ours and 'reliable' in why.lower():
        fix = f'set qos.reliability to best_effort in the parameters of {reader}'
    else:
        fix = f'let {reader} ask for no more than {writer} offers'
    reason = why.removeprefix('ERROR: ').strip(' ;').lower()
    return Finding('QoS', FAIL, f'{topic}: nothing gets from {writer} to {reader}: {reason}', fix)
