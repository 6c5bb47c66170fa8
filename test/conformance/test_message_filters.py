"""The policy `approximate` of the synchronizer node against message_filters itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    'message_filters', reason='message_filters is not installed (not in the wheels)'
)
pytest.importorskip('rclpy', reason='rclpy is not installed')

import message_filters
from sensor_msgs.msg import Image

from sam_ad_perception.core.messages.to_ros import ns_to_stamp
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.ros.message_filters import ApproximateSynchronizer
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.LIDAR)


@dataclass(frozen=True)
class Arrival:
    sensor: Any
    stamp_ns: int
    at_ns: int


def arrivals(rng):
    """Sensors of different rates that jitter, lose messages and are late."""
    made = []
    for sensor, period in zip(SENSORS, (50, 33, 100), strict=True):
        for i in range(60):
            if rng.random() < 0.15:
                continue
            stamp_ns = int(1e6 * (1000 + i * period + rng.normal(0, 4)))
            made.append(Arrival(sensor, stamp_ns, stamp_ns + int(rng.uniform(1e6, 9e7))))
    return sorted(made, key=lambda each: each.at_ns)


@pytest.mark.parametrize('seed', range(25))
def test_sets_are_those_of_message_filters(seed, count):
    rng = np.random.default_rng(seed)
    queue, slop_s = int(rng.integers(2, 15)), float(rng.uniform(0.005, 0.06))
    filters = {sensor: message_filters.SimpleFilter() for sensor in SENSORS}
    synchronizer = message_filters.ApproximateTimeSynchronizer(
        list(filters.values()), queue, slop_s
    )
    theirs = []
    synchronizer.registerCallback(
        lambda *images: theirs.append(
            tuple(i.header.stamp.sec * 10**9 + i.header.stamp.nanosec for i in images)
        )
    )
    own, ours = ApproximateSynchronizer(SENSORS, queue, slop_s), []
    for each in arrivals(rng):
        image = Image()
        image.header.stamp = ns_to_stamp(message_type, each.stamp_ns)
        filters[each.sensor].signalMessage(image)
        sets = own.add(each.sensor, each.stamp_ns, b'', each.at_ns)
        ours += [tuple(made.items[sensor][0] for sensor in SENSORS) for made in sets]
    assert ours == theirs
    assert theirs
    count('message_filters', 'sets', len(theirs))
