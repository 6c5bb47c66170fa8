"""Processor time to read one training image, beside torchvision and albumentations.

Run from the repository root: `python -m benchmarks.commands.data_loading`. Simulated pictures of
1280x720 as JPEG with their labels as PNG become a tensor of 512x512 and its labels: stretched to
512x512 times 0.5 to 2, drawn evenly, cut or padded, mirrored, coloured, normalised. One thread;
every way reads the same files, in turns. Ours also checks that each file is whole and that its ids
are of the label space. torchvision and albumentations scale the whole picture, colour the piece,
and check nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    os.environ[_name] = '1'

import cv2  # noqa: E402  (after the settings above)
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torchvision import io, tv_tensors  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from benchmarks.result_files import compare, save_results  # noqa: E402
from sam_ad_perception.core.labels import LabelSpace  # noqa: E402
from sam_ad_perception.modeling.zoo.entries import load_zoo  # noqa: E402
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig  # noqa: E402
from training.configuration.augmentation import AugmentationConfig  # noqa: E402
from training.datasets.own.folders import open_folders  # noqa: E402
from training.runs.prepared_batches import PreparedFrames  # noqa: E402

SIZE = (720, 1280)
INPUT = 512
FRAMES = 8
ZOO = Path(__file__).parents[2] / 'models' / 'zoo.yaml'

Read = Callable[[int], object]


def write_pictures(folder: Path) -> Path:
    """Simulate pictures with labels; returns the file that describes them."""
    drive = Drive(DriveConfig(seed=3, duration_s=FRAMES / 2, size=SIZE))
    space: LabelSpace | None = None
    for name in ('images', 'masks'):
        (folder / name).mkdir()
    for k in range(FRAMES):
        stamp_ns = drive.config.start_ns + k * 500_000_000
        bundle, truth = drive.bundle(stamp_ns)
        image = np.asarray(next(iter(bundle.frames.values())).data, np.uint8)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f'images/{k:03d}.jpg'), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
        cv2.imwrite(str(folder / f'masks/{k:03d}.png'), truth.labels)
    space = load_zoo(ZOO)['ad_sam_small'].labels
    names = ', '.join(f"'{name}'" for name in space.names)
    file = folder / 'data.yaml'
    file.write_text(f'camera: images\nlabels: masks\nnames: [{names}]\ntrain: 1.0\n')
    return file


def our_way(file: Path, *, colour: bool) -> Read:
    """The reader of `training.train`."""
    dataset = open_folders(file, 'train', file.parent / 'cache')
    spec = replace(load_zoo(ZOO)['ad_sam_small'], input_size=(INPUT, INPUT), space=dataset.space)
    config = AugmentationConfig(
        scales=(0.5, 2.0), scale_draw='uniform', flip=0.5, colour=float(colour)
    )
    source = PreparedFrames(dataset, spec, config)
    return lambda k: source.read([k % len(dataset)], np.random.default_rng(k))


def by_torchvision(file: Path, *, colour: bool) -> Read:
    """Torchvision's own reader and transforms."""
    rng = np.random.default_rng(0)
    jitter = [v2.ColorJitter(0.3, 0.3, 0.3, 0.05)] if colour else []
    normalise = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    change = v2.Compose(
        [
            v2.RandomCrop(INPUT, pad_if_needed=True, fill={tv_tensors.Mask: 255, 'others': 0}),
            v2.RandomHorizontalFlip(),
            *jitter,
            v2.ToDtype({tv_tensors.Image: torch.float32, 'others': None}, scale=True),
            normalise,
        ]
    )

    def read(k: int) -> object:
        image = io.decode_image(str(file.parent / f'images/{k % FRAMES:03d}.jpg'))
        labels = io.decode_image(str(file.parent / f'masks/{k % FRAMES:03d}.png'))
        size = [round(INPUT * rng.uniform(0.5, 2.0))] * 2
        shown = [tv_tensors.Image(image), tv_tensors.Mask(labels)]
        return change(*(v2.functional.resize(each, size) for each in shown))

    return read


def by_albumentations(file: Path, *, colour: bool) -> Read | None:
    """Albumentations over OpenCV; None where it is not installed."""
    try:
        import albumentations as A
    except ImportError:
        return None
    jitter = [A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1)]
    change: Any = A.Compose(
        [
            A.Resize(INPUT, INPUT, interpolation=cv2.INTER_AREA),
            A.RandomScale((-0.5, 1.0), p=1),
            A.PadIfNeeded(INPUT, INPUT, fill_mask=255),
            A.RandomCrop(INPUT, INPUT),
            A.HorizontalFlip(p=0.5),
            *(jitter if colour else []),
            A.Normalize(),
        ]
    )

    def read(k: int) -> object:
        bgr = cv2.imread(str(file.parent / f'images/{k % FRAMES:03d}.jpg'))
        labels = cv2.imread(str(file.parent / f'masks/{k % FRAMES:03d}.png'), cv2.IMREAD_GRAYSCALE)
        changed = change(image=cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), mask=labels)
        return torch.from_numpy(changed['image'].transpose(2, 0, 1).copy())

    return read


def measure(ways: Mapping[str, Read], rounds: int) -> dict[str, float]:
    """Median of the processor time of one image by each way, ms."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(-1, rounds):
        for name, read in ways.items():
            begin = time.process_time()
            read(max(k, 0))
            if k >= 0:  # the first one compiles and fills caches
                times[name].append((time.process_time() - begin) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=200, help='images per row')
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = write_pictures(Path(folder))
        for colour in (True, False):
            what = 'scale, cut, mirror, colour' if colour else 'scale, cut, mirror'
            ways = {'ours': our_way(file, colour=colour)}
            peers = {
                'torchvision': by_torchvision(file, colour=colour),
                'albumentations': by_albumentations(file, colour=colour),
            }
            for name, read in peers.items():
                if read is None:
                    print(f'{name} is not installed')
                else:
                    ways[name] = read
            taken = measure(ways, options.rounds)
            for name in list(ways)[1:]:
                rows.append(compare(what, 'ms', taken['ours'], name, taken[name]))
                print('{what}: ours {ours:.1f} ms, {peer} {theirs:.1f} ms'.format(**rows[-1]))
    save_results('data_loading', rows)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
