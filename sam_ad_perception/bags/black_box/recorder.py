"""The black box without ROS: messages and triggers in, recordings out."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sam_ad_perception.bags.black_box.episodes import PARAMETERS, EpisodeFolder, EpisodeNote
from sam_ad_perception.bags.black_box.ring import MessageRing, cost
from sam_ad_perception.bags.black_box.triggers import RateLimit, Trigger
from sam_ad_perception.bags.reader import BagMessage
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.transaction import lock_target

MIB = 1 << 20
LONGEST_SPANS = 10
"""An episode that new triggers prolong ends after so many times the seconds after a trigger."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlackBoxOptions:
    """Its bounds.

    Attributes:
        before_s: What is kept before a trigger, seconds.
        after_s: What is recorded after one, seconds.
        memory_mib: Most memory of messages that are held or wait to be written.
        disk_mib: Most room of all episodes.
        interval_s: Least time between two episodes, seconds.
        per_hour: Most episodes in an hour.

    Raises:
        ValueError: A bound is not positive.
    """

    before_s: float = 10.0
    after_s: float = 5.0
    memory_mib: int = 1024
    disk_mib: int = 8192
    interval_s: float = 30.0
    per_hour: int = 20

    def __post_init__(self) -> None:
        for name in ('before_s', 'after_s', 'memory_mib', 'disk_mib', 'per_hour'):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name} must be more than 0, got {getattr(self, name)}')


@dataclass(eq=False)
class _Episode:
    """A recording in the making.

    Attributes:
        path: Where it will be.
        end_ns: When it ends, by the clock of the messages.
        last_ns: When it ends at the latest, however many triggers follow.
        note: What it says of itself; there when it has ended.
        triggers: What happened, the first one first.
        trigger_ns: When the first one came.
        waiting: Messages on their way to the writer; None ends it.
        thread: The writer.
        cut: Messages that found no room, by topic.
        size: Bytes so far.
    """

    path: Path
    end_ns: int
    last_ns: int
    triggers: list[Trigger]
    trigger_ns: int
    waiting: queue.SimpleQueue[BagMessage | None] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None
    cut: Counter[str] = field(default_factory=Counter)
    size: int = 0
    note: str = ''


