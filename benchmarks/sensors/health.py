"""How many spoilt frames are found, how many good ones are suspected, and what a check costs.

Run from the repository root: `python -m benchmarks.sensors.health [--frames 40] [--seeds 3]
[--conditions day night fog rain] [--data FOLDER]`. Drives are simulated in each condition; every
fault befalls the frames of its sensor in bouts, with healthy frames between. Detected is a faulty
frame with any finding, a false alarm a healthy one (`recovering`, which is meant, is neither).
`--data` names the folder of recorded data, whose pictures are checked one by one and, where they
are a sequence, as a stream. Times are of one thread's processor time, the best of 50.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.result_files import save_results
from sam_ad_perception.core.health.judgement import HealthKind
from sam_ad_perception.core.health.measures import event_density, measure_cloud, measure_image
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.faults.effects import KINDS, corrupt

CONDITIONS = ('day', 'night', 'fog', 'rain')
KINDS_JUDGED = (
    'frozen', 'black', 'saturated', 'over_exposure', 'under_exposure', 'motion_blur', 'blur',
    'noise', 'low_contrast', 'shutter', 'nan_cloud', 'empty_cloud', 'sparse_cloud', 'event_burst',
    'event_silence',
)  # fmt: skip
"""What the figures of one frame can show. A late or missing frame is the synchronizer's affair, a
malformed one the decoder's; a shaking mount shows in the geometry alone."""
FAULTS = tuple((sensor, kind) for kind in KINDS_JUDGED for sensor in KINDS[kind].modalities)
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
HEALTHY_FRAMES, FAULTY_FRAMES = 7, 5
"""A bout of a fault, and what comes before it."""


@dataclass(frozen=True)
class Score:
    """Counts of one fault in one drive.

    Attributes:
        faulty: Frames with the fault.
        detected: Those with a finding.
        healthy: Frames without it.
        alarms: Those with a finding.
    """

    faulty: int
    detected: int
    healthy: int
    alarms: int

    def __add__(self, other: Score) -> Score:
        return Score(
            self.faulty + other.faulty,
            self.detected + other.detected,
            self.healthy + other.healthy,
            self.alarms + other.alarms,
        )


def simulate(condition: str, seed: int, frames: int) -> list[SensorBundle]:
    """Bundles of a drive, ten in a second."""
    drive = Drive(DriveConfig(seed=seed, duration_s=frames / 10, condition=condition))
    return [drive.bundle(stamp)[0] for stamp in drive.frame_stamps(Modality.CAMERA)]


def spoil(
    bundles: Sequence[SensorBundle], sensor: Modality, kind: str, seed: int = 0
) -> Iterator[tuple[SensorBundle, bool]]:
    """The bundles with bouts of a fault, and whether each has it."""
    rng = np.random.default_rng(seed)
    last: SensorFrame | None = None
    for number, bundle in enumerate(bundles):
        faulty = number % (HEALTHY_FRAMES + FAULTY_FRAMES) >= HEALTHY_FRAMES
        frame = bundle.frames[sensor]
        if faulty and kind == 'frozen':
            assert last is not None
            frame = replace(last, stamp_ns=frame.stamp_ns)
        elif faulty:
            span = (frame.stamp_ns - 30_000_000, frame.stamp_ns)
            frame = replace(frame, data=corrupt(frame.data, kind, None, rng, span))
        last = frame
        yield replace(bundle, frames={**bundle.frames, sensor: frame}), faulty


def score_fault(bundles: Sequence[SensorBundle], sensor: Modality, kind: str) -> Score:
    """Check a drive in which a fault comes and goes."""
    monitor = HealthMonitor()
    score = Score(0, 0, 0, 0)
    for bundle, faulty in spoil(bundles, sensor, kind):
        found = has_finding(monitor, bundle, sensor)
        score += Score(faulty, faulty and found, not faulty, not faulty and found)
    return score


def score_clean(bundles: Sequence[SensorBundle], sensor: Modality) -> Score:
    """Check a drive without faults."""
    monitor = HealthMonitor()
    alarms = sum(has_finding(monitor, bundle, sensor) for bundle in bundles)
    return Score(0, 0, len(bundles), alarms)


def has_finding(monitor: HealthMonitor, bundle: SensorBundle, sensor: Modality) -> bool:
    """Whether a check says anything else of a sensor than that it recovers."""
    found = monitor.check(bundle).findings.get(sensor, ())
    return any(finding.kind is not HealthKind.RECOVERING for finding in found)


def score_drive(bundles: Sequence[SensorBundle]) -> dict[tuple[Modality, str], Score]:
    """Check a drive without faults (under the name `none`) and with each fault."""
    scores = {(sensor, 'none'): score_clean(bundles, sensor) for sensor in SENSORS}
    return scores | {(s, kind): score_fault(bundles, s, kind) for s, kind in FAULTS}


def fault_table(drives: Mapping[str, Mapping[tuple[Modality, str], Score]]) -> Table:
    """One row per fault, one column per condition."""
    table = Table('sensor', 'fault', *drives, title='detected (false alarms), percent')
    for sensor, kind in sorted(next(iter(drives.values())), key=lambda k: SENSORS.index(k[0])):
        cells = []
        for scores in drives.values():
            score = scores[sensor, kind]
            alarms = _percent(score.alarms, score.healthy)
            cells.append(f'{_percent(score.detected, score.faulty)} ({alarms})')
        table.add_row(sensor, kind, *cells)
    return table


def _percent(part: int, whole: int) -> str:
    return f'{100 * part / whole:.0f}' if whole else '-'


