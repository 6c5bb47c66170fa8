"""Real ROS 2 for the tests: nodes of their own, messages of a vehicle, and bounded waiting."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel, Events
from test.pictures import camera_picture


class Graph:
    """One context with one node and its executor, on this thread.

    Attributes:
        node: For the test's publishers, subscriptions and clients.
    """

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = rclpy.create_node('observer', context=self.context)
        self.executor.add_node(self.node)

    def until(self, done, what: str, timeout: float = 20.0) -> None:
        """Spin until `done()` is true; fail with `what` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                pytest.fail(f'waited {timeout:.0f} s for {what}')
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float) -> None:
        """Spin for a time: only to see that something does *not* happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def result(self, future, what: str, timeout: float = 20.0):
        """Spin until a future is done."""
        self.until(future.done, what, timeout)
        return future.result()

    def close(self) -> None:
        """Shut this context down."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(scope='module')
def graph(ros_domain):
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    made = Graph(ros_domain)
    yield made
    made.close()


@pytest.fixture
def driver(graph, ros_domain):
    """A node in a context of its own: one context has one type for a topic."""
    other = type(graph)(ros_domain)
    yield other.node
    other.close()


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory):
    """Arguments that make the segmentation node run an untrained network of 0.2 M parameters."""
    from safetensors.torch import save_file

    from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

    folder = tmp_path_factory.mktemp('tiny')
    text = (Path(__file__).parents[1] / 'tiny_zoo.yaml').read_text()
    for plain, other in (
        ('thermal_percentile}', 'thermal_fixed_range, low: 275.0, high: 315.0, alignment: depth}'),
        ('lidar_image}', 'lidar_image}\n      depth: {representation: depth_image}'),
    ):
        assert plain in text
        text = text.replace(plain, other)
    (folder / 'zoo.yaml').write_text(text)
    state = build_model(load_zoo(folder / 'zoo.yaml')['tiny']).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / 'tiny.safetensors')
    values = {
        'model.key': 'tiny',
        'model.zoo': folder / 'zoo.yaml',
        'model.checkpoint_dir': folder,
        'model.threads': 1,
    }
    return [argument for name, value in values.items() for argument in ('-p', f'{name}:={value}')]


class NodeProcess:
    """A node as a process of its own, with its output in a file."""

    def __init__(self, log: Path, name: str, arguments: list[str]) -> None:
        self.log = log
        module = 'sam_ad_perception.' + ('commands.cli' if name == 'doctor' else 'nodes')
        with log.open('wb') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-m', module, name, *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors='replace')

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def shared_memory(self) -> set[str]:
        """Files in /dev/shm that it has mapped."""
        maps = Path(f'/proc/{self.process.pid}/maps').read_text().splitlines()
        return {line.split()[-1] for line in maps if '/dev/shm/fastrtps_' in line}

    def end(self, number: int = signal.SIGINT, timeout: float = 20.0) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds it took to leave."""
        begin = time.monotonic()
        if self.running:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f'the node did not leave within {timeout} s:\n{self.output}')
        return code, time.monotonic() - begin


@pytest.fixture(scope='module')
def start(ros_domain, tmp_path_factory):
    """Starts nodes as processes in the module's domain; ends them with the module."""
    started: list[NodeProcess] = []

    def start_node(
        name: str, *arguments: str, ros: tuple[str, ...] | list[str] = ()
    ) -> NodeProcess:
        log = tmp_path_factory.mktemp('node') / f'{name}.log'
        ros_arguments = ['--ros-args', *ros] if ros else []
        started.append(NodeProcess(log, name, [*arguments, *ros_arguments]))
        return started[-1]

    yield start_node
    for each in started:
        code, _ = each.end()
        assert code in (0, 1, 2), each.output


