"""SQLite files of rosbag2, with what its write-ahead log or journal still holds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sam_ad_perception.bags.containers.records import (
    Channel,
    ContainerError,
    Received,
    read_definition,
    read_qos,
    span_of,
)
from sam_ad_perception.core.console.printable import escape_controls

SIDE_FILES = ('-wal', '-journal')


class SqliteFile:
    """A db3 file of rosbag2; see `records.Container` for its attributes.

    It is opened so that a `-wal` beside it counts. Where that needs writing (a folder that is
    read-only, a `-journal` that was left), a copy in the folder for temporary files is read.

    Args:
        path: The file.

    Raises:
        ContainerError: It is no SQLite file of rosbag2, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.start_ns = self.end_ns = 0
        self.losses: list[str] = []
        self._stack = ExitStack()
        try:
            self._database = self._open()
            self._read_index()
            self._read_topics()
        except BaseException as err:
            self._stack.close()
            if isinstance(err, sqlite3.Error):
                raise ContainerError(f'SQLite says: {err}') from err
            raise

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def received(self) -> Received:
        """See `records.Container.received`."""
        return Received(self._channels, self._times_ns.astype(np.uint64))

    def span(self, channel: int) -> tuple[int, int]:
        """See `records.Container.span`."""
        return span_of(self.received(), channel)

    def messages(
        self, channels: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[int, int, bytes]]:
        """See `records.Container.messages`."""
        times = self._times_ns
        chosen = np.isin(self._channels, list(channels)) & (times >= start_ns)
        chosen &= times <= min(stop_ns - 1, np.iinfo(np.int64).max)
        (rows,) = np.nonzero(chosen)
        rows = rows[np.argsort(times[rows], kind='stable')]
        lost = 0
        for row in rows.tolist():
            query = 'SELECT data FROM messages WHERE rowid = ?'
            try:
                (data,) = self._database.execute(query, (int(self._ids[row]),)).fetchone()
                content = bytes(data)
            except (sqlite3.Error, TypeError):
                lost += 1
                continue
            yield int(self._channels[row]), int(times[row]), content
        if lost:
            sentence = f'it is damaged: {lost} of its {len(times)} messages are lost'
            if sentence not in self.losses:
                self.losses.append(sentence)

    def _open(self) -> sqlite3.Connection:
        """Open the file, or a copy where SQLite has to write beside it."""
        left = [s for s in SIDE_FILES if _holds_something(Path(f'{self.path}{s}'))]
        try:
            return self._connect(self.path, 'mode=ro')
        except sqlite3.OperationalError:
            if not left:  # in WAL mode by its header alone, which asks for a file beside it
                return self._connect(self.path, 'immutable=1')
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix='sam_ad_bag_')))
        try:
            for suffix in ('', *left):
                shutil.copyfile(f'{self.path}{suffix}', folder / f'{self.path.name}{suffix}')
        except OSError as err:
            raise ContainerError(
                f'{self.path.name}{left[0]} was left beside it, and the copy that reading it '
                f'needs does not fit into {folder.parent} ({err.strerror}): set TMPDIR'
            ) from err
        return self._connect(folder / self.path.name, 'mode=rw')

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        """Connect, and read once, so that all that can go wrong does so now."""
        # labelling reads in a thread of its own
        uri = f'{path.absolute().as_uri()}?{mode}'
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            database.execute('SELECT count(*) FROM sqlite_master').fetchone()
        except BaseException:
            database.close()
            raise
        self._stack.callback(database.close)
        return database

    def _columns(self, table: str) -> set[str]:
        """Names of a table's columns; none where the table is not there."""
        return {row[1] for row in self._database.execute(f'PRAGMA table_info({table})')}

    def _read_index(self) -> None:
        """Read place, topic and time of each message, as far as the file is whole."""
        if not self._columns('messages') or not self._columns('topics'):
            raise ContainerError('it has no tables `messages` and `topics`: not of rosbag2')
        rows: list[tuple[int, int, int]] = []
        try:
            query = 'SELECT rowid, topic_id, timestamp FROM messages ORDER BY rowid'
            for row in self._database.execute(query):
                rows.append(row)  # noqa: PERF402  what comes before an error counts
        except sqlite3.DatabaseError as err:
            if not rows:
                raise
            self.losses.append(
                f'it is damaged ({err}): what follows its first {len(rows)} messages is lost'
            )
        whole = [row for row in rows if all(isinstance(value, int) for value in row)]
        if len(whole) < len(rows):
            self.losses.append(f'{len(rows) - len(whole)} messages have no time or topic')
        table = np.array(whole, np.int64).reshape(-1, 3)
        self._ids, self._channels, self._times_ns = table.T
        if len(table):
            # A negative time is one beyond 2^63, as MCAP would have it.
            times = self.received().times_ns
            self.start_ns, self.end_ns = int(times.min()), int(times.max())

    def _read_topics(self) -> None:
        """Read the topics and the definitions of their types."""
        texts: dict[str, tuple[str, str]] = {}
        if self._columns('message_definitions'):
            query = 'SELECT topic_type, encoding, encoded_message_definition '
            for kind, encoding, text in self._database.execute(f'{query}FROM message_definitions'):
                texts.setdefault(kind, (encoding, text))
        names = ('id', 'name', 'type', 'serialization_format')
        more = ('offered_qos_profiles', 'type_description_hash')
        there = self._columns('topics')
        query = ', '.join([*names, *(name if name in there else "''" for name in more)])
        numbers, amounts = np.unique(self._channels, return_counts=True)
        counts = dict(zip(numbers.tolist(), amounts.tolist(), strict=True))
        for number, topic, kind, form, qos, digest in self._database.execute(
            f'SELECT {query} FROM topics'
        ):
            definition, foreign = read_definition(*texts.get(kind, ('', '')))
            if form != 'cdr':
                foreign = f'its messages are {form}, not the CDR of ROS 2'
            self.channels[number] = Channel(
                number,
                escape_controls(topic),
                escape_controls(kind),
                counts.pop(number, 0),
                definition,
                digest or '',
                read_qos(qos),
                foreign,
            )
        if counts:
            told = ', '.join(f'{n} of topic {number}' for number, n in sorted(counts.items()))
            self.losses.append(f'messages of topics that it does not describe are lost: {told}')


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
