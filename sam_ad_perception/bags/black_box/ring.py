"""The last seconds of messages in memory, bounded by their bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

from sam_ad_perception.bags.reader import BagMessage

OVERHEAD = 400
"""Bytes that a message takes beside its own: record, strings, place in the queue."""
_GEOMETRY = 'sensor_msgs/msg/CameraInfo'
KEPT_LATCHED = 64
"""So many different messages of a latched topic are kept: `/tf_static` has one per publisher."""


def cost(message: BagMessage) -> int:
    """Tell how many bytes of memory a message takes."""
    return len(message.data) + OVERHEAD


class MessageRing:
    """Messages of the last seconds, in the order of their arrival.

    Messages of latched topics are kept apart, without a limit of age: they hold until others come.
    So does the last camera_info that is older than the span.

    Args:
        span_ns: How far it reaches back from the newest message, nanoseconds.
        limit: Most bytes of memory.

    Attributes:
        size: Bytes that it takes now.
    """

    def __init__(self, span_ns: int, limit: int) -> None:
        self._span_ns, self._limit = span_ns, limit
        self._messages: deque[BagMessage] = deque()
        self._latched: dict[str, OrderedDict[bytes, BagMessage]] = {}
        self._before: dict[str, BagMessage] = {}
        self.size = 0
        self._cut: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        """Messages that are held, without latched ones."""
        return len(self._messages)

    @property
    def cut(self) -> Counter[str]:
        """Messages of the span that had to go for want of memory, by topic."""
        return Counter(topic for _, topic in self._cut)

    def add(self, message: BagMessage, *, latched: bool = False, elsewhere: int = 0) -> None:
        """Take the newest message.

        Args:
            message: With its time of arrival; where time goes back, what is held goes.
            latched: Whether its topic is latched.
            elsewhere: Bytes that wait to be written; they count against the limit.
        """
        if latched:
            self._keep(message)
        else:
            if self._messages and message.received_ns < self._messages[-1].received_ns:
                self._forget_all()
            self._messages.append(message)
            self.size += cost(message)
        horizon_ns = message.received_ns - self._span_ns
        while self._messages and self._messages[0].received_ns < horizon_ns:
            self._forget()
        while self._cut and self._cut[0][0] < horizon_ns:
            self._cut.popleft()
        while self._messages and self.size + elsewhere > self._limit:
            self._cut.append((self._messages[0].received_ns, self._messages[0].topic))
            self._forget()
        while self.size > self._limit and self._latched:
            self._cut_latched()

    def snapshot(self) -> list[BagMessage]:
        """Give all that is held: latched messages first, as if they came with the first other."""
        start_ns = self._messages[0].received_ns if self._messages else None
        latched = [
            BagMessage(m.topic, m.type, m.received_ns if start_ns is None else start_ns, m.data)
            for kept in self._latched.values()
            for m in kept.values()
        ]
        before = [
            BagMessage(m.topic, m.type, m.received_ns if start_ns is None else start_ns, m.data)
            for m in self._before.values()
        ]
        return [*latched, *before, *self._messages]

    def _keep(self, message: BagMessage) -> None:
        kept = self._latched.setdefault(message.topic, OrderedDict())
        key = bytes(message.data)
        if key in kept:
            kept.move_to_end(key)
            return
        kept[key] = message
        self.size += cost(message)
        while len(kept) > KEPT_LATCHED:
            _, old = kept.popitem(last=False)
            self.size -= cost(old)

    def _cut_latched(self) -> None:
        topic, kept = max(self._latched.items(), key=lambda each: sum(map(cost, each[1].values())))
        _, old = kept.popitem(last=False)
        self.size -= cost(old)
        self._cut.append((old.received_ns, topic))
        if not kept:
            del self._latched[topic]

    def _forget(self) -> None:
        old = self._messages.popleft()
        self.size -= cost(old)
        if old.type == _GEOMETRY:
            last = self._before.get(old.topic)
            self.size += cost(old) - (cost(last) if last is not None else 0)
            self._before[old.topic] = old

    def _forget_all(self) -> None:
        self._cut.clear()
        while self._messages:
            self._forget()
        self.size -= sum(map(cost, self._before.values()))
        self._before.clear()
