"""What a replay publishes, under which name, in which order, and what it leaves out. No ROS."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sam_ad_perception.bags.reader import BagMessage, BagReader, BagTopic
from sam_ad_perception.bags.topics import ODOMETRY_TYPES, TopicMapping
from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.ros import topics as names

NS = 1_000_000_000


_OUTPUTS = {
    f'/{name}'
    for name in (
        names.MASK,
        names.CONFIDENCE,
        names.COLOR,
        names.OVERLAY,
        names.LABELLED_POINTS,
        names.STATUS,
        names.LABEL_INFO,
        names.DEPTH_RECT,
        names.DEPTH_RAW,
        names.DEPTH_INFO,
        names.MASK_INFO,
    )
}
_RESULTS = '/semantic/'
"""Below it lie all masks, those of selections too."""
_OWN = {'/clock', '/rosout', '/parameter_events', '/diagnostics'}
_STATIC, _MOVING, _INFO, _OTHER, _SENSOR = range(5)


@dataclass(frozen=True)
class Drop:
    """A time in which a sensor is unplugged.

    Attributes:
        sensor: camera, thermal, event, lidar, or the name of a recorded topic.
        start_s: From when, seconds after the start of the bag.
        end_s: Until when, seconds after the start of the bag.
    """

    sensor: str
    start_s: float
    end_s: float

    def covers(self, route: Route, seconds: float) -> bool:
        """Whether a message is left out.

        Args:
            route: Of the message's topic.
            seconds: When it was received, seconds after the start of the bag.

        Returns:
            True for one of the sensor's measurements in that time; its camera_info still comes,
            as from a camera that is plugged in but delivers nothing.
        """
        return self.sensor in (route.sensor, route.source) and self.start_s <= seconds < self.end_s


def parse_drop(text: str) -> Drop:
    """Read `SENSOR@START-END`, for example `thermal@2-4`; without END until the end of the bag.

    Args:
        text: What the user wrote.

    Returns:
        The drop.

    Raises:
        ValueError: It is not of that form.
    """
    number = r'\d+(?:\.\d*)?|\.\d+'
    found = re.fullmatch(rf'([A-Za-z_/][\w/]*)@({number})-({number})?', text)
    if not found:
        raise ValueError(f'a drop must be SENSOR@START-END in seconds, got {text!r}')
    sensor, start, end = found.groups()
    if not sensor.startswith('/') and sensor not in Modality:
        raise ValueError(
            f'a drop must name one of {[m.value for m in Modality]} or a topic, got {sensor!r}'
            f'{did_you_mean(sensor, Modality)}'
        )
    drop = Drop(sensor, float(start), float(end) if end else float('inf'))
    if drop.end_s <= drop.start_s:
        raise ValueError(f'a drop must end after it starts, got {text!r}')
    return drop


@dataclass(frozen=True)
class Route:
    """Where the messages of one recorded topic go.

    Attributes:
        source: Recorded topic.
        type: Its type.
        target: Topic that is published; relative for the nodes' inputs.
        order: Of messages received at the same time, those of lower order go first.
        sensor: Whose measurements these are, or None.
        latched: Whether it is published transient local.
        view: The camera view that alone reads it; '' for what all of them read.
    """

    source: str
    type: str
    target: str
    order: int
    sensor: Modality | None = None
    latched: bool = False
    view: str = ''


@dataclass(frozen=True)
class Plan:
    """What becomes of each recorded topic.

    Attributes:
        routes: By recorded topic.
        left_out: Topics that are not published, each with the reason.
        views: Names of the camera views; one empty name for a single camera.
    """

    routes: Mapping[str, Route]
    left_out: Mapping[str, str]
    views: tuple[str, ...] = ('',)

    def route_of(self, modality: Modality, view: str = '') -> Route | None:
        """The route of a sensor's measurements as a view reads them, or None."""
        fitting = (r for r in self.routes.values() if r.sensor is modality)
        return next((r for r in fitting if r.view in ('', view)), None)


