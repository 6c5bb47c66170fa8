"""What each camera fault costs a mask, beside whether health finds it and takes the camera out.

    python -m benchmarks.sensors.fault_costs [--data FOLDER] [--network mle_sam_fast] [--only mud]
    python -m benchmarks.sensors.fault_costs --again [--write]

Every fault of `real_faults` befalls a clip of CamVid that has labels, and two simulated drives, at
three severities. Lost are points of pixel accuracy: on CamVid with the camera alone; in the drives
with all sensors. `without` is what is lost there where the camera is left out instead: a fault
that loses more is better taken out. Health looks at the CamVid clip, healthy frames first. Half
of the faults only measure, see `real_faults.faults.Half`. `--again` keeps the costs that were
measured and asks health anew; `--write` writes what each kind of finding costs, of the faults
that were looked at, to `core/health/measured_costs.py`, by which the camera is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.real_faults.camera_faults import camera_faults
from benchmarks.real_faults.faults import SEVERITIES, Fault
from benchmarks.real_faults.recordings import CAMVID_RATE
from benchmarks.real_faults.scoring import FOUND_SHARE, check_stream, is_taken_out, kinds_of
from benchmarks.result_files import RESULTS, save_results
from sam_ad_perception.core.health import measured_costs
from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.health.fault_costs import is_costly
from sam_ad_perception.core.health.measured_costs import FaultCost
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace, mapping
from sam_ad_perception.core.sensors import Modality, SensorBundle, remove_sensors
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training.frames.frame import bundle_in_view

HEAD, FAULTY = 16, 20
"""Healthy and faulty frames of the CamVid clip, as `health_real` shows it."""
CAMVID_SHOWN = (3, 9, 14, 19)
"""Faulty frames of it that are segmented."""
DRIVES = ((3, 'day'), (4, 'night'))
DRIVE_HEAD, DRIVE_SHOWN = 4, (2, 5, 8)
STEP_NS = 100_000_000
COSTS_POINTS = 5.0
"""From so many points on a fault counts as costly."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames that follow each other, with labels.

    Attributes:
        bundles: Of each frame.
        labels: (H, W) uint8 of each frame.
        head: So many frames are healthy.
        shown: Frames after them that are segmented.
        ids: From the network's classes to those of the labels.
        ignore_id: Labels that do not count.
    """

    bundles: list[SensorBundle]
    labels: list[NDArray[np.uint8]]
    head: int
    shown: tuple[int, ...]
    ids: NDArray[np.uint8]
    ignore_id: int

    def pictures(self) -> list[NDArray[np.uint8]]:
        """The camera's pictures, (H, W, 3) uint8 RGB."""
        return [np.asarray(b.frames[Modality.CAMERA].data, np.uint8) for b in self.bundles]

    def damaged(self, fault: Fault, severity: int) -> list[NDArray[np.uint8]]:
        """The pictures after the head, with a fault."""
        pictures = self.pictures()
        seed = zlib.crc32(f'{fault.name} {severity}'.encode())
        rng = np.random.default_rng(seed)
        return fault.damage(pictures[: self.head], pictures[self.head :], severity, rng)

    def accuracy(
        self, segmenter: Segmenter, pictures: Sequence[NDArray[np.uint8]] | None
    ) -> float:
        """Share of the pixels that are right, percent, with other pictures or no camera."""
        right = known = 0
        for number in self.shown:
            bundle, labels = self.bundles[self.head + number], self.labels[self.head + number]
            if pictures is None:
                bundle = remove_sensors(bundle, {Modality.CAMERA: 'left out'})
            else:
                camera = replace(bundle.frames[Modality.CAMERA], data=pictures[number])
                bundle = replace(bundle, frames={**bundle.frames, Modality.CAMERA: camera})
            mask = self.ids[segmenter.segment([bundle])[0].mask]
            counts = labels != self.ignore_id
            right += int((mask == labels)[counts].sum())
            known += int(counts.sum())
        return 100 * right / known


