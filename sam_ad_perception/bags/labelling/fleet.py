"""Label many recordings: find them, leave out what is done, go on after one that fails."""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.bags.camera_views import choose_views
from sam_ad_perception.bags.labelling.provenance import compare, storage_files, write_provenance
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.labelling.view_run import LabelOptions
from sam_ad_perception.bags.reader import STORAGE_SUFFIXES, BagError, BagReader
from sam_ad_perception.bags.writer import remove_recording
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle

if TYPE_CHECKING:
    from sam_ad_perception.modeling.inference.segmenter import Segmenter


class Fate(StrEnum):
    """What became of a recording."""

    LABELLED = 'labelled'
    FINISHED_BEFORE = 'finished before'
    FAILED = 'failed'


@dataclass(frozen=True)
class BagJob:
    """One recording to label.

    Attributes:
        name: Its path below the folder that is labelled.
        bag: The recording.
        out: Folder of the labelled recording.
        size: Bytes of its files.
        note: Kept with the result, see `provenance`.
    """

    name: str
    bag: Path
    out: Path
    size: int
    note: str


@dataclass(frozen=True)
class BagOutcome:
    """What became of one recording.

    Attributes:
        name: As of `BagJob`.
        fate: What became of it.
        masks: So many were written.
        seconds: So long it took.
        reason: Why it failed.
        remark: What went wrong although it was labelled.
    """

    name: str
    fate: Fate
    masks: int = 0
    seconds: float = 0.0
    reason: str = ''
    remark: str = ''


@dataclass(frozen=True)
class BagProgress:
    """How far one recording is: the share that is read, 0 to 1, and the masks made."""

    name: str
    share: float
    masks: int


@dataclass(frozen=True)
class FleetTask:
    """How each recording is labelled; it can be sent to another process.

    Attributes:
        load: Loads the networks.
        options: What is written, and how.
        topics: Roles and topic names that are not guessed.
        rectified: Whether images are rectified, where the topic name does not tell.
        views: Cameras that are labelled, see `camera_views.choose_views`; None for all.
    """

    load: Callable[[], Segmenter]
    options: LabelOptions = field(default_factory=LabelOptions)
    topics: Mapping[str, str] = field(default_factory=dict)
    rectified: Mapping[Modality, bool] = field(default_factory=dict)
    views: Mapping[str, str] | None = None


Tell = Callable[[BagProgress], object]