def picture_bundle(image: np.ndarray, stamp_ns: int, modality: Modality) -> SensorBundle:
    """A bundle of one picture."""
    height, width = image.shape[:2]
    view = CameraModel(width, height, np.diag([width, width, 1.0]), frame_id='camera')
    frame = SensorFrame(modality, stamp_ns, 'camera', image, view)
    return SensorBundle(stamp_ns, modality, view, {modality: frame})


def recorded_table(folder: Path) -> Table:
    """False alarms on recorded pictures."""
    table = Table('recorded pictures', 'frames', 'false alarms', 'kinds', title=str(folder.name))
    camera, thermal = Modality.CAMERA, Modality.THERMAL
    for name, pattern, modality, stream in (
        ('CamVid, one by one', 'camvid/[tv]*[nl]/*.png', camera, False),
        ('CamVid, as a stream', 'camvid/train/*.png', camera, True),
        ('KITTI', 'kitti/frames/**/*.png', camera, False),
        ('opencalib', 'opencalib/*.jpg', camera, False),
        ('MSRS night, colour', 'rgbt/msrs/vi/*', camera, False),
        ('MSRS night, thermal', 'rgbt/msrs/ir/*', thermal, False),
        ('RoadScene, colour', 'rgbt/roadscene/vi/*', camera, False),
        ('RoadScene, thermal', 'rgbt/roadscene/ir/*', thermal, False),
        ('FLIR, thermal', 'thermal_radiometric/*.jpg', thermal, False),
    ):
        monitor, kinds, frames, alarms = HealthMonitor(), set[str](), 0, 0
        scene = ''
        for path in sorted(folder.glob(pattern)):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                continue
            if not stream or scene != path.name[:6]:
                monitor, scene = HealthMonitor(), path.name[:6]
            image = image[:, :, ::-1] if modality is camera else image[:, :, 1]
            # Every 30th frame of the video was labelled: one second apart.
            bundle = picture_bundle(image, (frames + 1) * 1_000_000_000, modality)
            found = monitor.check(bundle).findings.get(modality, ())
            kinds |= {f.kind.value for f in found if f.kind is not HealthKind.RECOVERING}
            alarms += any(f.kind is not HealthKind.RECOVERING for f in found)
            frames += 1
        table.add_row(name, str(frames), str(alarms), ', '.join(sorted(kinds)))
    return table


def best_ms(work: Callable[[], object]) -> float:
    """Shortest processor time of one call, milliseconds."""
    times = []
    for _ in range(50):
        start = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - start)
    return min(times) / 1e6


def measure_times() -> dict[str, float]:
    """What the figures of one frame cost, milliseconds."""
    rng = np.random.default_rng(0)
    colour = cv2.resize(rng.integers(0, 256, (270, 480, 3), dtype=np.uint8), (1920, 1080))
    warmth = rng.integers(28000, 31000, (512, 640)).astype(np.uint16)
    cloud = PointCloud(rng.uniform(-50, 50, (131_072, 3)).astype(np.float32))
    count = 300_000
    flood = Events(
        rng.integers(0, 640, count).astype(np.uint16),
        rng.integers(0, 480, count).astype(np.uint16),
        rng.random(count) < 0.5,
        np.sort(rng.integers(0, 30_000_000, count)),
        (480, 640),
    )
    monitor = HealthMonitor()
    stamps = iter(range(1, 1000))

    def check() -> None:
        colour[:, :, :] ^= 1
        monitor.check(picture_bundle(colour, next(stamps) * 50_000_000, Modality.CAMERA))

    def flip() -> None:
        colour[:, :, :] ^= 1

    steps: dict[str, Callable[[], object]] = {
        'measure a 1920x1080 colour image': partial(measure_image, colour),
        'measure a 640x512 16-bit thermal image': partial(measure_image, warmth),
        'measure a cloud of 131,072 points': partial(measure_cloud, cloud),
        'measure 300,000 events': partial(event_density, flood, 30_000_000, 30_000_000),
    }
    times = {name: best_ms(work) for name, work in steps.items()}
    check()
    return times | {'check a 1920x1080 frame, all in all': best_ms(check) - best_ms(flip)}


def time_table(times: Mapping[str, float]) -> Table:
    """One row per step."""
    table = Table('step', 'ms', title='time per frame')
    for name, value in times.items():
        table.add_row(name, f'{value:.3f}')
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=40, help='per drive')
    parser.add_argument('--seeds', type=int, nargs='*', default=[3], help='of the drives')
    parser.add_argument('--conditions', nargs='*', default=CONDITIONS)
    parser.add_argument('--data', type=Path, default=Path('../shared/data'))
    arguments = parser.parse_args()
    console = Console()
    times = measure_times()
    console.print(time_table(times))
    if arguments.data.is_dir():
        console.print(recorded_table(arguments.data))
    drives: dict[str, dict[tuple[Modality, str], Score]] = {}
    for condition in track(arguments.conditions, 'driving', console=console):
        for seed in arguments.seeds:
            scores = score_drive(simulate(condition, seed, arguments.frames))
            known = drives.setdefault(condition, {})
            for key, score in scores.items():
                known[key] = known.get(key, Score(0, 0, 0, 0)) + score
    console.print(fault_table(drives))
    rows: list[Any] = [
        {'condition': condition, 'sensor': str(sensor), 'fault': fault, **asdict(score)}
        for condition, scores in drives.items()
        for (sensor, fault), score in scores.items()
    ]
    save_results('health', [*rows, *({'step': n, 'ms': ms} for n, ms in times.items())])
    total = sum((s for scores in drives.values() for s in scores.values()), Score(0, 0, 0, 0))
    console.print(
        f'{100 * total.detected / total.faulty:.1f} % of {total.faulty} faulty frames detected, '
        f'{100 * total.alarms / total.healthy:.2f} % false alarms in {total.healthy} healthy ones'
    )


if __name__ == '__main__':
    main()