def camvid_clip(data: Path, labels_of_masks: LabelSpace) -> Clip:
    """The first frames of CamVid's validation drive."""
    paths = sorted((data / 'camvid/val').glob('0016E5_*.png'))[: HEAD + FAULTY]
    bundles, labels = [], []
    for path in paths:
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        bundles.append(bundle_in_view({Modality.CAMERA: np.asarray(picture, np.uint8)}))
        truth = cv2.imread(str(path.parents[1] / 'valannot' / path.name), cv2.IMREAD_GRAYSCALE)
        labels.append(np.asarray(truth, np.uint8))
    ids = mapping(labels_of_masks, LABEL_SPACES['camvid'])
    # the files have id 11 where nothing is labelled
    ids = np.where(ids < 11, ids, np.uint8(255)).astype(np.uint8)
    return Clip(bundles, labels, HEAD, CAMVID_SHOWN, ids, 11)


def simulated_clip(seed: int, condition: str) -> Clip:
    """Frames of a simulated drive with all sensors."""
    config = DriveConfig(seed, 20.0, condition=condition)
    drive = Drive(config)
    bundles, labels = [], []
    for number in range(DRIVE_HEAD + max(DRIVE_SHOWN) + 1):
        bundle, truth = drive.bundle(config.start_ns + (50 + number) * STEP_NS)
        bundles.append(bundle)
        labels.append(truth.labels)
    ids = np.arange(256, dtype=np.uint8)
    return Clip(bundles, labels, DRIVE_HEAD, DRIVE_SHOWN, ids, 255)


def look(fault: Fault, clip: Clip, damaged: Sequence[Any]) -> dict[str, Any]:
    """What health says of a damaged clip after its healthy frames."""
    found = check_stream(
        [*clip.pictures()[: clip.head], *damaged], CAMVID_RATE / 2, Modality.CAMERA
    )
    found = found[clip.head :]
    least = FOUND_SHARE * len(found)
    counts = Counter(kind for each in found for kind in kinds_of(each))
    return {
        'found': sum(bool(kinds_of(each)) for each in found) >= least,
        'named': sum(bool(kinds_of(each) & fault.causes) for each in found) >= least,
        'taken out': sum(is_taken_out(each) for each in found) >= least,
        'kinds': sorted(kind for kind, count in counts.items() if count >= least),
    }


def measure(
    fault: Fault, severity: int, segmenter: Segmenter, camvid: Clip, drives: Sequence[Clip]
) -> dict[str, Any]:
    """What a fault costs, and what health says of it."""
    damaged = camvid.damaged(fault, severity)
    spoilt = camvid.accuracy(segmenter, damaged)
    several = [drive.accuracy(segmenter, drive.damaged(fault, severity)) for drive in drives]
    return {
        'half': fault.half,
        'fault': fault.name,
        'severity': severity,
        'camvid, camera': spoilt,
        'drives, all': float(np.mean(several)),
        **look(fault, camvid, damaged),
    }


def kept_out(row: Mapping[str, Any], costs: Mapping[str, FaultCost]) -> bool:
    """Whether a vehicle leaves the camera out: health says so, or what the finding costs."""
    costly = any(is_costly(kind, costs[kind]) for kind in row['kinds'] if kind in costs)
    return bool(row['taken out'] or costly)


def summary(
    rows: Sequence[Mapping[str, Any]], costs: Mapping[str, FaultCost]
) -> list[dict[str, Any]]:
    """By half: what is found of what costs much, and what acting on it is worth."""
    lines = []
    for half in ('looked_at', 'measured_only'):
        these = [r for r in rows if r['half'] == half]
        costly = [r for r in these if r['camvid, camera'] >= COSTS_POINTS]
        found = [r for r in these if r['found']]
        acted = [r['without camera'] if kept_out(r, costs) else r['drives, all'] for r in found]
        before = [r['without camera'] if r['taken out'] else r['drives, all'] for r in found]
        worse = [a - r['drives, all'] for a, r in zip(acted, found, strict=True)]
        lines.append({
            'half': half,
            'pairs': len(these),
            f'cost {COSTS_POINTS:g} points on camvid': len(costly),
            'of these found': sum(r['found'] for r in costly),
            'named': sum(r['named'] for r in costly),
            'found in all': len(found),
            'lost without health': float(np.mean([r['drives, all'] for r in found])),
            'by findings': float(np.mean(before)),
            'and by costs': float(np.mean(acted)),
            'worse than without health': sum(each > 0.05 for each in worse),
            'most': max(worse),
        })  # fmt: skip
    return lines


