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

from sam_ad_perception.core.console.command_line import (
    CommandParser,
    describe_error,
    existing_file,
    whole_number,
)
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.core.console.suggestions import did_you_mean, missing_path
from sam_ad_perception.core.label_files import find_label_space
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from training.datasets.catalog import FOLDERS, RECORDINGS, dataset_names, layout_of, open_dataset
from training.datasets.own.data_file import read_data_file
from training.datasets.own.recordings import Recordings, find_bags
from training.datasets.own.simulated import LABEL_SPACE as SIMULATED_SPACE
from training.frames.contact_sheet import draw_sheet
from training.frames.frame import Dataset, DatasetError, LabelledFrame
from training.frames.image_folders import FileDataset
from training.frames.index import DatasetIndex, IndexSplit, index_frames
from training.frames.inspection import (
    Findings,
    compare_splits,
    digest_pictures,
    inspect_dataset,
    inspect_files,
    whole_frames,
)
from training.frames.summary import incomplete_names, problems_of, show_splits
from training.networks.checkpoint import save_atomically

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
        name: One of `dataset_names`.
        root: Its folder.
        options: See `main`.
        console: Where progress is shown.

    Returns:
        What was found.

    Raises:
        DatasetError: No split is there.
    """
    if name == FOLDERS:
        return _check_folders(root, options, console)
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
        findings.incomplete = incomplete_names(dataset)
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
    findings: list[Findings] = []
    datasets: list[Dataset] = []
    refused: list[str] = []
    for split in ('train', 'val', 'test'):
        try:
            find_bags(root, split)
        except DatasetError as error:
            console.print(f'{split}: not there ({error})', soft_wrap=True, markup=False)
            refused.append(f'{split}: {error}')
            continue
        try:
            data = open_dataset(
                RECORDINGS,
                root,
                split,
                cache=options.cache,
                label_space=options.label_space,
                calibration=options.calibration,
                pseudo_labels=options.pseudo_labels,
                skip_refused=True,
                progress=lambda done, total: console.print(f'recording {done} of {total}'),
            )
        except DatasetError as error:
            findings.append(Findings(split, 0, 0, [str(error)]))
            datasets.append(NoFrames(find_space(options.label_space)))
            continue
        assert isinstance(data, Recordings)
        seen = _watch(data, split, len(data), 0, options, console)
        seen.problems += data.problems
        seen.notes += data.notes
        findings.append(seen)
        datasets.append(data)
        _show_recordings(data, split, console)
    if not datasets:
        raise DatasetError('; '.join(refused))
    spaces = [data.space for data in datasets if len(data)]
    return Report(spaces[0] if spaces else datasets[0].space, findings, datasets)


def _check_folders(source: Path, options: argparse.Namespace, console: Console) -> Report:
    data = read_data_file(source)
    report = Report(data.space, [], [])
    for split in ('train', 'val', 'test'):
        if split == 'test' and data.file.test is None:
            continue
        dataset = open_dataset(FOLDERS, source, split, cache=options.cache)
        findings = _watch(dataset, split, len(dataset), 0, options, console)
        findings.incomplete = incomplete_names(dataset)
        findings.found += len(findings.incomplete)
        findings.problems += problems_of(dataset)
        if isinstance(dataset, FileDataset):
            findings.digests = digest_pictures(dataset.frames)
        report.findings.append(findings)
        report.datasets.append(dataset)
    compare_splits(report.findings)
    return report


def _show_recordings(data: Recordings, split: str, console: Console) -> None:
    table = Table(title=f'recordings of {split}')
    for heading in ('recording', 'truth from', 'frames used', 'labels', 'not used, and why'):
        table.add_column(heading, overflow='fold')
    for row in data.table():
        table.add_row(*row)
    console.print(table)
    for note in data.notes:
        console.print(f'{split}: {note}', markup=False, soft_wrap=True)


class NoFrames:
    """A split of which nothing can be read.

    Args:
        space: The classes of its labels.
    """

    def __init__(self, space: LabelSpace) -> None:
        self.space = space

    def __len__(self) -> int:
        """None."""
        return 0

    def read(self, index: int) -> LabelledFrame:
        """There is nothing to read."""
        raise DatasetError(f'there is no frame {index}')


def find_space(name: str) -> LabelSpace:
    """The label space of a name, or that of the simulator where none is given."""
    try:
        return find_label_space(name) if name else LABEL_SPACES[SIMULATED_SPACE]
    except ValueError as error:
        raise DatasetError(str(error)) from error


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
    show_splits(report.findings, report.space, console)
    problems = report.problems
    for text in problems[:_SHOWN_PROBLEMS]:
        console.print(text, style='yellow', markup=False, soft_wrap=True)
    if len(problems) > _SHOWN_PROBLEMS:
        console.print(f'and {len(problems) - _SHOWN_PROBLEMS} more, all are in the index')
    if any(found.notes or found.lacking for found in report.findings):
        return  # they are said already
    if not problems:
        console.print('nothing is missing, nothing is odd', style='green')


def _parse(argv: list[str] | None, prog: str) -> tuple[CommandParser, argparse.Namespace]:
    """Read the command line; what is wrong with it ends the program in one line."""
    parser = _make_parser(prog)
    options = parser.parse_args(argv)
    source = Path(options.dataset).expanduser()
    if options.root is None and source.suffix in ('.yaml', '.yml'):
        options.dataset, options.root = FOLDERS, source
        if not source.exists():
            parser.error(missing_path(source))
    if options.dataset in dataset_names() and options.root is None:
        parser.error(f'{options.dataset} needs its folder, as in `{parser.examples[0]}`')
    if options.dataset not in dataset_names():
        parser.error(
            f'dataset must be one of {", ".join(dataset_names())} with its folder, or the YAML '
            f'file of own data, got {options.dataset!r}'
            f'{did_you_mean(options.dataset, dataset_names())}'
        )
    options.root = options.root.expanduser()
    if not options.root.exists():
        parser.error(missing_path(options.root))
    return parser, options


def _make_parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog,
        __doc__,
        examples=(
            'sam_ad prepare mfnet data/mfnet',
            'sam_ad prepare my_data.yaml --out prepared',
        ),
        raw=True,
    )
    parser.add_argument(
        'dataset',
        help=f'which dataset the folder should hold: {", ".join(dataset_names())}; or the file of '
        'own data',
    )
    parser.add_argument('root', type=Path, nargs='?', help='the folder')
    parser.add_argument(
        '--out',
        type=new_folder(),
        default=Path('runs/prepare'),
        help='for index and picture: %(default)s',
    )
    parser.add_argument(
        '--workers', type=whole_number(1), default=2, help='threads that read: %(default)s'
    )
    parser.add_argument(
        '--frames',
        type=whole_number(0),
        default=6,
        help='frames of each split in the picture: %(default)s',
    )
    parser.add_argument(
        '--label-space', default='', help='of recordings that do not say what their labels mean'
    )
    parser.add_argument(
        '--pseudo-labels',
        action='store_true',
        help='recordings without truth: look at the masks that a network gave them',
    )
    parser.add_argument(
        '--calibration',
        type=existing_file('config/extrinsics.example.yaml shows what it holds'),
        help='of recordings: transforms and cameras that they lack',
    )
    parser.add_argument(
        '--cache',
        type=Path,
        default=Path('runs/recordings'),
        help='where frames of recordings are kept: %(default)s',
    )
    return parser


def main(argv: list[str] | None = None, prog: str = 'python -m training.prepare') -> int:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.

    Returns:
        0, or 1 where something is wrong.
    """
    parser, options = _parse(argv, prog)
    console = Console()
    try:
        report = check_folder(options.dataset, options.root, options, console)
    except DatasetError as error:
        parser.error(describe_error(error))
    show_report(report, console)
    base = options.root
    if options.dataset == FOLDERS:
        base = read_data_file(options.root).root
    index = make_index(options.dataset, base, report)
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
