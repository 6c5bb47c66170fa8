"""What a frame costs besides the network: processor time of one core, part by part.

Run from the repository root: `python -m benchmarks.vehicle.overhead [--frames 40]`. A 1920x1080
camera, a 640x512 thermal camera, 30 ms of a 640x480 event camera and a sweep of 131072 points come
as serialized messages, go through the code of the segmentation node in one thread, and leave as a
serialized mask. Median of the frames. Beside it, in the same run: what DDS's type support alone
takes to read and write these messages, and one copy of their bytes. The confidence of the mask is
made where somebody listens to it only, and stands apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    os.environ[_name] = '1'

import numpy as np  # noqa: E402  (after the settings above)
from numpy.typing import NDArray  # noqa: E402

from benchmarks.result_files import compare, save_results  # noqa: E402
from benchmarks.vehicle.content import (  # noqa: E402
    SENSORS,
    load_camera,
    placement,
    render_content,
)
from benchmarks.vehicle.load import POINTS, SIZES  # noqa: E402
from benchmarks.vehicle.processes import write_smallest_network  # noqa: E402
from benchmarks.vehicle.sensor_process import TOPICS, Fault, Sensor  # noqa: E402
from sam_ad_perception.core.geometry.transform_tree import TransformTree  # noqa: E402
from sam_ad_perception.core.images.lazy_image import decode_lazy  # noqa: E402
from sam_ad_perception.core.messages.from_ros import (  # noqa: E402
    array_to_image,
    defer_image,
    frame_of,
    packet_from_message,
    stamp_of,
)
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor  # noqa: E402
from sam_ad_perception.core.sensors import (  # noqa: E402
    CameraModel,
    Modality,
    Segmentation,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig  # noqa: E402
from sam_ad_perception.core.synchronization.config import SynchronizerConfig  # noqa: E402
from sam_ad_perception.modeling.inference.masks import mask_from_logits  # noqa: E402
from sam_ad_perception.modeling.inference.segmenter import Segmenter  # noqa: E402
from sam_ad_perception.modeling.inputs.camera_view import RenderContext, Representation  # noqa: E402
from sam_ad_perception.nodes.ros.environment import prepare_environment  # noqa: E402
from sam_ad_perception.nodes.ros.process import keep_memory  # noqa: E402

CONTENT = 4
PERIOD_NS = 100_000_000
NETWORK, TYPE_SUPPORT, COPY = 'network', 'type support', 'one copy'
PLAUSIBLE = 'hold clocks, values and geometry to what can be right'
CONFIDENT = 'mask with confidence in place of the mask'
APART = (NETWORK, TYPE_SUPPORT, COPY, CONFIDENT)
"""Parts that are not the cost of a frame besides the network, and what that is held against."""


@dataclass
class Stopwatch:
    """Adds up processor time of this thread by part; of nested parts each has its own only.

    Attributes:
        spent_ms: Of the frame that is going on.
        last: What the watched methods returned last, by part.
    """

    spent_ms: dict[str, float] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        self._inner.append(0.0)
        begin = time.thread_time()
        yield
        whole = 1e3 * (time.thread_time() - begin)
        self.spent_ms[name] = self.spent_ms.get(name, 0.0) + whole - self._inner.pop()
        if self._inner:
            self._inner[-1] += whole

    def watch(self, owner: object, method: str, name: str) -> None:
        """Count every call of a method of one object."""
        call: Callable[..., Any] = getattr(owner, method)

        @wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                self.last[name] = call(*args, **kwargs)
            return self.last[name]

        setattr(owner, method, counted)

    def take(self) -> dict[str, float]:
        """Take out what was counted since the last time."""
        taken, self.spent_ms = self.spent_ms, {}
        return taken


@dataclass(frozen=True)
class WatchedForm:
    """A representation whose rendering is counted."""

    form: Representation
    name: str
    watch: Stopwatch

    @property
    def channels(self) -> int:
        """As of the form."""
        return self.form.channels

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        with self.watch.part(f'draw {self.name}'):
            return self.form.render(frame, view, T_view, context)


def make_bundler(folder: Path) -> Bundler:
    """A bundler that knows where the vehicle's sensors sit, and waits for no others."""
    tree = TransformTree()
    for parent, child, _, T in placement(folder):
        tree.set_static(parent, child, T)
    known = SynchronizerConfig().sensors
    sensors = {m: replace(known[m], enabled=str(m) in SENSORS) for m in known}
    bundler = Bundler(BundlerConfig(sync=SynchronizerConfig(sensors=sensors)), tree)
    for sensor in SENSORS[:3]:
        bundler.set_camera(Modality(sensor), load_camera(folder, sensor))
    return bundler


def make_segmenter(folder: Path, watch: Stopwatch) -> Segmenter:
    """The smallest network behind all that the node does."""
    write_smallest_network(folder / 'network')
    whole = Segmenter.from_zoo(
        folder / 'network/zoo.yaml', 'smallest', folder / 'network', threads=1
    )
    (expert,) = whole.experts.values()
    forms = {n: WatchedForm(form, n, watch) for n, form in expert.spec.inputs.items()}
    expert.spec = replace(expert.spec, inputs=forms)
    watch.watch(whole.health, 'check', 'health')
    watch.watch(expert, 'run', NETWORK)
    watch.watch(expert, 'decode', 'mask')
    return whole


