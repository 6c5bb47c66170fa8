"""What `sam_ad label` shows while it works and when it is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.commands.display.tables import print_table
from sam_ad_perception.core.console.printable import escape_controls

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.camera_views import CameraViews
    from sam_ad_perception.bags.labelling.fleet import BagJob, BagOutcome, BagProgress
    from sam_ad_perception.bags.labelling.view_run import LabelReport

_FATES = {
    'duplicate': 'another one with the same header.stamp came before',
    'late': 'header.stamp is older than what had been labelled when they came',
    'overflow': 'too many came between two frames of the leading sensor',
    'flushed': 'header.stamp of a later one went back',
}


class LabelProgress:
    """A progress bar with masks, masks per second and the time left, in a `with` block."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

        from sam_ad_perception.commands.display.progress import LineProgress

        text = '{task.fields[masks]} masks, {task.fields[rate]:.1f}/s'
        self._bar = LineProgress(
            '{task.description}',
            BarColumn(),
            TaskProgressColumn(),
            text,
            TimeRemainingColumn(),
            console=console,
        )
        self._title = title
        self._task = self._bar.add_task(title, total=None, masks=0, rate=0.0)
        self._masks = 0
        self._start = time.monotonic()

    def __enter__(self) -> LabelProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def count(self, masks: int = 1) -> None:
        """Take more masks into account."""
        self._masks += masks
        rate = self._masks / max(1e-3, time.monotonic() - self._start)
        self._bar.update(self._task, masks=self._masks, rate=rate)

    def advance(self, done: float, total: float) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=done, total=total)

    def title(self, text: str) -> None:
        """Show what it is about."""
        self._title = text
        self._bar.update(self._task, description=text)

    @contextmanager
    def name_compiling(self) -> Iterator[None]:
        """Show it in place of the title while kernels are compiled."""
        from sam_ad_perception.commands.display.progress import name_compiling

        def show(text: str) -> None:
            self._bar.update(self._task, description=text or self._title)

        with name_compiling(show, ''):
            yield


class FleetProgress:
    """A progress bar over many recordings, and a line for each that ended, in a `with` block.

    Args:
        console: Where it is shown.
        jobs: The recordings.
    """

    def __init__(self, console: Console, jobs: Sequence[BagJob]) -> None:
        self._console = console
        self._sizes = {job.name: job.size for job in jobs}
        self._shares: dict[str, float] = {}
        self._masks: dict[str, int] = {}
        self._ended: dict[str, bool] = {}
        self._bar = LabelProgress(console, f'0 of {len(jobs)} bags')

    def __enter__(self) -> FleetProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    @contextmanager
    def name_compiling(self) -> Iterator[None]:
        """See `LabelProgress.name_compiling`."""
        with self._bar.name_compiling():
            yield

    def show(self, progress: BagProgress) -> None:
        """Show how far a recording is; news of one that ended come late, and are nothing."""
        if progress.name not in self._ended:
            self._set(progress.name, progress.share, progress.masks)

    def end(self, outcome: BagOutcome) -> BagOutcome:
        """Show what became of a recording, and give it back."""
        self._ended[outcome.name] = not outcome.reason
        self._set(outcome.name, 1.0, outcome.masks)
        failed = sum(not well for well in self._ended.values())
        self._bar.title(f'{len(self._ended)} of {len(self._sizes)} bags, {failed} failed')
        if outcome.reason:
            text = f'failed: {outcome.reason}'
        else:
            rate = outcome.masks / max(1e-3, outcome.seconds)
            text = f'{outcome.masks} masks in {outcome.seconds:.1f} s, {rate:.1f}/s'
            text += f' ({outcome.remark})' if outcome.remark else ''
        self._console.print(
            f'{outcome.name}: {text}', markup=False, highlight=False, soft_wrap=True
        )
        return outcome

    def _set(self, name: str, share: float, masks: int) -> None:
        self._bar.count(max(0, masks - self._masks.get(name, 0)))
        self._masks[name] = masks
        self._shares[name] = share
        done = sum(self._sizes[n] * share for n, share in self._shares.items())
        self._bar.advance(done, sum(self._sizes.values()))


