"""One sensor of the test vehicle as a process of its own, which fails on command.

    python -m benchmarks.vehicle.sensor_process camera FOLDER --rate 10

`FOLDER` holds what `benchmarks.vehicle.content.render_content` rendered. Commands come on standard
input, one per line: `fault NAME [VALUE]`, `clear`. Messages are made as drivers make them: every
one has its own stamp, and the content goes round.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.vehicle.content import SENSOR_FRAMES, load_camera, load_frames, placement
from benchmarks.vehicle.noise import Noise
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.messages.from_ros import (
    array_to_image,
    camera_to_message,
    cloud_to_message,
    packet_to_message,
    transforms_to_message,
)
from sam_ad_perception.core.messages.serialized_stamp import replace_stamp
from sam_ad_perception.core.sensors import Events, Modality
from sam_ad_perception.nodes.ros.environment import prepare_environment

IMAGE = 'sensor_msgs/msg/Image'
INFO = 'sensor_msgs/msg/CameraInfo'
TOPICS = {
    str(m): (m.topic, m.record.message_types[0], m.info_topic)
    for m in Modality
    if m.record.simulation is not None
}
FAULTS = (
    *('silent', 'frozen', 'black', 'late', 'double_rate', 'wrong_encoding', 'truncated'),
    *('nan', 'clock', 'info'),
)


@dataclass(frozen=True)
class Fault:
    """What is wrong now: one of `FAULTS`, or nothing; `value` is in seconds where it is a time."""

    name: str = ''
    value: float = 0.0


class Sensor:
    """Makes the messages of one sensor.

    Args:
        name: Which sensor.
        folder: Its content.
    """

    def __init__(self, name: str, folder: Path) -> None:
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        self.name = name
        self.types = message_type
        self.frames = load_frames(folder, name)
        self.camera = None if name == 'lidar' else load_camera(folder, name)
        self.noise = Noise(self.frames)
        self.frozen: Any = None
        self.count = 0

    def message(self, stamp_ns: int, fault: Fault) -> Any:
        """Make the next message.

        Args:
            stamp_ns: When it was measured.
            fault: What is wrong with it.

        Returns:
            A ROS message.
        """
        content = self.frames[self.count % len(self.frames)]
        self.count += 1
        if fault.name == 'frozen':
            self.frozen = content if self.frozen is None else self.frozen
            content = self.frozen
        else:
            self.frozen = None
            content = self.noise.apply(content)
        make = {'event': self._packet, 'lidar': self._cloud}.get(self.name, self._image)
        return make(content, stamp_ns, fault)

    def info(self, stamp_ns: int, fault: Fault) -> Any:
        """Make the camera_info; the fault `info` makes the focal length 5 % longer."""
        assert self.camera is not None
        camera = self.camera
        if fault.name == 'info':
            K = camera.K.copy()
            K[0, 0] *= 1.05
            K[1, 1] *= 1.05
            camera = replace(camera, K=K)
        return camera_to_message(self.types, camera, stamp_ns)

    def _image(self, pixels: NDArray[Any], stamp_ns: int, fault: Fault) -> Any:
        if fault.name == 'black':
            pixels = np.zeros_like(pixels)
        encoding = 'mono16' if pixels.dtype == np.uint16 else 'rgb8'
        frame = SENSOR_FRAMES[self.name]
        message = array_to_image(self.types, pixels, encoding, stamp_ns, frame)
        if fault.name == 'wrong_encoding':
            message.encoding = 'rgb48x'
        if fault.name == 'truncated':
            message.data = message.data[: len(message.data) // 2]
        return message

    def _cloud(self, points: NDArray[np.void], stamp_ns: int, fault: Fault) -> Any:
        if fault.name in ('nan', 'black'):
            points = points.copy()
            for axis in 'xyz':
                points[axis] = np.nan
        message = cloud_to_message(self.types, points, stamp_ns, SENSOR_FRAMES['lidar'])
        if fault.name == 'wrong_encoding':
            message.fields[0].datatype = 77
        if fault.name == 'truncated':
            message.data = message.data[: len(message.data) // 2]
        return message

    def _packet(self, events: Events, stamp_ns: int, fault: Fault) -> Any:
        """Events of the 30 ms that end at the stamp; content is stored relative to its end."""
        count = 0 if fault.name == 'black' else events.t_ns.size
        moved = Events(
            events.x[:count],
            events.y[:count],
            events.polarity[:count],
            events.t_ns[:count] + stamp_ns,
            events.size,
        )
        packet = encode_packet(
            moved, 'evt3', seq=self.count, end_ns=stamp_ns, frame_id=SENSOR_FRAMES['event']
        )
        message = packet_to_message(self.types, packet)
        if fault.name == 'wrong_encoding':
            message.encoding = 'evt9'
        if fault.name == 'truncated':
            message.events = message.events[: len(message.events) // 2 - 1]
        return message


class SerializedSensor(Sensor):
    """Serializes its content once, and gives each message a stamp and noise: it costs little.

    It has no faults. Packets of events are made each time: their times are in their content.
    """

    def __init__(self, name: str, folder: Path) -> None:
        from rclpy.serialization import serialize_message

        super().__init__(name, folder)
        self._content: list[tuple[bytes, int]] = []
        if name != 'event':
            make = self._cloud if name == 'lidar' else self._image
            for frame in self.frames:
                data = serialize_message(make(frame, 0, Fault()))
                self._content.append((data, data.index(frame.tobytes())))

    def message(self, stamp_ns: int, fault: Fault) -> Any:
        """Make the next message, serialized where that is possible; see `Sensor.message`."""
        if not self._content:
            return super().message(stamp_ns, Fault())
        place = self.count % len(self._content)
        self.count += 1
        data, begin = self._content[place]
        changed, frame = bytearray(replace_stamp(data, stamp_ns)), self.frames[place]
        payload = np.frombuffer(changed, frame.dtype, frame.size, begin)
        self.noise.add(payload.reshape(frame.shape))
        return bytes(changed)


class Commands:
    """Reads standard input in a thread of its own."""

    def __init__(self) -> None:
        self.fault = Fault()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            word, *rest = line.split()
            if word == 'fault':
                assert rest[0] in FAULTS, rest
                self.fault = Fault(rest[0], float(rest[1]) if len(rest) > 1 else 0.0)
            elif word == 'clear':
                self.fault = Fault()
        self.ended = True


def run_sensor(name: str, folder: Path, rate: float, *, serialized: bool = False) -> None:
    """Publish until standard input ends; leave the stamps of all messages in a file.

    Args:
        name: Which sensor.
        folder: Its content; `<name>.stamps` goes there, one stamp a line, nanoseconds.
        rate: Messages per second.
        serialized: Whether messages are serialized once, so that publishing costs little.
    """
    import rclpy

    from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

    rclpy.init()
    node = rclpy.create_node(f'{name}_driver', start_parameter_services=False)
    topic, kind, info_topic = TOPICS[name]
    publisher = node.create_publisher(message_type(kind), topic, 10)
    infos = node.create_publisher(message_type(INFO), info_topic, 10) if info_topic else None
    sensor = (SerializedSensor if serialized else Sensor)(name, folder)
    commands, stamps = Commands(), []
    delayed: deque[tuple[float, Any]] = deque()
    begin, tick = time.monotonic(), 0
    while not commands.ended:
        fault = commands.fault
        double = fault.name == 'double_rate'
        tick += 1
        while (left := begin + tick / (2 * rate) - time.monotonic()) > 0:
            time.sleep(min(left, 0.002))
            while delayed and delayed[0][0] <= time.monotonic():
                publisher.publish(delayed.popleft()[1])
        if left < -1.0:  # after a stop: go on from now, do not catch up
            begin, tick = time.monotonic(), 0
        if fault.name == 'silent' or (tick % 2 and not double):
            continue
        stamp_ns = time.time_ns() + (int(fault.value * 1e9) if fault.name == 'clock' else 0)
        message = sensor.message(stamp_ns, fault)
        if infos is not None:
            infos.publish(sensor.info(stamp_ns, fault))
        if fault.name == 'late':
            delayed.append((time.monotonic() + fault.value, message))
        else:
            publisher.publish(message)
            stamps.append(stamp_ns)
    (folder / f'{name}.stamps').write_text('\n'.join(map(str, stamps)))
    node.destroy_node()
    rclpy.shutdown()


def run_placement(folder: Path) -> None:
    """Publish the fixed transforms until standard input ends."""
    import rclpy

    from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, message_type

    rclpy.init()
    node = rclpy.create_node('placement', start_parameter_services=False)
    publisher = node.create_publisher(
        message_type('tf2_msgs/msg/TFMessage'), '/tf_static', LATCHED_QOS
    )
    publisher.publish(transforms_to_message(message_type, placement(folder)))
    commands = Commands()
    while not commands.ended:
        time.sleep(0.05)
    node.destroy_node()
    rclpy.shutdown()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sensor', choices=[*TOPICS, 'placement'])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--rate', type=float, default=10.0)
    parser.add_argument('--serialized', action='store_true', help='serialize once')
    options = parser.parse_args()
    prepare_environment()
    if options.sensor == 'placement':
        run_placement(options.folder)
    else:
        run_sensor(options.sensor, options.folder, options.rate, serialized=options.serialized)


if __name__ == '__main__':
    main()
