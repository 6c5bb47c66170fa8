"""FMB: camera and thermal camera, 800x600, 1220 training and 280 test frames.

    {train,test}/{Visible,Infrared,Label}/NNNNN.png

Labels are 0 (background) to 14. `fmb15` has background as a class (FusionSAM, MRFS), `fmb14`
leaves it unlabeled (StitchFusion and others): their figures do not compare. Facts: Liu et al.,
"Multi-interactive Feature Learning and a Full-time Multi-modality Benchmark", ICCV 2023.
"""

from __future__ import annotations

from pathlib import Path

from sam_ad_perception.core.labels import LABEL_SPACES, apply_mapping
from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import ZERO, BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_grey, read_rgb
from training.frames.image_folders import (
    DatasetLayout,
    FrameFiles,
    check_ids,
    label_table,
    sorted_files,
)
from training.frames.label_images import read_ids

_WITHOUT_BACKGROUND = label_table({label: label - 1 for label in range(1, 15)})
_SPLITS = {'train': 1220, 'test': 280}
_WITHHELD = {'val': 'FMB was published without a validation split'}


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    folder = root / split
    return [
        FrameFiles(
            image.stem,
            {
                'camera': image,
                'thermal': folder / 'Infrared' / image.name,
                'labels': folder / 'Label' / image.name,
            },
        )
        for image in sorted_files(folder / 'Visible', '*.png')
    ]


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`; with background as class 0."""
    colour, thermal = read_rgb(files.files['camera']), read_grey(files.files['thermal'])
    bundle = bundle_in_view({Modality.CAMERA: colour, Modality.THERMAL: thermal})
    return LabelledFrame(files.name, bundle, read_ids(files.files['labels']))


def read_without_background(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`; background is unlabeled."""
    frame = read_frame(files)
    check_ids(frame.labels, LABEL_SPACES['fmb15'], files.files['labels'])
    labels = apply_mapping(frame.labels, _WITHOUT_BACKGROUND)
    return LabelledFrame(frame.name, frame.bundle, labels)


_PROTOCOL = BenchmarkProtocol('util/util.py of SegMiF, whose authors published it', ZERO)
LAYOUT_15 = DatasetLayout(
    'fmb15', 'fmb15', _SPLITS, find_frames, read_frame, _WITHHELD, protocol=_PROTOCOL
)
LAYOUT_14 = DatasetLayout(
    'fmb14',
    'fmb14',
    _SPLITS,
    find_frames,
    read_without_background,
    _WITHHELD,
    own_ids=False,
    protocol=_PROTOCOL,
)