def plan_routes(
    topics: Iterable[BagTopic],
    mapping: TopicMapping | Mapping[str, TopicMapping],
    refused: Mapping[str, str],
) -> Plan:
    """Decide where each topic goes.

    Sensors, their geometry and transforms go to the nodes' inputs, everything else keeps its name.
    Of several views each has its camera below its name, the others they have in common.
    What the nodes themselves publish is left out: a recorded mask would pass for a fresh one.

    Args:
        topics: The bag's topics.
        mapping: Which of them is which sensor; of each view by its name where there are several.
        refused: Types that cannot be published here, each with the reason.

    Returns:
        The plan.
    """
    listed = {topic.name: topic for topic in topics}
    routes: dict[str, Route] = {}
    left_out: dict[str, str] = {}

    def add(
        name: str, target: str, order: int, sensor: Modality | None = None, view: str = ''
    ) -> None:
        topic = listed[name]
        if topic.type in refused:
            left_out[name] = refused[topic.type]
        elif name not in routes:
            latched = topic.latched or order == _STATIC
            whole = names.in_view(view, target)
            routes[name] = Route(name, topic.type, whole, order, sensor, latched, view)

    # Sensors, their CameraInfo, transforms and odometry, of each view.
    mappings = {'': mapping} if isinstance(mapping, TopicMapping) else mapping
    for view, each in mappings.items():
        for modality, found in each.sensors.items():
            own = view if modality is Modality.CAMERA else ''
            if found.data:
                packed = listed[found.data].type.endswith('CompressedImage')
                target = modality.topic + ('/compressed' if packed else '')
                add(found.data, target, _SENSOR, modality, own)
            if found.info and modality.info_topic:
                add(found.info, modality.info_topic, _INFO, view=own)
        for name in each.tf_static:
            add(name, '/tf_static', _STATIC)
        for name in each.tf:
            add(name, '/tf', _MOVING)
        if each.odometry and listed[each.odometry].type == ODOMETRY_TYPES[0]:
            add(each.odometry, names.ODOMETRY, _MOVING)
    # All other topics keep their names, unless a node of ours publishes them.
    below = ['', *(f'/{view}' for view in mappings if view)]
    outputs = {f'{start}{name}' for start in below for name in _OUTPUTS}
    results = [f'{start}{_RESULTS}' for start in below]
    taken = {'/' + route.target.lstrip('/') for route in routes.values()}
    for name, topic in listed.items():
        if name in routes or name in left_out or not topic.count:
            continue
        if name in outputs or any(name.startswith(each) for each in results):
            left_out[name] = 'the nodes publish it'
        elif name in _OWN:
            left_out[name] = 'every replay has its own'
        elif name in taken:
            left_out[name] = 'another topic was mapped to this name'
        else:
            add(name, name, _OTHER)
    return Plan(routes, left_out, tuple(mappings))


@dataclass(frozen=True, eq=False)
class Item:
    """One message to publish.

    Attributes:
        route: Where it goes.
        message: What was recorded.
    """

    route: Route
    message: BagMessage


def first_items(reader: BagReader, plan: Plan, start_ns: int) -> list[Item]:
    """Collect what must be there before the first measurement.

    Args:
        reader: The bag.
        plan: Its routes.
        start_ns: Where the replay starts, nanoseconds.

    Returns:
        All fixed transforms of the bag, and what was latched before the start.
    """
    latched = [name for name, route in plan.routes.items() if route.latched]
    if not latched:
        return []
    return [
        Item(plan.routes[message.topic], message)
        for message in reader.messages(latched)
        if plan.routes[message.topic].order == _STATIC or message.received_ns < start_ns
    ]


