"""Messages of transforms to a `TransformTree`: each link is taken or refused alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.console.printable import escape_controls
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    TransformError,
    make_transform,
    quaternion_to_matrix,
)
from sam_ad_perception.core.messages.to_ros import Transform

_SAME_M, _SAME_RAD = 0.01, 0.002
"""Two trees that differ by less say the same."""


@dataclass(frozen=True)
class TransformReport:
    """What became of the links of a message.

    Attributes:
        refused: For each link that was left out, why, in one sentence.
        notes: What the others changed, in words.
    """

    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def transforms_from_message(message: Any) -> tuple[list[Transform], tuple[str, ...]]:
    """Read a `tf2_msgs/TFMessage`; a link that is wrong costs itself only.

    Args:
        message: The transforms.

    Returns:
        For each link that can be used: parent frame, child frame, stamp in nanoseconds, (4, 4)
        float64 `T_parent_child`, metres. And for each other one, why it cannot: a rotation that
        is no unit quaternion, a number that is not finite.
    """
    read: list[Transform] = []
    refused = []
    for each in message.transforms:
        parent = escape_controls(str(each.header.frame_id).lstrip('/'))
        child = escape_controls(str(each.child_frame_id).lstrip('/'))
        stamp_ns = int(each.header.stamp.sec) * 1_000_000_000 + int(each.header.stamp.nanosec)
        q, t = each.transform.rotation, each.transform.translation
        try:
            T = make_transform(quaternion_to_matrix(q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
        except ValueError as err:
            refused.append(f'transform {parent!r} -> {child!r} is left out: {err}')
        else:
            read.append((parent, child, stamp_ns, T))
    return read, tuple(refused)


def namespace_of(topic: str) -> str:
    """Namespace of a topic: `/robot1` of `/robot1/tf_static`, empty at the root."""
    return topic.rpartition('/')[0]


def nearness(namespace: str, sensors: Collection[str]) -> int:
    """Tell how near the transforms of a namespace are to sensors.

    Args:
        namespace: Of a topic of transforms.
        sensors: Names of the sensors' topics.

    Returns:
        The length of the namespace where it holds one of the sensors, else -1.
    """
    held = not namespace or any(name.startswith(f'{namespace}/') for name in sensors)
    return len(namespace) if held else -1


class TransformFeed:
    """Fills a tree from topics of transforms, for the node and for recordings alike.

    Several vehicles may use the same names of frames, each in its own namespace: then a frame
    belongs to the namespace that is nearest to the sensors, of equally near ones to the first.
    Where another says otherwise, `doubts` of the tree names both.

    Args:
        tree: The tree.
        sensors: Names of the sensors' topics.
    """

    def __init__(self, tree: TransformTree, sensors: Collection[str] = ()) -> None:
        self.tree = tree
        self.sensors = tuple(sensors)
        self._owners: dict[str, str] = {}
        self._since: dict[str, int] = {}

    def take(
        self, message: Any, topic: str, *, static: bool, received_ns: int | None = None
    ) -> TransformReport:
        """Take the links of a message.

        Args:
            message: A `tf2_msgs/TFMessage`.
            topic: Its topic.
            static: Whether they hold until others come.
            received_ns: When the message was recorded, where fixed transforms that change hold
                from their time on (in a recording); None where the newest holds for all times.

        Returns:
            What became of them.
        """
        links, refused = transforms_from_message(message)
        left_out, notes = list(refused), []
        for parent, child, stamp_ns, T in links:
            try:
                if not self._owns(topic, parent, child, stamp_ns, T):
                    continue
                if not static:
                    note = self.tree.add_dynamic(parent, child, stamp_ns, T)
                else:
                    since_ns = self._begin(child, stamp_ns, received_ns)
                    note = self.tree.set_static(parent, child, T, since_ns)
            except ValueError as err:  # TransformError is one
                left_out.append(str(err))
            else:
                notes += [note] if note else []
        return TransformReport(tuple(left_out), tuple(notes))

    def _begin(self, child: str, stamp_ns: int, received_ns: int | None) -> int | None:
        """Since when a fixed link holds: its stamp, unless it is unset or said before."""
        if received_ns is None:
            return None
        before = self._since.get(child)
        since_ns = stamp_ns if before is None or stamp_ns > before else received_ns
        self._since[child] = since_ns
        return since_ns

    def _owns(
        self, topic: str, parent: str, child: str, stamp_ns: int, T: NDArray[np.float64]
    ) -> bool:
        """Tell whether a topic may place a frame, and keep in mind who contradicts it."""
        namespace = namespace_of(topic)
        owner = self._owners.setdefault(child, namespace)
        if owner == namespace:
            return True
        nearer = nearness(namespace, self.sensors) > nearness(owner, self.sensors)
        apart = self._apart(parent, child, stamp_ns, T)
        if apart:
            kept, other = (namespace, owner) if nearer else (owner, namespace)
            self.tree.doubts[child] = (
                f'the transforms of {kept or "/"} and {other or "/"} place {child!r} '
                f'{apart}: those of {kept or "/"} are used'
            )
        if nearer:
            self._owners[child] = namespace
            self.tree.forget(child)
            self._since.pop(child, None)
        return nearer

    def _apart(self, parent: str, child: str, stamp_ns: int, T: NDArray[np.float64]) -> str:
        """How far another pose of a frame is from the one in the tree; empty for the same."""
        known = self.tree.parent_of(child)
        if known is None:
            return ''
        if known != parent:
            return f'under {known!r} and {parent!r}'
        try:
            D = np.linalg.solve(self.tree.lookup(parent, child, stamp_ns), T)
        except TransformError:
            return ''
        distance = float(np.linalg.norm(D[:3, 3]))
        angle = float(np.arccos(np.clip(0.5 * (np.trace(D[:3, :3]) - 1), -1, 1)))
        if distance < _SAME_M and angle < _SAME_RAD:
            return ''
        return f'{distance:.2f} m and {np.degrees(angle):.1f} degrees apart'