def print_views(console: Console, bag: Path, views: CameraViews) -> None:
    """Tell which topic was taken for which sensor, of every camera."""
    from rich.markup import escape
    from rich.table import Table

    first, *others = views.mappings.values()
    names = list(views.mappings)
    table = Table(
        'role', 'topic', 'remark', title=escape(escape_controls(str(bag))), title_justify='left'
    )
    told = set()
    for name, mapping in views.mappings.items():
        for role, topic, remark in mapping.rows():
            if others and role in ('camera', 'camera_info'):
                remark = remark.partition('; not taken')[0]  # the other views' cameras
                table.add_row(f'{name}: {role}', escape(topic), escape(remark))
                told.add(topic)
    for row in first.rows():
        if row[1] not in told:
            table.add_row(*(escape(text) for text in row))
    print_table(console, table)
    if views.left_out:
        table = Table('not read', 'messages', 'why')
        for row in views.left_out:
            table.add_row(*(escape(text) for text in row))
        print_table(console, table)
    doubts = dict.fromkeys(doubt for each in views.mappings.values() for doubt in each.doubts())
    lines = [f'please check: {doubt}' for doubt in doubts]
    if others:
        lines.append(
            f'{len(names)} cameras are labelled, each under its name: {", ".join(names)} '
            '(--view NAME or --topic camera:=TOPIC for fewer)'
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_report(console: Console, report: LabelReport, out: Path) -> None:
    """Tell what came out."""
    from rich.table import Table

    table = Table('stage', 'p50', 'p95', 'p99', 'max', title='latency, ms', title_justify='left')
    for stage, each in report.latency_ms.items():
        values = (each.p50, each.p95, each.p99, each.max)
        table.add_row(stage, *(f'{value:.1f}' for value in values))
    if report.frames:
        print_table(console, table)
    lines = [f'{name}: {each.frames} masks' for name, each in report.views.items()]
    lines += [f'{count} masks from {subset}' for subset, count in report.used.items()]
    lines += [f'{n} masks without {why}' for why, n in report.missing.items()]
    lines += [f'{n} frames dropped: {reason}' for reason, n in report.dropped.items()]
    lines += [f'{f.finding.sensor}: {f.finding.sentence} ({f.count} times)' for f in
              report.findings]  # fmt: skip
    lines += _lost_frames(report)
    lines += [
        f'{t}: {u.count} messages not used: {u.reason}' for t, u in report.unreadable.items()
    ]
    lines += [
        f'{u.name} ({u.type}): {u.count} messages not read: {u.reason}' for u in report.unread
    ]
    lines += [f'recording: {remark}' for remark in report.remarks]
    lines += [f'{note} ({n} times)' for note, n in report.transform_notes.items()]
    lines += [f'{topic} not copied: nobody defines its type' for topic in report.not_copied]
    lines += [f'{report.frames} masks written to {out}']
    for line in lines:  # reasons may hold brackets, which are no markup
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lost_frames(report: LabelReport) -> list[str]:
    """Say which frames came to nothing because of their stamps."""
    lines = []
    for name, count in report.counters.items():
        sensor, _, fate = name.partition('.')
        if fate in _FATES and count:
            lines.append(f'{count} frames of {sensor} not used: {_FATES[fate]}')
    if jumps := report.counters['time_jumps']:
        lines.append(f'stamps went back {jumps} times: what waited was used with what there was')
    return lines


def print_episode(console: Console, bag: Path) -> None:
    """Say of a recording of a black box why it was written, and what is missing of it.

    Args:
        console: Where.
        bag: The recording; of another one nothing is said.
    """
    from sam_ad_perception.bags.black_box.episodes import read_episode

    note = read_episode(bag)
    if note is None:
        return
    why = '; '.join(f'{kind}: {reason}' for kind, reason, _ in note.triggers)
    lines = [f'written by a black box ({why})']
    lines += [f'{loss}: masks may differ from those of the vehicle' for loss in note.losses]
    for line in lines:
        console.print(escape_controls(line), markup=False, highlight=False, soft_wrap=True)


def print_ends(console: Console, ends: Sequence[BagOutcome], out: Path) -> None:
    """Tell what became of all recordings: how many of each fate, and why some failed."""
    from rich.markup import escape
    from rich.table import Table

    failed = [end for end in ends if end.reason]
    if failed:
        table = Table('failed', 'reason')
        for end in failed:
            table.add_row(escape(end.name), escape(end.reason))
        print_table(console, table)
    counts = Counter(end.fate.value for end in ends)
    fates = ', '.join(f'{count} {fate}' for fate, count in counts.items())
    masks = sum(end.masks for end in ends)
    console.print(
        f'{len(ends)} bags: {fates}; {masks} masks written to {out}',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
