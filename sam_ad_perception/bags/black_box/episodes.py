"""Recordings of what happened: their names, what they say of themselves, and room on the disk."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sam_ad_perception.bags.writer import read_note, recording_files, remove_recording

NAME = re.compile(r'\d{8}T\d{6}_\d{9}_[a-z]+')
_LEFT = re.compile(r'\.(\d{8}T\d{6}_\d{9}_[a-z]+)\.(part_|old_|lock).*')
PARAMETERS = 'parameters.yaml'

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpisodeNote:
    """What an episode says of itself; the note of its recording.

    Attributes:
        triggers: Kind, code and reason of what happened, the first one first.
        trigger_ns: When the first one came, by the clock of the recording, nanoseconds.
        lost: Messages that did not reach the recorder, by topic.
        cut: Messages that did not fit into memory or on the disk, by topic.
        silent: Topics that were asked for and not published.
    """

    triggers: Sequence[tuple[str, str, str]]
    trigger_ns: int
    lost: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, int] = field(default_factory=dict)
    silent: Sequence[str] = ()

    def to_text(self) -> str:
        """Write it down."""
        return json.dumps({'black_box': dataclasses.asdict(self)})

    @property
    def losses(self) -> list[str]:
        """What is missing of the inputs, one sentence each."""
        lost = [
            f'{n} messages of {topic} did not reach the recorder' for topic, n in self.lost.items()
        ]
        cut = [
            f'{n} messages of {topic} did not fit into its memory' for topic, n in self.cut.items()
        ]
        return [*lost, *cut]


def read_episode(bag: Path) -> EpisodeNote | None:
    """Read what an episode says of itself.

    Args:
        bag: A recording.

    Returns:
        Its note; None where it is no episode of a black box.
    """
    try:
        content = json.loads(read_note(bag))['black_box']
        return EpisodeNote(
            [(str(kind), str(reason), str(code)) for kind, reason, code in content['triggers']],
            int(content['trigger_ns']),
            {str(k): int(v) for k, v in content['lost'].items()},
            {str(k): int(v) for k, v in content['cut'].items()},
            [str(each) for each in content['silent']],
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class EpisodeFolder:
    """The folder of episodes: oldest ones give way to new ones.

    Args:
        folder: Is made.
        limit: Most bytes of all episodes together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> list[Path]:
        """Remove what a recorder that was killed left unfinished; whoever calls owns the folder.

        Returns:
            What was found.
        """
        found = [each for each in sorted(self._folder.iterdir()) if _LEFT.fullmatch(each.name)]
        for each in found:
            log.warning('%s was left by a recorder that was killed; it is removed', each)
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        return found

    def new(self, kind: str, now: datetime | None = None) -> Path:
        """Name a new episode; names sort by time.

        Args:
            kind: Of its trigger.
            now: The time of day, UTC.

        Returns:
            A path that does not exist.
        """
        now = now or datetime.now(UTC)
        path = self._folder / f'{now:%Y%m%dT%H%M%S}_{now.microsecond * 1000:09d}_{kind}'
        while path.exists():
            stem, number, _ = path.name.split('_')
            path = self._folder / f'{stem}_{int(number) + 1:09d}_{kind}'
        return path

    def episodes(self) -> list[Path]:
        """List what is there, the oldest first; nothing that somebody else put there."""
        found = (each for each in self._folder.iterdir() if NAME.fullmatch(each.name))
        return sorted(each for each in found if recording_files(each))

    def make_room(self, wanted: int) -> str:
        """Delete oldest episodes until a new one fits.

        Args:
            wanted: Bytes that it may take.

        Returns:
            Why it does not fit all the same; '' where it does.
        """
        if wanted > self._limit:
            return f'it may take {wanted >> 20} MiB, and all of them together {self._limit >> 20}'
        there = self.episodes()
        sizes = {each: size_of(each) for each in there}
        while there and sum(sizes[each] for each in there) + wanted > self._limit:
            oldest = there.pop(0)
            log.info('%s gives way', oldest)
            (oldest / PARAMETERS).unlink(missing_ok=True)
            remove_recording(oldest)
        free = shutil.disk_usage(self._folder).free
        if free < wanted:
            return f'the disk has {free >> 20} MiB left, and it may take {wanted >> 20}'
        return ''


def size_of(folder: Path) -> int:
    """Count the bytes of a folder's files."""
    return sum(each.stat().st_size for each in folder.rglob('*') if each.is_file())
