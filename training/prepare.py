"""Check the folder of a dataset, and write an index of its sound frames and a picture of some.

    python -m training.prepare camvid /data/camvid

Every frame is read once. Shown are the frames of each split against those that were published,
files that are missing or odd, pictures that are in two splits, image sizes, and how often each
label occurs. Training takes `<dataset>_index.json` as `data.index=`, and `<dataset>_frames.png`
shows frames of each split with their coloured labels. The exit status is 1 where something is
wrong. For rosbags that were labelled: `recordings`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from training.checkpoint import save_atomically
from training.datasets.catalog import DATASETS, RECORDINGS, layout_of, open_dataset
from training.datasets.contact_sheet import draw_sheet
from training.datasets.files import FileDataset
from training.datasets.frames import Dataset, DatasetError, LabelledFrame
from training.datasets.index import DatasetIndex, IndexSplit, index_frames
from training.datasets.inspection import (
    Findings,
    compare_splits,
    digest_pictures,
    inspect_dataset,
    inspect_files,
    whole_frames,
)

_SHOWN_PROBLEMS = 20


@dataclasses.dataclass
class Report:
    """What a folder holds.

    Attributes:
        space: The classes of its labels.
        findings: Of each split that is there.
        datasets: The frames of each of them that can be read.
    """

    space: LabelSpace
    findings: list[Findings]
    datasets: list[Dataset]

    @property
    def problems(self) -> list[str]:
        """What is wrong, with the split."""
        return [f'{each.split}: {text}' for each in self.findings for text in each.problems]


def check_folder(name: str, root: Path, options: argparse.Namespace, console: Console) -> Report:
    """Look at all splits of a dataset.

    Args:
        name: One of `DATASETS`.
        root: Its folder.
        options: See `main`.
        console: Where progress is shown.

    Returns:
        What was found.

    Raises:
        DatasetError: No split is there.
    """
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder')
    if name == RECORDINGS:
        return _check_recordings(root, options, console)
    layout = layout_of(name)
    report = Report(LABEL_SPACES[layout.space], [], [])
    for split, published in layout.published.items():
        frames = layout.find(root, split)
        if not frames:
            console.print(f'{split}: not there ({published} frames were published)')
            continue
        dataset = whole_frames(layout, frames)
        findings = _watch(dataset, split, len(frames), published, options, console)
        findings.problems += inspect_files(layout, frames)
        findings.digests = digest_pictures(dataset.frames)
        report.findings.append(findings)
        report.datasets.append(dataset)
    for split, why in layout.withheld.items():
        console.print(f'{split}: {why}')
    compare_splits(report.findings)
    if not report.findings:
        raise DatasetError(f'{root} has no split of {name} in a layout that is known here')
    return report


def _check_recordings(root: Path, options: argparse.Namespace, console: Console) -> Report:
    findings, datasets, refused = [], [], []
    for split in ('train', 'val', 'test'):
        try:
            data = open_dataset(
                RECORDINGS,
                root,
                split,
                cache=options.cache,
                label_space=options.label_space,
                calibration=options.calibration,
                progress=lambda done, total: console.print(f'recording {done} of {total}'),
            )
        except DatasetError as error:
            refused.append(f'{split}: {error}')
            continue
        findings.append(_watch(data, split, len(data), 0, options, console))
        datasets.append(data)
    if not datasets:
        raise DatasetError('; '.join(refused))
    return Report(datasets[0].space, findings, datasets)


def _watch(
    dataset: Dataset,
    split: str,
    found: int,
    published: int,
    options: argparse.Namespace,
    console: Console,
) -> Findings:
    """Inspect a split and show how far it is."""
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(f'reading {split}', total=len(dataset))
        return inspect_dataset(
            dataset,
            split,
            found=found,
            published=published,
            workers=options.workers,
            advance=lambda: bar.advance(task),
        )


def make_index(name: str, root: Path, report: Report) -> DatasetIndex:
    """Sum a folder up.

    Args:
        name: The dataset.
        root: Its folder.
        report: What it holds.

    Returns:
        The index.
    """
    splits = {}
    for found, dataset in zip(report.findings, report.datasets, strict=True):
        frames = dataset.frames if isinstance(dataset, FileDataset) else ()
        splits[found.split] = IndexSplit(
            found.published,
            found.found,
            tuple(found.problems),
            dict(found.sizes),
            {str(i): int(found.pixels[i]) for i in np.flatnonzero(found.pixels)},
            index_frames([frames[i] for i in found.sound], root) if frames else (),
        )
    return DatasetIndex(name, splits)


def pick_frames(report: Report, count: int) -> list[tuple[str, LabelledFrame]]:
    """Pick frames that are spread over each split.

    Args:
        report: What a folder holds.
        count: Frames per split.

    Returns:
        Title and frame.
    """
    picked = []
    for found, dataset in zip(report.findings, report.datasets, strict=True):
        places = np.linspace(0, len(found.sound) - 1, min(count, len(found.sound)))
        for place in np.rint(places).astype(int):
            frame = dataset.read(found.sound[place])
            words = ' '.join(filter(None, (found.split, frame.name, frame.condition, frame.case)))
            picked.append((words, frame))
    return picked


def show_report(report: Report, console: Console) -> None:
    """Print what a folder holds.

    Args:
        report: What it holds.
        console: Where.
    """
    table = Table(title='splits')
    for heading in ('split', 'frames', 'published', 'sound', 'sizes', 'conditions and cases'):
        table.add_column(heading, justify='right' if heading in ('frames', 'sound') else 'left')
    for found in report.findings:
        kinds = {**found.conditions, **found.cases}
        table.add_row(
            found.split,
            str(found.found),
            str(found.published or '-'),
            str(len(found.sound)),
            ', '.join(f'{size}: {n}' for size, n in found.sizes.most_common(4)),
            ', '.join(f'{kind}: {n}' for kind, n in sorted(kinds.items()) if kind),
        )
    console.print(table)
    table = Table(title='share of the pixels, percent')
    table.add_column('label', no_wrap=True)
    for found in report.findings:
        table.add_column(found.split, justify='right')
    names = {each.id: f'{each.id} {each.name}' for each in report.space.classes}
    names[UNLABELED] = f'{UNLABELED} unlabeled'
    for label, name in names.items():
        shares = [100 * f.pixels[label] / max(f.pixels.sum(), 1) for f in report.findings]
        table.add_row(name, *[f'{share:.2f}' for share in shares])
    console.print(table)
    problems = report.problems
    for text in problems[:_SHOWN_PROBLEMS]:
        console.print(text, style='yellow', markup=False, soft_wrap=True)
    if len(problems) > _SHOWN_PROBLEMS:
        console.print(f'and {len(problems) - _SHOWN_PROBLEMS} more, all are in the index')
    if not problems:
        console.print('nothing is missing, nothing is odd', style='green')


def main(argv: list[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.

    Returns:
        0, or 1 where something is wrong.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.prepare',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('dataset', choices=DATASETS, help='which dataset the folder should hold')
    parser.add_argument('root', type=Path, help='the folder')
    parser.add_argument(
        '--out', type=Path, default=Path('runs/prepare'), help='for index and picture: %(default)s'
    )
    parser.add_argument('--workers', type=int, default=2, help='threads that read: %(default)s')
    parser.add_argument(
        '--frames', type=int, default=6, help='frames of each split in the picture: %(default)s'
    )
    parser.add_argument(
        '--label-space', default='', help='of recordings that do not say what their labels mean'
    )
    parser.add_argument(
        '--calibration', type=Path, help='of recordings: transforms and cameras that they lack'
    )
    parser.add_argument(
        '--cache',
        type=Path,
        default=Path('runs/recordings'),
        help='where frames of recordings are kept: %(default)s',
    )
    options = parser.parse_args(argv)
    console = Console()
    try:
        report = check_folder(options.dataset, options.root, options, console)
    except DatasetError as error:
        parser.error(str(error))
    show_report(report, console)
    index = make_index(options.dataset, options.root, report)
    path = options.out / f'{options.dataset}_index.json'
    save_atomically(json.dumps(dataclasses.asdict(index), indent=1).encode(), path)
    console.print(f'wrote {path}', soft_wrap=True)
    picked = pick_frames(report, options.frames)
    if picked:
        sheet = cv2.cvtColor(draw_sheet(picked, report.space), cv2.COLOR_RGB2BGR)
        picture = options.out / f'{options.dataset}_frames.png'
        save_atomically(cv2.imencode('.png', sheet)[1].tobytes(), picture)
        console.print(f'wrote {picture}', soft_wrap=True)
    return 1 if report.problems else 0


if __name__ == '__main__':
    sys.exit(main())