def find_bags(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """Find the recordings in a folder and below it.

    A folder with metadata.yaml is one recording. Without, files whose names differ only in the
    number at the end are the parts of one; any others are a recording each.

    Args:
        folder: Where they lie; links are followed, each folder is looked into once, hidden ones
            not at all.
        leave_out: A folder that is not looked into.

    Returns:
        Folders and files, by name.

    Raises:
        OSError: A folder cannot be read.
    """
    left_out = {leave_out.resolve()} if leave_out else set()
    return sorted(_find(folder, left_out))


def is_one_bag(path: Path, bags: list[Path]) -> bool:
    """Whether a path is a recording itself, rather than a folder of several.

    Args:
        path: What the user named.
        bags: What `find_bags` found in it.
    """
    if path.is_file() or not bags:
        return True
    inside = bags[0].is_file() and bags[0].parent == path
    return len(bags) == 1 and (inside or bags[0] == path)


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Keep a second command from labelling into the same folder at the same time.

    Args:
        out: Folder of the results; it is made where it is not there.

    Raises:
        BagError: Another process is labelling into it.
        OSError: It cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / '.lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f'another process is labelling into {out}') from None
        yield


def plan_jobs(
    folder: Path, bags: Iterable[Path], out: Path, settings: Mapping[str, str]
) -> list[BagJob]:
    """Say where the result of each recording goes, and what it is made of.

    Args:
        folder: What is labelled.
        bags: The recordings in it.
        out: Folder of the results.
        settings: See `provenance.describe_settings`.

    Returns:
        The jobs, in the order of the recordings.

    Raises:
        BagError: Two results would have the same name.
        OSError: A recording cannot be read.
    """
    jobs: dict[Path, BagJob] = {}
    for bag in bags:
        path = bag.relative_to(folder) if bag != folder else Path(folder.resolve().name)
        where = (out / (path.with_suffix('') if bag.is_file() else path)).resolve()
        if where in jobs:
            raise BagError(
                f'{jobs[where].bag} and {bag} would both be labelled into {where}: rename one'
            )
        size = sum(file.stat().st_size for file in storage_files(bag))
        note = write_provenance(bag, settings)
        jobs[where] = BagJob(str(path), bag.resolve(), where, size, note)
    return list(jobs.values())


def leave_finished(jobs: Iterable[BagJob], *, overwrite: bool) -> Iterator[BagJob]:
    """Choose what is still to be done.

    Args:
        jobs: All of them.
        overwrite: Whether results of another input or other settings are made anew.

    Yields:
        Jobs without a result, or, with `overwrite`, with another one than would come out now.

    Raises:
        BagError: A result is of another input or other settings, and must not be overwritten.
    """
    for job in jobs:
        if not job.out.exists():
            yield job
        elif differences := compare(job.out, job.note):
            if not overwrite:
                more = f' (and {len(differences) - 1} more)' if len(differences) > 1 else ''
                raise BagError(
                    f'{job.out} was labelled otherwise: {differences[0]}{more}; '
                    '--overwrite labels such bags anew'
                )
            yield job


def label_one(job: BagJob, task: FleetTask, segmenter: Segmenter, tell: Tell) -> BagOutcome:
    """Label one recording; whatever goes wrong is its outcome, and no exception.

    Args:
        job: Which.
        task: How.
        segmenter: Makes the masks.
        tell: Told how far it is.

    Returns:
        What became of it. The result appears whole or not at all.
    """
    start, masks = time.monotonic(), 0

    def count(bundle: SensorBundle, result: Segmentation) -> None:
        nonlocal masks
        masks += 1

    def failed(reason: str) -> BagOutcome:
        return BagOutcome(job.name, Fate.FAILED, 0, time.monotonic() - start, reason)

    try:
        with BagReader(job.bag) as reader:
            views = choose_views(reader, task.topics, task.rectified, task.views)
        report = label_bag(
            job.bag,
            job.out,
            segmenter,
            segmenter.labels,
            views=views.mappings,
            options=task.options,
            overwrite=True,
            note=job.note,
            progress=lambda done, total: tell(BagProgress(job.name, done / total, masks)),
            on_mask=count,
        )
    except (ValueError, OSError) as err:
        return failed(str(err))
    # A network that runs out of memory, a fault of ours: the other bags need not suffer.
    except Exception as err:
        return failed(f'{type(err).__name__}: {err}')
    # A recording without a mask is no result: it goes, with the reason.
    if not report.frames:
        remove_recording(job.out)
        unread = [f'{topic}: {each.reason}' for topic, each in report.unreadable.items()]
        why = next(iter([*report.dropped, *unread]), 'no sensor that could lead has a frame')
        return failed(f'no mask came out: {why}')
    dropped = [f'{count} frames dropped: {reason}' for reason, count in report.dropped.items()]
    remark = '; '.join([*report.remarks, *dropped])
    seconds = time.monotonic() - start
    return BagOutcome(job.name, Fate.LABELLED, report.frames, seconds, remark=remark)


def label_serially(jobs: Iterable[BagJob], task: FleetTask, tell: Tell) -> Iterator[BagOutcome]:
    """Label recordings one after the other, in this process.

    Args:
        jobs: Which.
        task: How.
        tell: Told how far each is.

    Yields:
        What became of each.

    Raises:
        ValueError: The networks cannot be loaded.
        OSError: Likewise.
    """
    segmenter = task.load()
    for job in jobs:
        yield label_one(job, task, segmenter, tell)


def _find(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Recordings in a folder that was not looked into yet."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    if (folder / 'metadata.yaml').is_file():
        yield folder
        return
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith('.')]
    files = [e for e in entries if e.suffix in STORAGE_SUFFIXES and e.is_file()]
    stems = {re.sub(r'_?\d+$', '', file.stem) for file in files}
    if len(files) > 1 and len(stems) == 1:
        yield folder
    else:
        yield from files
    for entry in entries:
        if entry.is_dir():
            yield from _find(entry, seen)
