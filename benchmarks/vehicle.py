"""A vehicle for the benchmarks: every sensor and perception itself as real processes over DDS.

The content is rendered once by the simulator and goes round; the sensors are
`benchmarks.sensor_process`, which fail on command or are killed and stopped from outside.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.conversions import stamp_of
from sam_ad_perception.core.sensors import CameraModel, Events, Modality
from sam_ad_perception.core.status import FrameStatus, from_key_values

SENSORS = ('camera', 'thermal', 'event', 'lidar')
SENSOR_FRAMES = {
    'camera': 'camera_optical',
    'thermal': 'thermal_optical',
    'event': 'event_optical',
    'lidar': 'lidar',
}

SMALLEST_ZOO = """
models:
  smallest:
    builder: mle_sam
    arguments:
      encoder: micro
      lora: {rank: 2, dims: out}
      fusion: {top_k: 2, combination: mean, hidden: [8, 8, 8]}
      decoder_mlp_dim: 16
      object_scores: false
    modalities:
      camera: {representation: rgb}
      thermal: {representation: thermal_percentile}
      event: {representation: event_counts}
      lidar: {representation: lidar_image}
    input_size: [64, 96]
    label_space: cityscapes
    checkpoint: {file: smallest.safetensors}
"""


def render_content(folder: Path, frames: int = 12, rate: float = 10.0, seed: int = 3) -> None:
    """Render a short drive that goes round.

    Args:
        folder: Where it goes.
        frames: Frames of each sensor.
        rate: Frames per second of the drive.
        seed: Of the street.
    """
    from sam_ad_perception.simulation.drive import Drive, DriveConfig

    folder.mkdir(parents=True, exist_ok=True)
    drive = Drive(DriveConfig(seed=seed, duration_s=frames / rate + 1))
    content: dict[str, Any] = {}
    for index in range(frames):
        stamp_ns = drive.config.start_ns + int((0.5 + index / rate) * 1e9)
        bundle, _ = drive.bundle(stamp_ns)
        for modality in (Modality.CAMERA, Modality.THERMAL):
            content[f'{modality}_{index}'] = bundle.frames[modality].data
        events = bundle.frames[Modality.EVENT].data
        assert isinstance(events, Events)
        content |= {
            f'event_{index}_{name}': getattr(events, name) for name in ('x', 'y', 'polarity')
        } | {f'event_{index}_t': events.t_ns - stamp_ns}
        content[f'lidar_{index}'] = _structured(bundle.frames[Modality.LIDAR].data)
    for modality, camera in drive.cameras.items():
        content[f'{modality}_K'] = camera.K
        content[f'{modality}_D'] = camera.D
        content[f'{modality}_size'] = np.array(camera.size)
    for modality, T in drive.T_base.items():
        content[f'{modality}_T'] = T
    content['frames'] = np.array(frames)
    np.savez(folder / 'content.npz', **content)


def _structured(cloud: Any) -> NDArray[np.void]:
    """A point cloud as a driver lays it out."""
    points = np.zeros(len(cloud.points), [(n, '<f4') for n in ('x', 'y', 'z', 'intensity')])
    for axis, name in enumerate('xyz'):
        points[name] = cloud.points[:, axis]
    if cloud.intensity is not None:
        points['intensity'] = cloud.intensity
    return points


def load_frames(folder: Path, sensor: str) -> list[Any]:
    """Load the content of one sensor.

    Args:
        folder: Where `render_content` put it.
        sensor: Which.

    Returns:
        (H, W, 3) uint8, (H, W) uint16, structured points, or `Events` with times relative to
        the end of their window.
    """
    with np.load(folder / 'content.npz') as content:
        count = int(content['frames'])
        if sensor != 'event':
            return [content[f'{sensor}_{index}'] for index in range(count)]
        size = (int(content['event_size'][0]), int(content['event_size'][1]))
        return [
            Events(
                *(content[f'event_{index}_{name}'] for name in ('x', 'y', 'polarity', 't')), size
            )
            for index in range(count)
        ]


def load_camera(folder: Path, sensor: str) -> CameraModel:
    """Load the geometry of an image-like sensor."""
    with np.load(folder / 'content.npz') as content:
        height, width = map(int, content[f'{sensor}_size'])
        K, D = content[f'{sensor}_K'], content[f'{sensor}_D']
    return CameraModel(width, height, K, D, frame_id=SENSOR_FRAMES[sensor])


def placement(folder: Path) -> list[tuple[str, str, int, NDArray[np.float64]]]:
    """Load the fixed transforms: parent, child, stamp, (4, 4) `T_parent_child`.

    The vehicle stands still: its content goes round, and where it goes to is told by nobody.
    """
    at_rest = ('odom', 'base_link', 0, np.eye(4))
    with np.load(folder / 'content.npz') as content:
        return [at_rest, *(('base_link', SENSOR_FRAMES[s], 0, content[f'{s}_T']) for s in SENSORS)]


def write_smallest_network(folder: Path) -> list[str]:
    """Write a zoo with one untrained network of 0.2 M parameters.

    Args:
        folder: Where zoo and checkpoint go.

    Returns:
        ROS arguments that make the segmentation node run it.
    """
    from safetensors.torch import save_file

    from sam_ad_perception.modeling.zoo import build_model, load_zoo

    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'zoo.yaml').write_text(SMALLEST_ZOO)
    state = build_model(load_zoo(folder / 'zoo.yaml')['smallest']).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / 'smallest.safetensors')
    values = {
        'key': 'smallest',
        'zoo': folder / 'zoo.yaml',
        'checkpoint_dir': folder,
        'threads': 1,
    }
    return [word for name, value in values.items() for word in ('-p', f'model.{name}:={value}')]


class Part:
    """One process of the vehicle.

    Args:
        command: Arguments of the interpreter.
        log: File of what it prints.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.command = list(command)
        self.log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open('ab') as stream:
            return subprocess.Popen(
                [sys.executable, *self.command],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def tell(self, line: str) -> None:
        """Send a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f'{line}\n'.encode())
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again after it was killed."""
        self.process = self._start()

    def end(self, timeout: float = 10.0) -> int:
        """End it in an orderly way; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()  # type: ignore[union-attr]
            if 'benchmarks.sensor_process' not in self.command:
                self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


@dataclass
class Heard:
    """What perception said.

    Attributes:
        masks: (arrival, steady seconds; stamp, ns; age at the arrival, seconds) of each mask.
        statuses: (arrival, the status) of each reference frame.
        problems: (arrival, text) of each ERROR on /diagnostics.
    """

    masks: list[tuple[float, int, float]] = field(default_factory=list)
    statuses: list[tuple[float, FrameStatus]] = field(default_factory=list)
    problems: list[tuple[float, str]] = field(default_factory=list)


class Vehicle:
    """Sensors, perception, and somebody who listens; see `drive`."""

    def __init__(self, folder: Path, node: Any, executor: Any) -> None:
        self.folder = folder
        self.parts: dict[str, Part] = {}
        self.heard = Heard()
        self._node = node
        self._executor = executor
        self._listen()

    def start(self, name: str, *arguments: str) -> Part:
        """Start a sensor, `placement`, `faulty_network`, or a node by its module's name."""
        if name in (*SENSORS, 'placement'):
            command = ['-m', 'benchmarks.sensor_process', name, str(self.folder), *arguments]
        elif name == 'faulty_network':
            command = ['-m', 'benchmarks.faulty_network', *arguments]
        else:
            command = ['-m', f'sam_ad_perception.nodes.{name}', *arguments]
        part = self.parts[name] = Part(command, self.folder / f'{name}.log')
        return part

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.until(lambda: False, seconds)

    def until(self, done: Callable[[], object], timeout: float) -> bool:
        """Let time pass until something holds; tell whether it does."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.01)
            if done():
                return True
        return False

    def await_masks(
        self, timeout: float = 60.0, sensors: Sequence[str] = SENSORS
    ) -> tuple[float, FrameStatus]:
        """Wait for a mask from these sensors, others besides.

        Args:
            timeout: Longest wait, seconds.
            sensors: Which.

        Returns:
            The arrival and the content of the first such status.

        Raises:
            RuntimeError: None came; with what was printed.
        """
        begin, wanted = len(self.heard.statuses), set(sensors)

        def complete() -> list[tuple[float, FrameStatus]]:
            fresh = self.heard.statuses[begin:]
            return [each for each in fresh if wanted <= set(each[1].used)]

        if not self.until(complete, timeout):
            last = self.heard.statuses[-1:] or self.heard.problems[-1:]
            logs = '\n'.join(
                f'{name}: {part.log.read_text(errors="replace")[-1000:]}'
                for name, part in self.parts.items()
            )
            raise RuntimeError(f'no mask from {sensors} within {timeout} s, last {last}\n{logs}')
        return complete()[0]

    def transition(self, name: str, timeout: float = 60.0) -> bool:
        """Ask the segmentation node for a transition of its life.

        Args:
            name: `configure`, `activate`, `deactivate` or `cleanup`.
            timeout: Longest wait, seconds.

        Returns:
            Whether it succeeded.
        """
        from lifecycle_msgs.srv import ChangeState

        client = self._node.create_client(ChangeState, '/segmentation/change_state')
        request = ChangeState.Request()
        request.transition.label = name
        try:
            if not self.until(client.service_is_ready, timeout):
                return False
            answer = client.call_async(request)
            return self.until(answer.done, timeout) and bool(answer.result().success)
        finally:
            self._node.destroy_client(client)

    def _listen(self) -> None:
        from sam_ad_perception.nodes.ros import message_type

        def mask(message: Any) -> None:
            stamp_ns = stamp_of(message)
            age_s = 1e-9 * (time.time_ns() - stamp_ns)
            self.heard.masks.append((time.monotonic(), stamp_ns, age_s))

        def status(message: Any) -> None:
            pairs = [(each.key, each.value) for each in message.status[0].values]
            self.heard.statuses.append(
                (time.monotonic(), from_key_values(stamp_of(message), pairs))
            )

        def diagnostics(message: Any) -> None:
            self.heard.problems += [
                (time.monotonic(), f'{each.name}: {each.message}')
                for each in message.status
                if each.level == b'\x02'
            ]

        for topic, kind, take in (
            ('semantic/image', 'sensor_msgs/msg/Image', mask),
            ('semantic/status', 'diagnostic_msgs/msg/DiagnosticArray', status),
            ('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', diagnostics),
        ):
            self._node.create_subscription(message_type(kind), topic, take, 100)


@contextmanager
def drive(folder: Path) -> Iterator[Vehicle]:
    """Make a vehicle in a ROS domain of its own; its parts end with the block.

    Args:
        folder: Where `render_content` put the content; logs go there, too.

    Yields:
        A vehicle without parts.
    """
    from sam_ad_perception.nodes.environment import prepare_environment

    prepare_environment()
    os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(1, 100)))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('passenger', context=context, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    vehicle = Vehicle(folder, node, executor)
    try:
        yield vehicle
    finally:
        for part in vehicle.parts.values():
            part.end()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