def ordered_items(
    reader: BagReader,
    plan: Plan,
    drops: Sequence[Drop],
    start_ns: int,
    stop_ns: int | None,
) -> Iterator[Item]:
    """Read what is to be published, in the order of publishing.

    Args:
        reader: The bag.
        plan: Its routes.
        drops: What to leave out.
        start_ns: From this time on, nanoseconds.
        stop_ns: Before this time, nanoseconds; None for the end.

    Yields:
        The messages by the time at which they were received; of those received at one time,
        transforms first, then geometry, then everything else, then measurements, the sensor that
        leads last.
    """
    wanted = [n for n, r in plan.routes.items() if r.order != _STATIC]
    messages = reader.messages(wanted, start_ns=start_ns, stop_ns=stop_ns)
    for received_ns, group in itertools.groupby(messages, lambda m: m.received_ns):
        seconds = (received_ns - reader.start_ns) / NS
        items = [Item(plan.routes[message.topic], message) for message in group]
        for item in sorted(items, key=_order):
            if not any(drop.covers(item.route, seconds) for drop in drops):
                yield item


def _order(item: Item) -> tuple[int, int]:
    sensor = item.route.sensor
    return item.route.order, -list(Modality).index(sensor) if sensor is not None else 0


class Lead:
    """Tells which messages lead, as the node will decide it: for lockstep.

    A message leads while every sensor of higher priority is silent for longer than its rhythm and
    some grace explain. Where the first choice leads, the answer is certain; where another one
    leads, the node may see it differently by a frame.

    Args:
        plan: The routes.
        grace_s: What a sensor may be late, seconds.
        view: Whose masks they lead.
    """

    def __init__(self, plan: Plan, grace_s: float, view: str = '') -> None:
        self._grace_ns = int(grace_s * NS)
        leaders = [m for m in Modality if m.record.leads]
        self._sensors = [m for m in leaders if plan.route_of(m, view) is not None]
        self._last: dict[Modality, int] = {}
        self._intervals: dict[Modality, deque[int]] = {m: deque(maxlen=8) for m in Modality}
        self._begin_ns: int | None = None

    def leads(self, sensor: Modality, now_ns: int) -> bool:
        """Take note of a measurement, and say whether it leads.

        Args:
            sensor: Whose measurement.
            now_ns: When it was received, nanoseconds.

        Returns:
            Whether a mask or a drop with its stamp is to be expected.
        """
        if self._begin_ns is None:
            self._begin_ns = now_ns
        if sensor not in self._sensors:
            return False
        before = self._last.get(sensor)
        if before is not None and now_ns > before:
            self._intervals[sensor].append(now_ns - before)
        self._last[sensor] = now_ns
        ahead = self._sensors[: self._sensors.index(sensor)]
        return all(self._is_silent(other, now_ns) for other in ahead)

    def _is_silent(self, sensor: Modality, now_ns: int) -> bool:
        intervals = self._intervals[sensor]
        if not intervals:
            since = self._last.get(sensor, self._begin_ns)
            assert since is not None
            return now_ns - since > NS // 2 + self._grace_ns
        period_ns = int(statistics.median(intervals))
        return now_ns - self._last[sensor] > period_ns + self._grace_ns


def header_stamp(data: bytes) -> int | None:
    """Read the stamp of a serialized message that begins with a `std_msgs/Header`.

    Args:
        data: CDR bytes: four of encapsulation, then seconds and nanoseconds, 32 bits each.

    Returns:
        The stamp, nanoseconds; None where the data is too short.
    """
    if len(data) < 12:
        return None
    order = 'little' if data[1] & 1 else 'big'
    seconds = int.from_bytes(data[4:8], order, signed=True)  # type: ignore[arg-type]
    return seconds * NS + int.from_bytes(data[8:12], order)  # type: ignore[arg-type]


def is_stream(kind: str) -> bool:
    """Whether messages of a type come by the hundred per second: packets of events."""
    return kind.endswith(('EventPacket', 'EventArray'))