def kind_costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, FaultCost]:
    """What each kind of finding costs where it alone leaves the camera in use.

    Of the faults that were looked at; those that health takes out need no table.
    """
    lost: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row['half'] == 'looked_at' and not row['taken out']:
            for kind in row['kinds']:
                lost[kind].append(row['drives, all'])
    absent = rows[0]['without camera']
    return {
        kind: FaultCost(round(float(np.mean(values)), 1), round(absent, 1), len(values))
        for kind, values in sorted(lost.items())
    }


def cost_table(costs: Mapping[str, FaultCost]) -> str:
    """The lines of `measured_costs.CAMERA`."""
    lines = [
        f"    '{kind}': FaultCost({each.lost}, {each.absent}, {each.faults}),\n"
        for kind, each in costs.items()
    ]
    return 'CAMERA: Mapping[str, FaultCost] = {\n' + ''.join(lines) + '}\n'


def write_costs(costs: Mapping[str, FaultCost]) -> None:
    """Write the table by which the camera is left out."""
    path = Path(measured_costs.__file__)
    text = path.read_text()
    path.write_text(text[: text.index('CAMERA:')] + cost_table(costs))


def look_again(data: Path, console: Console) -> list[dict[str, Any]]:
    """The costs as they were measured, and what health says today."""
    content = json.loads((RESULTS / 'fault_costs.json').read_text())
    rows = [row for row in content['rows'] if 'severity' in row]
    clip = camvid_clip(data, LABEL_SPACES['cityscapes'])
    faults = {fault.name: fault for fault in camera_faults() if not fault.absent}
    return [
        row | look(faults[row['fault']], clip, clip.damaged(faults[row['fault']], row['severity']))
        for row in track(rows, 'faults', console=console)
    ]


def measure_all(arguments: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Every fault at every severity."""
    torch.set_num_threads(1)
    experts = list(Segmenter.from_pretrained(arguments.network).experts.values())
    segmenter = Segmenter(experts, health=UNCHECKED)
    camvid = camvid_clip(arguments.data, segmenter.labels)
    drives = [simulated_clip(*place) for place in DRIVES]
    healthy = camvid.accuracy(segmenter, camvid.pictures()[camvid.head :])
    whole = np.mean([d.accuracy(segmenter, d.pictures()[d.head :]) for d in drives])
    without = float(whole - np.mean([drive.accuracy(segmenter, None) for drive in drives]))
    console.print(f'right: camvid {healthy:.1f} %, drives {whole:.1f} %, no camera -{without:.1f}')
    rows = []
    faults = [f for f in camera_faults() if arguments.only in f.name and not f.absent]
    for fault in track(faults, 'faults', console=console):
        for severity in SEVERITIES:
            row = measure(fault, severity, segmenter, camvid, drives)
            row['camvid, camera'] = healthy - row['camvid, camera']
            row['drives, all'] = float(whole - row['drives, all'])
            row['without camera'] = without
            rows.append(row)
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = os.environ.get('SAM_AD_TEST_DATA', '../shared/data')
    parser.add_argument('--data', type=Path, default=Path(known))
    parser.add_argument('--network', default='mle_sam_fast')
    parser.add_argument('--only', default='', help='faults whose name contains this')
    parser.add_argument('--again', action='store_true', help='keep the costs, ask health anew')
    parser.add_argument('--write', action='store_true', help='the table that the vehicle reads')
    arguments = parser.parse_args()
    console = Console(width=160)
    if not (arguments.data / 'camvid').is_dir():
        console.print(f'no frames in {arguments.data / "camvid"}: nothing is measured')
        return
    again = arguments.again
    rows = look_again(arguments.data, console) if again else measure_all(arguments, console)
    costs = kind_costs(rows)
    for line in summary(rows, costs):
        console.print(line)
    if arguments.write:
        write_costs(costs)
    if not arguments.only:
        save_results('fault_costs', [*summary(rows, costs), *rows])


if __name__ == '__main__':
    main()
