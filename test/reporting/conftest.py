"""A run to report on, and a headless Chromium to look at the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sam_ad_perception.bags.labelling.result_topics import ResultWriter
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import summarize_segmentation
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record
from sam_ad_perception.simulation.faults.effects import Fault
from tools.web_pages.browser import VARIABLE, Browser, find_browser


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; skips where none is installed."""
    program = find_browser()
    if program is None:
        pytest.skip(f'no Chromium on the path, and {VARIABLE} names none')
    opened = Browser(program, tmp_path_factory.mktemp('chromium'))
    yield opened
    opened.close()


SPACE = LABEL_SPACES['cityscapes']
FAULTS = (Fault('camera', 'black', 0.2, 0.4), Fault('lidar', 'dropout', 0.5, 0.6))
NOTICED_FRAME = 3
"""The camera is black from frame 2 on; the run says so one frame later."""


@pytest.fixture(scope='session')
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A simulated drive of eight frames with two faults, and a run with masks known to be wrong.

    The recording is the simulator's, the run is written as `sam_ad label` writes it. A quarter of
    each mask is sidewalk, and the rest is right.
    """
    folder = tmp_path_factory.mktemp('run')
    drive = Drive(
        DriveConfig(
            seed=5, duration_s=0.8, size=(80, 128), thermal_size=(48, 64), event_size=(48, 64),
            conditions=((0.0, 'day'), (0.4, 'night')), faults=FAULTS,
        )
    )  # fmt: skip
    with BagWriter(folder / 'drive') as writer:
        record(drive, writer)
    stamps, masks, truths, statuses = drive.frame_stamps('camera'), {}, {}, []
    with BagWriter(folder / 'labelled') as writer:
        results = ResultWriter(writer, SPACE, rectified=True)
        results.write_label_info(stamps[0])
        for index, stamp_ns in enumerate(stamps):
            bundle, truth = drive.bundle(stamp_ns)
            mask = truth.labels.copy()
            mask[:, : mask.shape[1] // 4] = 1
            bundle = judge(bundle, index)
            used = tuple(bundle.frames)
            result = Segmentation(
                stamp_ns, bundle.camera, mask, np.full_like(mask, 200), 'demo', used,
                missing=bundle.missing, depth=truth.depth,
                gate={m: 1 / len(used) for m in used},
                latency_s={'network': 0.1 + 0.01 * index, 'mask': 0.01},
            )  # fmt: skip
            results.write_result(bundle, result, stamp_ns + 1)
            statuses.append(summarize_segmentation(result))
            results.write_status(statuses[-1], stamp_ns + 1)
            masks[stamp_ns], truths[stamp_ns] = mask, truth.labels
    return SimpleNamespace(
        inputs=folder / 'drive', outputs=folder / 'labelled', stamps=stamps, masks=masks,
        truths=truths, statuses=statuses,
    )  # fmt: skip


def judge(bundle: SensorBundle, index: int) -> SensorBundle:
    """Take the black camera out of a bundle, one frame late."""
    if index != NOTICED_FRAME:
        return bundle
    frames = {m: frame for m, frame in bundle.frames.items() if m is not Modality.CAMERA}
    missing = {**bundle.missing, Modality.CAMERA: 'black: 100 % of the pixels are at most 3'}
    return replace(bundle, frames=frames, reference=Modality.THERMAL, missing=missing)