class BlackBox:
    """Holds the last seconds, and writes them when it is told to. One thread feeds it.

    Args:
        folder: Of the episodes; no other process may use it.
        options: Its bounds.
        on_written: Told of each episode that is on the disk, from the thread that wrote it.

    Attributes:
        lost: Messages that did not reach the recorder so far, by topic; whoever feeds it counts.
        silent: Topics that were asked for and are not published, as of now.
        parameters: What is written as `parameters.yaml`; '' for nothing.
        refused: Triggers of which nothing was written, by reason.
        written: Episodes on the disk.
    """

    def __init__(
        self,
        folder: Path,
        options: BlackBoxOptions | None = None,
        on_written: Callable[[Path], object] | None = None,
    ) -> None:
        self._options = options = options or BlackBoxOptions()
        self._on_written = on_written
        self._limit = options.memory_mib * MIB
        self._ring = MessageRing(round(options.before_s * 1e9), self._limit)
        self._rate = RateLimit(options.interval_s, options.per_hour)
        self._latched: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._waiting = 0
        self._episode: _Episode | None = None
        self._ending: threading.Thread | None = None
        self._now_ns = 0
        self.lost: Counter[str] = Counter()
        self._lost_by_arrival: list[tuple[int, str, int]] = []
        self.silent: Sequence[str] = ()
        self.parameters = ''
        self.refused: Counter[str] = Counter()
        self.written: list[Path] = []
        self._folder = EpisodeFolder(folder, options.disk_mib * MIB)
        self._stack = ExitStack()
        self._stack.enter_context(lock_target(folder / 'black_box'))
        self._folder.clear()

    @property
    def size(self) -> int:
        """Bytes of messages that are held or wait to be written."""
        with self._lock:
            return self._ring.size + self._waiting

    @property
    def waiting(self) -> int:
        """Bytes of messages that wait to be written."""
        with self._lock:
            return self._waiting

    @property
    def recording(self) -> bool:
        """Whether an episode is being written."""
        return self._episode is not None

    def announce(self, topic: str, *, latched: bool) -> None:
        """Tell of a topic before its first message."""
        self._latched[topic] = latched

    def lose(self, topic: str, count: int) -> None:
        """Note that messages did not arrive."""
        self.lost[topic] += count
        self._lost_by_arrival.append((self._now_ns, topic, count))
        horizon_ns = self._now_ns - round(self._options.before_s * 1e9)
        if self._episode is None:
            while self._lost_by_arrival and self._lost_by_arrival[0][0] < horizon_ns:
                self._lost_by_arrival.pop(0)

    def take(self, message: BagMessage) -> None:
        """Take a message that came now.

        Args:
            message: Its bytes are kept as they are.
        """
        if message.received_ns < self._now_ns and self._episode is not None:
            self._finish()  # time was set back: what follows belongs to another run
        self._now_ns = message.received_ns
        episode = self._episode
        with self._lock:
            waiting = self._waiting
            latched = self._latched.get(message.topic, False)
            self._ring.add(message, latched=latched, elsewhere=waiting)
            if episode is not None:
                size = cost(message)
                full = self._ring.size + waiting + size > self._limit
                if full or episode.size + size > self._options.disk_mib * MIB:
                    episode.cut[message.topic] += 1
                else:
                    self._put(episode, message)
        self.tick(message.received_ns)

    def tick(self, now_ns: int) -> None:
        """End an episode whose time is over; call it also while no message comes.

        Args:
            now_ns: By the clock of the messages.
        """
        if self._episode is not None and now_ns >= self._episode.end_ns:
            self._finish()

    def trigger(self, trigger: Trigger, now: float) -> str:
        """Write what happened, or prolong what is being written.

        Args:
            trigger: Why.
            now: Steady time, seconds.

        Returns:
            Why nothing is written; '' where it is.
        """
        after_ns = round(self._options.after_s * 1e9)
        if self._episode is not None:
            self._episode.triggers.append(trigger)
            end_ns = min(self._now_ns + after_ns, self._episode.last_ns)
            self._episode.end_ns = max(self._episode.end_ns, end_ns)
            return ''
        why = '' if len(self._ring) else 'no message came yet'
        if self._ending is not None and self._ending.is_alive():
            why = 'the last one is still being written'
        why = why or self._rate.refuse(now) or self._folder.make_room(2 * self._ring.size + MIB)
        if why:
            self.refused[why] += 1
            return why
        self._begin(trigger, after_ns)
        return ''

    def close(self) -> None:
        """Write what was begun, and let the folder go."""
        if self._episode is not None:
            self._finish()
        self.wait()
        self._stack.close()

    def wait(self) -> None:
        """Wait until the episode that has ended is on the disk."""
        if self._ending is not None:
            self._ending.join()

    def _begin(self, trigger: Trigger, after_ns: int) -> None:
        now_ns = self._now_ns
        last_ns = now_ns + LONGEST_SPANS * after_ns
        path = self._folder.new(trigger.kind)
        episode = _Episode(path, now_ns + after_ns, last_ns, [trigger], now_ns)
        with self._lock:
            for message in self._ring.snapshot():
                self._put(episode, message)
            episode.cut = self._ring.cut
        episode.thread = threading.Thread(target=self._write, args=(episode,), name='black box')
        episode.thread.start()
        self._episode = episode

    def _put(self, episode: _Episode, message: BagMessage) -> None:
        self._waiting += cost(message)
        episode.size += cost(message)
        episode.waiting.put(message)

    def _finish(self) -> None:
        """End the episode; its thread goes on until it is on the disk."""
        episode, self._episode = self._episode, None
        assert episode is not None
        assert episode.thread is not None
        episode.note = self._note(episode).to_text()
        episode.waiting.put(None)
        self._ending = episode.thread
        horizon_ns = self._now_ns - round(self._options.before_s * 1e9)
        self._lost_by_arrival = [each for each in self._lost_by_arrival if each[0] >= horizon_ns]

    def _write(self, episode: _Episode) -> None:
        """Write an episode, in a thread of its own."""
        ended = False
        try:
            with BagWriter(episode.path) as writer:
                known: set[str] = set()
                while (message := episode.waiting.get()) is not None:
                    if message.topic not in known:
                        known.add(message.topic)
                        latched = self._latched.get(message.topic, False)
                        writer.add_topic(message.topic, message.type, latched=latched)
                    writer.copy(message)
                    with self._lock:
                        self._waiting -= cost(message)
                ended = True
                writer.note = episode.note
                if self.parameters:
                    writer.add_file(PARAMETERS, self.parameters.encode())
            self.written.append(episode.path)
            self._folder.make_room(0)
            if self._on_written is not None:
                self._on_written(episode.path)
        except (ValueError, OSError) as err:
            log.error('%s could not be written: %s', episode.path, err)
            self.refused[f'could not be written: {err}'] += 1
            if not ended:
                self._drain(episode)

    def _drain(self, episode: _Episode) -> None:
        """Let go of what waits for a writer that failed."""
        while (message := episode.waiting.get()) is not None:
            with self._lock:
                self._waiting -= cost(message)

    def _note(self, episode: _Episode) -> EpisodeNote:
        lost: Counter[str] = Counter()
        for _, topic, count in self._lost_by_arrival:
            lost[topic] += count
        return EpisodeNote(
            [(each.kind, each.reason, each.code) for each in episode.triggers],
            episode.trigger_ns,
            dict(lost),
            _positive(episode.cut),
            tuple(self.silent),
        )


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