class Sensors:
    """Messages of the sensors of a small vehicle, for rclpy or for a bag.

    Args:
        types: Message name to class.
    """

    size = (48, 64)
    frames = ('camera', 'thermal', 'event', 'depth')

    def __init__(self, types: from_ros.MessageTypes) -> None:
        self.types = types
        self.rng = np.random.default_rng(0)
        self.seq = 0
        self.turned = 0
        self.heat = 28000 + 12.0 * camera_picture(self.rng, self.size)[..., 0]

    def camera(self, name: str) -> CameraModel:
        """Geometry of an image-like sensor."""
        height, width = self.size
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        return CameraModel(width, height, K, frame_id=f'{name}_optical')

    def geometry(self, name: str, stamp_ns: int) -> Any:
        """Make a camera_info."""
        return from_ros.camera_to_message(self.types, self.camera(name), stamp_ns)

    def places(self) -> Any:
        """The fixed transforms: 5 cm between all sensors, the lidar turned to REP 103."""
        links = []
        optical = [f'{name}_optical' for name in self.frames]
        for i, child in enumerate((*optical[:3], 'lidar', *optical[3:])):
            T = np.eye(4)
            T[0, 3] = 0.05 * i
            if child != 'lidar':
                T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
            links.append(('base_link', child, 0, T))
        return from_ros.transforms_to_message(self.types, links)

    def image(self, name: str, stamp_ns: int) -> Any:
        """Make a picture; pure noise would be a fault of a camera or a thermal camera."""
        encoding, low, high, code = {
            'camera': ('rgb8', 0, 255, np.uint8),
            'depth': ('16UC1', 2000, 9000, np.uint16),
            'thermal': ('mono16', 28000, 31000, np.uint16),
        }[name]
        shape = self.size
        pixels = self.rng.integers(low, high, shape).astype(code)
        if name == 'camera':
            pixels = camera_picture(self.rng, self.size)
        elif name == 'thermal':
            # one scene that the vehicle turns past: unrelated pictures count as noise
            self.turned += 1
            pixels = np.roll(self.heat, self.turned, axis=1)
            pixels = (pixels + self.rng.normal(0, 5, shape)).astype(code)
        frame = f'{name}_optical'
        return from_ros.array_to_image(self.types, pixels, encoding, stamp_ns, frame)

    def cloud(self, stamp_ns: int, points: np.ndarray | None = None) -> Any:
        """Make a sweep of points ahead of the vehicle, lidar frame (x forward)."""
        if points is None:
            points = self.rng.uniform((3, -4, -2), (40, 4, 2), (400, 3))
        cloud = np.zeros(len(points), [(axis, '<f4') for axis in 'xyz'] + [('intensity', '<f4')])
        for axis, column in zip('xyz', np.asarray(points).T, strict=True):
            cloud[axis] = column
        return from_ros.cloud_to_message(self.types, cloud, stamp_ns, 'lidar')

    def packet(self, stamp_ns: int) -> Any:
        """Make a packet of the last 30 ms."""
        height, width = self.size
        count = 200
        t_ns = np.sort(self.rng.integers(stamp_ns - 29_000_000, stamp_ns - 1_000_000, count))
        events = Events(
            self.rng.integers(0, width, count).astype(np.uint16),
            self.rng.integers(0, height, count).astype(np.uint16),
            self.rng.random(count) < 0.5,
            t_ns // 1000 * 1000,
            self.size,
        )
        self.seq += 1
        packet = encode_packet(
            events, 'evt3', seq=self.seq, end_ns=stamp_ns, frame_id='event_optical'
        )
        return from_ros.packet_to_message(self.types, packet)