class Messages:
    """The vehicle's messages of each frame, serialized, and the way back into perception.

    Args:
        folder: What the sensors show.
        watch: Counts.
    """

    def __init__(self, folder: Path, watch: Stopwatch) -> None:
        from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

        self.types = message_type
        self.watch = watch
        self.sensors = {name: Sensor(name, folder) for name in SENSORS}
        self.checks = PlausibilityMonitor()

    def serialize(self, stamp_ns: int) -> dict[str, bytes]:
        """What the sensors send for one frame."""
        from rclpy.serialization import serialize_message

        return {
            name: serialize_message(sensor.message(stamp_ns, Fault()))
            for name, sensor in self.sensors.items()
        }

    def bundle(self, data: dict[str, bytes], bundler: Bundler) -> SensorBundle:
        """Read the messages of one frame and bring them together."""
        from rclpy.serialization import deserialize_message

        from sam_ad_perception.nodes.inputs.clouds import read_sweep

        results: list[Any] = []
        for name in ('lidar', 'event', 'thermal', 'camera'):
            with self.watch.part(TYPE_SUPPORT):
                message = deserialize_message(data[name], self.types(TOPICS[name][1]))
            now_ns = stamp_of(message)
            if name == 'event':
                with self.watch.part('read event'):
                    packet = packet_from_message(message)
                    results += bundler.add_event_packet(packet, now_ns)
                continue
            modality = Modality(name)
            with self.watch.part(PLAUSIBLE):
                self.checks.observe(modality, now_ns, now_ns + 1)
            with self.watch.part(f'read {name}'):
                if name == 'lidar':
                    frame = read_sweep(message)
                else:
                    image = defer_image(message, modality, self.checks.checks(modality))
                    frame = SensorFrame(modality, now_ns, frame_of(message), image)
            with self.watch.part(PLAUSIBLE):
                frame = self.checks.check_frame(frame, now_ns + 1)
            with self.watch.part('bring together'):
                results += bundler.add_frame(frame, now_ns)
        if not results:  # before a sensor's rhythm is known the first set waits until its deadline
            results = bundler.poll(bundler.next_deadline_ns or 0)
        (bundle,) = results
        assert isinstance(bundle, SensorBundle), bundle
        with self.watch.part('read camera'):
            bundle = decode_lazy(bundle)
        with self.watch.part(PLAUSIBLE):
            return self.checks.check_bundle(bundle)

    def answer(self, result: Segmentation) -> int:
        """Make and serialize the mask; the number of its bytes."""
        from rclpy.serialization import serialize_message

        with self.watch.part('make the message'):
            place = (result.stamp_ns, result.camera.frame_id)
            message = array_to_image(self.types, result.mask, 'mono8', *place)
        with self.watch.part(TYPE_SUPPORT):
            return len(serialize_message(message))


def measure(folder: Path, frames: int) -> list[dict[str, float]]:
    """Processor milliseconds of each part, for each frame."""
    watch = Stopwatch()
    messages, bundler = Messages(folder, watch), make_bundler(folder)
    segmenter = make_segmenter(folder, watch)
    spent = []
    for number in range(frames + CONTENT):
        data = messages.serialize((number + 10) * PERIOD_NS)
        watch.take()
        bundle = messages.bundle(data, bundler)
        with watch.part('choose, and the rest'):
            (result,) = segmenter.segment_each([bundle], depth=[False], confidence=[False])
        assert isinstance(result, Segmentation), result
        assert set(map(str, result.used)) == set(SENSORS), result.missing
        size = messages.answer(result)
        _, logits = watch.last[NETWORK]
        with watch.part(CONFIDENT):
            mask_from_logits(logits[0].numpy(), bundle.camera)
        with watch.part(COPY):
            for each in (*data.values(), bytes(size)):
                bytearray(each)
        if number >= CONTENT:  # kernels are loaded, and every content was seen
            spent.append(watch.take())
    return spent


def make_rows(spent: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """One row per part, then their sum beside what is not ours."""

    def median(*parts: str) -> float:
        return statistics.median(sum(frame[part] for part in parts) for frame in spent)

    ours = [part for part in spent[0] if part not in APART]
    rows = [compare(part, 'ms', median(part)) for part in sorted(ours, key=median, reverse=True)]
    rows.append(
        compare('all of these', 'ms', median(*ours), 'DDS type support', median(TYPE_SUPPORT))
    )
    rows.append(
        compare('with the type support', 'ms', median(*ours, TYPE_SUPPORT), COPY, median(COPY))
    )
    return [*rows, *(compare(part, 'ms', median(part)) for part in (NETWORK, CONFIDENT))]


def main() -> None:
    """Measure, print, save."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=40)
    options = parser.parse_args()
    prepare_environment()
    keep_memory()  # as every node does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_content(folder, frames=CONTENT, points=POINTS, **SIZES)
        rows = make_rows(measure(folder, options.frames))
    table = Table('part', 'CPU ms', 'beside it', 'CPU ms')
    for row in rows:
        theirs = f'{row["theirs"]:.2f}' if 'theirs' in row else ''
        table.add_row(row['what'], f'{row["ours"]:.2f}', row.get('peer', ''), theirs)
    Console().print(table)
    save_results('overhead', rows)


if __name__ == '__main__':
    main()
