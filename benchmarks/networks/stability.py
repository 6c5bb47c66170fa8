"""How much steadier masks are with the temporal filter, what it costs, and how late it makes them.

python -m benchmarks.networks.stability [--data FOLDER] [--networks mle_sam_demo mle_sam_fast]
CamVid's validation frames follow each other at 15 Hz. Each network sees them twice, with
`stability.filter` and without: pixels whose class changes beyond motion, mTC, accuracy, and the
time of the filter alone. What is new in the plain mask and stays for a frame is looked for in the
steadied one: there at once, one frame late, or later.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.result_files import save_results
from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, mapping
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.stability.mask_stability import MaskStability, carry_mask
from sam_ad_perception.core.stability.picture_motion import Motion, estimate_motion
from sam_ad_perception.core.stability.temporal_filter import StabilityConfig, TemporalFilter
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from training.datasets.camvid import find_frames, read_frame

PERIOD_NS = 66_666_667
SPACE = LABEL_SPACES['camvid']


class TimedFilter(TemporalFilter):
    """The filter, with a clock."""

    def __init__(self) -> None:
        super().__init__(StabilityConfig(filter=True))
        self.times_ms: list[float] = []

    def steady(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As `TemporalFilter.steady`."""
        start = time.thread_time()
        result = super().steady(*args, **kwargs)
        self.times_ms.append(1e3 * (time.thread_time() - start))
        return result


class Drive:
    """Frames that follow each other, their labels, and the motion between them."""

    def __init__(self, folder: Path, count: int) -> None:
        files = find_frames(folder, 'val')[: count or None]
        self.bundles: list[SensorBundle] = []
        self.labels: list[NDArray[np.uint8]] = []
        self.motions: list[Motion | None] = [None]
        last: NDArray[np.uint8] | None = None
        for number, each in enumerate(files):
            frame = read_frame(each)
            camera = frame.bundle.frames[Modality.CAMERA]
            picture = np.asarray(camera.data, np.uint8)
            stamp_ns = number * PERIOD_NS
            frames = {Modality.CAMERA: dataclasses.replace(camera, stamp_ns=stamp_ns)}
            bundle = dataclasses.replace(frame.bundle, stamp_ns=stamp_ns, frames=frames)
            self.bundles.append(bundle)
            self.labels.append(frame.labels)
            if last is not None:
                self.motions.append(estimate_motion(last, picture))
            last = picture


def make_masks(segmenter: Segmenter, drive: Drive) -> list[NDArray[np.uint8]]:
    """The masks of a drive in CamVid's classes."""
    ids = mapping(segmenter.labels, SPACE)
    return [ids[segmenter.segment([bundle])[0].mask] for bundle in drive.bundles]


def judge(masks: Sequence[NDArray[np.uint8]], drive: Drive) -> dict[str, float]:
    """How steady and how right masks are, percent."""
    stability = MaskStability(len(SPACE), SPACE.ignore_id)
    matrix = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
    for number, mask in enumerate(masks):
        matrix.update(mask, drive.labels[number])
        if number:
            stability.update(masks[number - 1], mask, drive.motions[number])
    return {
        'changed, %': 100 * stability.changed,
        'mTC': 100 * stability.consistency,
        'accuracy, %': 100 * matrix.accuracy(),
        'mIoU': 100 * matrix.miou(),
    }


def delays(
    plain: Sequence[NDArray[np.uint8]], steadied: Sequence[NDArray[np.uint8]], drive: Drive
) -> dict[str, float]:
    """When the steadied mask shows what is new in the plain one and stays for a frame, percent."""
    counts = np.zeros(3)
    for now in range(2, len(plain) - 1):
        arrived, stayed = drive.motions[now], drive.motions[now + 1]
        assert arrived is not None
        assert stayed is not None
        # all of it as the next frame sees it
        old = carry_mask(carry_mask(plain[now - 1], arrived), stayed)
        new, then = carry_mask(plain[now], stayed), plain[now + 1]
        at_once, later = carry_mask(steadied[now], stayed), steadied[now + 1]
        appeared = (new != old) & (new == then) & (old != UNLABELED) & (new != UNLABELED)
        first = appeared & (at_once == new)
        second = appeared & ~first & (later == then)
        counts += first.sum(), second.sum(), (appeared & ~first & ~second).sum()
    at_once, one, more = 100 * counts / counts.sum()
    return {'new at once, %': at_once, 'one frame late, %': one, 'later, %': more}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = os.environ.get('SAM_AD_TEST_DATA', '../shared/data')
    help_text = 'folder that holds camvid/'
    parser.add_argument('--data', type=Path, default=Path(known), help=help_text)
    parser.add_argument('--networks', nargs='+', default=['mle_sam_demo', 'mle_sam_fast'])
    parser.add_argument('--frames', type=int, default=0, help='0 for all 101')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not (arguments.data / 'camvid').is_dir():
        print(f'no frames in {arguments.data / "camvid"}: nothing is measured')
        return
    drive = Drive(arguments.data / 'camvid', arguments.frames)
    rows = [{'network': 'labels', 'filter': '', **judge(drive.labels, drive)}]
    late = []
    for key in arguments.networks:
        segmenter = Segmenter.from_pretrained(key, checkpoint_dir='')
        experts = list(segmenter.experts.values())
        plain = make_masks(Segmenter(experts, health=UNCHECKED), drive)
        filtered = Segmenter(experts, health=UNCHECKED)
        clock = filtered._filter = TimedFilter()
        steadied = make_masks(filtered, drive)
        rows.append({'network': key, 'filter': 'off', **judge(plain, drive)})
        rows.append({'network': key, 'filter': 'on', **judge(steadied, drive)})
        cost = {'CPU ms': float(np.median(clock.times_ms[1:]))}
        late.append({'network': key, **cost, **delays(plain, steadied, drive)})
        for row in (*rows[-2:], late[-1]):
            print(row)
    save_results('stability', [*rows, *late])


if __name__ == '__main__':
    main()