class Vehicle(Sensors):
    """The sensors on DDS, and ears for what perception says about them.

    Attributes:
        heard: Messages by topic, in the order of arrival.
    """

    outputs: ClassVar = {
        'semantic/image': 'sensor_msgs/msg/Image',
        'semantic/confidence': 'sensor_msgs/msg/Image',
        'semantic/status': 'diagnostic_msgs/msg/DiagnosticArray',
        'depth_registered/image_rect': 'sensor_msgs/msg/Image',
        'depth_registered/camera_info': 'sensor_msgs/msg/CameraInfo',
        'semantic/label_info': 'vision_msgs/msg/LabelInfo',
        '/diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
    }

    def __init__(self, graph: Graph, outputs: dict[str, str] | None = None) -> None:
        from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, message_type

        super().__init__(message_type)
        self.graph = graph
        self.stamp_ns = time.time_ns()
        kinds = {
            'camera/image_rect': 'sensor_msgs/msg/Image',
            'camera/camera_info': 'sensor_msgs/msg/CameraInfo',
            'thermal/image_rect': 'sensor_msgs/msg/Image',
            'thermal/camera_info': 'sensor_msgs/msg/CameraInfo',
            'events': 'event_camera_msgs/msg/EventPacket',
            'events/camera_info': 'sensor_msgs/msg/CameraInfo',
            'points': 'sensor_msgs/msg/PointCloud2',
            'depth/image_rect': 'sensor_msgs/msg/Image',
            'depth/camera_info': 'sensor_msgs/msg/CameraInfo',
            '/tf_static': 'tf2_msgs/msg/TFMessage',
        }
        self.publishers = {
            name: graph.node.create_publisher(
                message_type(kind), name, LATCHED_QOS if name == '/tf_static' else 100
            )
            for name, kind in kinds.items()
        }
        self.heard: dict[str, list[Any]] = {}
        for name, kind in (outputs or self.outputs).items():
            self.listen(name, kind)

    def listen(self, name: str, kind: str) -> None:
        """Subscribe to one more topic."""
        from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS

        self.heard[name] = []
        self.graph.node.create_subscription(
            self.types(kind),
            name,
            self.heard[name].append,
            LATCHED_QOS if name == 'semantic/label_info' else 100,
        )

    def publish(self, topic: str, message: Any) -> None:
        """Publish any message."""
        self.publishers[topic].publish(message)

    def place_sensors(self) -> None:
        """Publish the fixed transforms."""
        self.publish('/tf_static', self.places())

    def tell_geometry(self, stamp_ns: int, names: tuple[str, ...] = Sensors.frames) -> None:
        """Publish camera_info."""
        for name in names:
            topic = 'events' if name == 'event' else name
            self.publish(f'{topic}/camera_info', self.geometry(name, stamp_ns))

    def drive(self, sensors: tuple[str, ...], geometry: tuple[str, ...] = Sensors.frames) -> int:
        """Publish one round of measurements, stamped now; return the stamp."""
        # The camera is the first that could lead: after a pause whoever comes first does.
        self.stamp_ns = max(time.time_ns(), self.stamp_ns + 50_000_000)
        stamp_ns = self.stamp_ns
        self.tell_geometry(stamp_ns, geometry)
        makers: dict[str, tuple[str, Callable[[int], Any]]] = {
            'lidar': ('points', self.cloud),
            'camera': ('camera/image_rect', lambda t: self.image('camera', t)),
            'thermal': ('thermal/image_rect', lambda t: self.image('thermal', t)),
            'event': ('events', self.packet),
            'depth': ('depth/image_rect', lambda t: self.image('depth', t)),
        }
        for sensor, (topic, build) in makers.items():
            if sensor in sensors:
                self.publish(topic, build(stamp_ns))
        return stamp_ns

    def stamps(self, topic: str) -> list[int]:
        """Stamps heard on a topic."""
        return [from_ros.stamp_of(message) for message in self.heard[topic]]

    def at(self, topic: str, stamp_ns: int) -> Any:
        """The message of a stamp, or None."""
        found = (m for m in self.heard[topic] if from_ros.stamp_of(m) == stamp_ns)
        return next(found, None)

    def wait_for_perception(self) -> None:
        """Wait until every output is matched, and every input has a subscriber."""
        node = self.graph.node

        def ready() -> bool:
            return all(p.get_subscription_count() for p in self.publishers.values()) and all(
                node.count_publishers(node.resolve_topic_name(name)) for name in self.heard
            )

        self.graph.until(ready, 'perception to be there', timeout=90.0)

    def drive_until(
        self, done: Callable[[], bool], what: str | Callable[[], str], sensors: tuple[str, ...]
    ) -> None:
        """Publish rounds at 10 Hz until something is true."""
        end = time.monotonic() + 30.0
        while not done():
            if time.monotonic() > end:
                pytest.fail(f'drove 30 s for {what() if callable(what) else what}')
            self.drive(sensors)
            self.graph.spin(0.1)

    def diagnosis(self, name: str) -> tuple[int, str, dict[str, str]] | None:
        """The latest entry of /diagnostics with this name: level, message, values."""
        for array in reversed(self.heard['/diagnostics']):
            for entry in array.status:
                if entry.name.endswith(f': {name}'):
                    values = {pair.key: pair.value for pair in entry.values}
                    return int.from_bytes(entry.level, 'little'), entry.message, values
        return None


@pytest.fixture(scope='module')
def vehicle(graph):
    return Vehicle(graph)


@pytest.fixture(scope='session')
def vehicle_type():
    """The class, for a module whose vehicle listens to other topics."""
    return Vehicle


@pytest.fixture(scope='session')
def small_bag(tmp_path_factory):
    """A drive of two seconds at 10 Hz with camera, thermal and lidar; all received at one time."""
    from sam_ad_perception.bags.writer import BagWriter

    folder = tmp_path_factory.mktemp('bag') / 'drive'
    image, info = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
    with BagWriter(folder) as writer:
        sensors = Sensors(writer.types)
        kinds = {
            '/camera/image_rect': (image, lambda t: sensors.image('camera', t)),
            '/thermal/image_rect': (image, lambda t: sensors.image('thermal', t)),
            '/points': ('sensor_msgs/msg/PointCloud2', sensors.cloud),
            '/camera/camera_info': (info, lambda t: sensors.geometry('camera', t)),
            '/thermal/camera_info': (info, lambda t: sensors.geometry('thermal', t)),
        }
        for name, (kind, _) in kinds.items():
            writer.add_topic(name, kind)
        writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
        begin_ns = 1_700_000_000_000_000_000
        writer.write('/tf_static', sensors.places(), begin_ns)
        for i in range(20):
            stamp_ns = begin_ns + i * 100_000_000
            for name, (_, build) in kinds.items():
                writer.write(name, build(stamp_ns), stamp_ns)
    return folder
