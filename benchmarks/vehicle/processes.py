"""A vehicle for the benchmarks: every sensor and perception itself as real processes over DDS.

The sensors are `benchmarks.vehicle.sensor_process`, which show `benchmarks.vehicle.content`, and
fail on command or are killed and stopped from outside.
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

from benchmarks.vehicle.content import SENSORS
from sam_ad_perception.core.messages.from_ros import stamp_of
from sam_ad_perception.core.messages.serialized_stamp import read_stamp
from sam_ad_perception.core.status import FrameStatus, from_key_values

BENCHMARK_PARTS = ('faulty_network', 'echo')
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


def write_smallest_network(folder: Path) -> list[str]:
    """Write a zoo with one untrained network of 0.2 M parameters.

    Args:
        folder: Where zoo and checkpoint go.

    Returns:
        ROS arguments that make the segmentation node run it.
    """
    from safetensors.torch import save_file

    from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

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

    def leave(self, timeout: float = 20.0) -> tuple[float, int]:
        """Tell it to leave by SIGTERM.

        Args:
            timeout: Longest wait, seconds; then it is killed.

        Returns:
            Seconds that it took, exit code.
        """
        begin = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.returncode
        return time.monotonic() - begin, code

    def shared_memory(self) -> set[Path]:
        """Find the files of DDS in shared memory that are its own; ports belong to the domain."""
        maps = Path(f'/proc/{self.process.pid}/maps').read_text().splitlines()
        files = {line.split()[-1] for line in maps if '/dev/shm/fastrtps_' in line}
        others = Path('/proc/self/maps').read_text()
        return {Path(file) for file in files if '_port' not in file and file not in others}

    def end(self, timeout: float = 10.0) -> int:
        """End it in an orderly way; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()  # type: ignore[union-attr]
            if self.command[1] != 'benchmarks.vehicle.sensor_process':
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
        lost: (time, ns; camera images lost on the way) of each /diagnostics, as perception says.
    """

    masks: list[tuple[float, int, float]] = field(default_factory=list)
    statuses: list[tuple[float, FrameStatus]] = field(default_factory=list)
    problems: list[tuple[float, str]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)


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
        """Start a sensor, `placement`, another part of the benchmarks, or a node by its module.

        Args:
            name: For example `camera`, `faulty_network`, `echo`, `segmentation_node`.
            *arguments: Of its command line.

        Returns:
            The part.
        """
        if name in (*SENSORS, 'placement'):
            module = 'benchmarks.vehicle.sensor_process'
            command = ['-m', module, name, str(self.folder), *arguments]
        elif name in BENCHMARK_PARTS:
            command = ['-m', f'benchmarks.vehicle.{name}', *arguments]
        else:
            command = ['-m', 'sam_ad_perception.nodes', name, *arguments]
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

    def listen(self, topic: str) -> set[int]:
        """Listen to one more topic of images.

        Args:
            topic: Its name.

        Returns:
            Filled, as time passes, with the stamps of what comes, nanoseconds.
        """
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        stamps: set[int] = set()
        self._node.create_subscription(
            message_type('sensor_msgs/msg/Image'),
            topic,
            lambda data: stamps.add(read_stamp(data)),
            100,
            raw=True,
        )
        return stamps

    def _listen(self) -> None:
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        def mask(data: bytes) -> None:
            stamp_ns = read_stamp(data)
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
            for each in message.status:
                for pair in each.values:
                    if each.name.endswith(': camera') and pair.key == 'lost':
                        self.heard.lost.append((stamp_of(message), int(pair.value)))

        image, array = map(
            message_type, ('sensor_msgs/msg/Image', 'diagnostic_msgs/msg/DiagnosticArray')
        )
        # Only the stamps of the masks are looked at.
        self._node.create_subscription(image, 'semantic/image', mask, 100, raw=True)
        self._node.create_subscription(array, 'semantic/status', status, 100)
        self._node.create_subscription(array, '/diagnostics', diagnostics, 100)


@contextmanager
def drive(folder: Path) -> Iterator[Vehicle]:
    """Make a vehicle in a ROS domain of its own; its parts end with the block.

    Args:
        folder: Where `render_content` put the content; logs go there, too.

    Yields:
        A vehicle without parts.
    """
    from sam_ad_perception.nodes.ros.environment import prepare_environment

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
