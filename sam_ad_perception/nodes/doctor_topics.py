"""What `sam_ad doctor` looks at on the wire: topics there against topics expected, QoS, clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
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

from sam_ad_perception.core.conversions import stamp_of
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.serialized import read_stamp
from sam_ad_perception.nodes.doctor import FAIL, NOTE, OK, WARN, Finding
from sam_ad_perception.nodes.event_input import EVENT_TYPES, EventInput
from sam_ad_perception.nodes.ros import subscribe
from sam_ad_perception.nodes.topics import INFO_TOPICS, SENSOR_TOPICS

IMAGE = ('sensor_msgs/msg/Image',)
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
KINDS = {
    Modality.CAMERA: IMAGE,
    Modality.THERMAL: IMAGE,
    Modality.EVENT: EVENT_TYPES,
    Modality.LIDAR: ('sensor_msgs/msg/PointCloud2',),
    Modality.DEPTH: IMAGE,
}
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
    seconds: float, namespace: str = '', renamed: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Listen to the sensor topics for a while.

    Args:
        seconds: How long.
        namespace: Of the topics.
        renamed: Where a topic (by the name that the nodes use) has another one.

    Yields:
        Findings per sensor, on the transforms, and on the connections of running nodes.
    """
    own_context = not rclpy.ok()
    if own_context:
        rclpy.init(args=[])  # the command line is no list of remappings for ROS
    rules = [('-r', f'{topic}:={name}') for topic, name in (renamed or {}).items()]
    node = Node(
        'sam_ad_doctor',
        namespace=namespace or None,
        cli_args=['--ros-args', *(word for rule in rules for word in rule)],
        start_parameter_services=False,
    )
    try:
        heard = _listen(node, seconds)
        for modality, topic in SENSOR_TOPICS.items():
            yield from _judge_sensor(node, modality, topic, heard)
        yield from _judge_transforms(node)
        yield from _judge_connections(node)
    finally:
        node.destroy_node()
        if own_context:
            rclpy.try_shutdown()


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

    for modality, topic in SENSOR_TOPICS.items():
        if modality is Modality.EVENT:
            continue
        listen(topic, KINDS[modality][0])
        if KINDS[modality] is IMAGE:
            listen(f'{topic}/compressed', COMPRESSED)
    topic = SENSOR_TOPICS[Modality.EVENT]
    callbacks = dict.fromkeys(EVENT_TYPES, hear(topic))
    events = EventInput(node, topic, qos, callbacks, lambda problem: None)  # the type is judged
    for topic in INFO_TOPICS.values():
        listen(topic, 'sensor_msgs/msg/CameraInfo')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        events.choose()
        executor.spin_once(timeout_sec=min(left, 0.1))
    executor.remove_node(node)
    return heard


def _judge_sensor(
    node: Node, modality: Modality, topic: str, heard: Mapping[str, Heard]
) -> Iterator[Finding]:
    """Say what is with one sensor."""
    names = [node.resolve_topic_name(topic)]
    accepted: list[tuple[str, ...]] = [KINDS[modality]]
    if KINDS[modality] is IMAGE:
        names.append(f'{names[0]}/compressed')
        accepted.append((COMPRESSED,))
    there = [
        (name, kinds, info)
        for name, kinds in zip(names, accepted, strict=True)
        for info in node.get_publishers_info_by_topic(name)
    ]
    if not there:
        yield Finding(
            str(modality),
            WARN if modality is Modality.CAMERA else NOTE,
            f'nobody publishes {" or ".join(names)}',
            f'start its driver, or say {topic}:=/its/topic; `ros2 topic list` shows what is there',
        )
        return
    for name, kinds, info in there:
        if info.topic_type not in kinds:
            mend = 'remap the right topic here'
            wrong = f'{name} is {info.topic_type}, not {" or ".join(kinds)}'
            yield Finding(str(modality), FAIL, wrong, mend)
        elif info.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT:
            yield Finding(
                str(modality),
                OK,
                f'{name} is best effort: qos.reliability must stay best_effort to match it',
            )
    came = [name for name in names if heard[name].arrivals]
    if not came:
        yield Finding(
            str(modality),
            WARN,
            f'{names[0]} is advertised but nothing came',
            'look at the driver; other machine: `sam_ad doctor` there, and the socket buffers',
        )
    for name in came:
        yield _judge_clock(f'{modality}', name, heard[name])
    if modality in INFO_TOPICS:
        yield from _judge_info(node, modality, heard)


def _judge_clock(what: str, name: str, heard: Heard) -> Finding:
    """Compare header stamps with the machine's clock."""
    ages = [a - s for a, s in zip(heard.arrivals, heard.stamps, strict=True)]
    age = statistics.median(ages)
    span = heard.arrivals[-1] - heard.arrivals[0]
    rate = f'{(len(ages) - 1) / span:.1f} Hz' if span > 0 else '1 message'
    if abs(age) <= MAX_CLOCK_ERROR_S:
        return Finding(what, OK, f'{name}: {rate}, stamps {1e3 * age:.0f} ms old on arrival')
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
    name = node.resolve_topic_name(INFO_TOPICS[modality])
    if not heard[name].arrivals:
        needed = 'no mask' if modality is Modality.CAMERA else f'{modality} is not used'
        yield Finding(
            str(modality),
            WARN,
            f'no {name}: {needed} without its geometry',
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


def _judge_connections(node: Node) -> Iterator[Finding]:
    """Say which of the package's nodes run, and with whom they cannot talk."""
    running = sorted(set(node.get_node_names()) & OUR_NODES)
    if not running:
        yield Finding('nodes', NOTE, 'none of this package runs in this ROS domain')
        return
    yield Finding('nodes', OK, f'{", ".join(running)} in this ROS domain')
    for topic, _ in node.get_topic_names_and_types():
        readers = node.get_subscriptions_info_by_topic(topic)
        for writer in node.get_publishers_info_by_topic(topic):
            for reader in readers:
                if not {writer.node_name, reader.node_name} & OUR_NODES:
                    continue
                fit, why = qos_check_compatible(writer.qos_profile, reader.qos_profile)
                if fit == QoSCompatibility.ERROR:
                    yield _mismatch(topic, writer.node_name, reader.node_name, why)


def _mismatch(topic: str, writer: str, reader: str, why: str) -> Finding:
    """Tell of a publisher and a subscription whose QoS keeps them apart."""
    if reader in OUR_NODES and 'reliable' in why.lower():
        mend = f'set qos.reliability to best_effort in the parameters of {reader}'
    else:
        mend = f'let {reader} ask for no more than {writer} offers'
    reason = why.removeprefix('ERROR: ').strip(' ;').lower()
    return Finding('QoS', FAIL, f'{topic}: nothing gets from {writer} to {reader}: {reason}', mend)
