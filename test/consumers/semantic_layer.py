"""What nav2's semantic_segmentation_layer does with our topics, written again for the tests.

From its README and its behaviour (kiwicampus/semantic_segmentation_layer of 2026-04): which
messages it accepts, which point of a frame it keeps for a tile, how classes compete for a tile
over time, which cost a tile gets. None of its code.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COSTS = 'base_cost', 'max_cost', 'mark_confidence', 'samples_to_max_cost', 'dominant_priority'
Tile = tuple[int, int]


@dataclass
class Votes:
    """Observations of one tile: a queue of (time, confidence) for each class."""

    queues: dict[int, deque[tuple[float, int]]] = field(default_factory=lambda: defaultdict(deque))
    dominant: int = -1
    size: int = 0

    def push(self, label: int, confidence: int, time: float, priority: bool) -> None:
        """Add one; with priority, or with more than the dominant class had, it takes the tile."""
        queue = self.queues[label]
        queue.append((time, confidence))
        if priority or len(queue) > self.size:
            if self.dominant not in (-1, label):
                self.queues = defaultdict(deque, {label: queue})
            self.dominant, self.size = label, len(queue)

    def purge(self, before: float) -> None:
        """Forget what is older; if the dominant class is gone, the longest queue follows."""
        for label in list(self.queues):
            queue = self.queues[label]
            while queue and queue[0][0] < before:
                queue.popleft()
            if not queue:
                del self.queues[label]
        if self.dominant in self.queues:
            self.size = len(self.queues[self.dominant])
        else:
            sizes = {label: len(queue) for label, queue in self.queues.items()}
            self.dominant = max(sizes, key=lambda label: sizes[label], default=-1)
            self.size = sizes.get(self.dominant, 0)


class SemanticLayer:
    """One observation source of the layer.

    Args:
        parameters: Of the costmap node, as in its parameter file.

    Attributes:
        refused: Why messages were not taken.
        ignored: Classes of the label info that no parameter names.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        layer = parameters['semantic_layer']
        self.source = layer[layer['observation_sources'].split()[0]]
        self.exact = not layer.get('use_approximate_time_sync', True)
        self.resolution = parameters['resolution']
        self.frame = parameters['global_frame']
        self.named = {
            name: {key: self.source[kind][key] for key in COSTS}
            for kind in self.source['class_types']
            for name in self.source[kind]['classes']
        }
        self.costs_of: dict[int, dict[str, Any]] = {}
        self.tiles: dict[Tile, Votes] = {}
        self.refused: list[str] = []
        self.ignored: list[str] = []

    def take_labels(self, info: Any) -> None:
        """Take a LabelInfo."""
        for each in info.class_map:
            if each.class_name in self.named:
                self.costs_of[int(each.class_id)] = self.named[each.class_name]
            else:
                self.ignored.append(each.class_name)

    def take(self, mask: Any, confidence: Any, cloud: Any, T: np.ndarray) -> bool:
        """Take one frame; whether it was accepted.

        Args:
            mask: Image.
            confidence: Image.
            cloud: PointCloud2.
            T: (4, 4), maps the cloud into the global frame at its stamp.
        """
        stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in (mask, confidence, cloud)}
        count = mask.width * mask.height
        if self.exact and len(stamps) > 1:
            why = f'stamps differ: {stamps}'
        elif count != cloud.width * cloud.height:
            why = f'{count} labels for {cloud.width * cloud.height} points'
        elif len(mask.data) < count:
            why = f'{len(mask.data)} bytes for {count} labels'
        elif not self.costs_of:
            why = 'no label info'
        else:
            self._buffer(mask, confidence, cloud, T)
            return True
        self.refused.append(why)
        return False

    def _buffer(self, mask: Any, confidence: Any, cloud: Any, T: np.ndarray) -> None:
        points = read_points(cloud) @ T[:3, :3].T + T[:3, 3]
        labels, sure = np.asarray(mask.data), np.asarray(confidence.data)
        far = self.source['max_obstacle_distance']
        near = self.source['min_obstacle_distance']
        distance = np.linalg.norm(points - T[:3, 3], axis=1)
        best: dict[Tile, int] = {}
        for i in np.flatnonzero((distance > near) & (distance < far)):
            tile = self.tile_of(points[i])
            holder = best.get(tile)
            if holder is None or self._beats(labels, sure, i, holder):
                best[tile] = int(i)
        stamp = cloud.header.stamp
        time = stamp.sec + 1e-9 * stamp.nanosec
        self.purge(time)
        for tile, i in best.items():
            label = int(labels[i])
            if label in self.costs_of:
                priority = self.costs_of[label]['dominant_priority']
                self.tiles.setdefault(tile, Votes()).push(label, int(sure[i]), time, priority)

    def _beats(self, labels: np.ndarray, sure: np.ndarray, i: int, holder: int) -> bool:
        if not self.source['use_cost_selection']:
            return bool(sure[i] > sure[holder])
        new, old = (self.costs_of.get(int(labels[k]), {}).get('max_cost', 0) for k in (i, holder))
        return bool(new > old)

    def purge(self, now: float) -> None:
        """Forget observations that are too old at a time, seconds."""
        for tile in list(self.tiles):
            self.tiles[tile].purge(now - self.source['tile_map_decay_time'])
            if self.tiles[tile].dominant == -1:
                del self.tiles[tile]

    def tile_of(self, point: np.ndarray) -> Tile:
        """The tile that a point of the global frame lies on."""
        return (
            math.floor(np.float32(point[0]) / self.resolution),
            math.floor(np.float32(point[1]) / self.resolution),
        )

    def costs(self) -> dict[Tile, int]:
        """The cost of each tile that is marked."""
        found = {}
        for tile, votes in self.tiles.items():
            cost = self.costs_of[votes.dominant]
            total = sum(confidence for _, confidence in votes.queues[votes.dominant])
            often = votes.size >= cost['samples_to_max_cost']
            whole = often and total / votes.size > cost['mark_confidence']
            found[tile] = cost['max_cost' if whole else 'base_cost']
        return found


def read_points(cloud: Any) -> np.ndarray:
    """(N, 3) float64 of a cloud with float32 coordinates, in the order of its bytes."""
    data = np.frombuffer(bytes(cloud.data), np.uint8)
    rows = data.reshape(cloud.height, cloud.row_step)[:, : cloud.width * cloud.point_step]
    points = np.ascontiguousarray(rows).reshape(-1, cloud.point_step)
    at = {f.name: (f.offset, f.datatype) for f in cloud.fields}
    assert {at[axis][1] for axis in 'xyz'} == {7}, 'the layer reads float32'
    order = '>' if cloud.is_bigendian else '<'
    return np.column_stack(
        [
            np.ascontiguousarray(points[:, at[axis][0] : at[axis][0] + 4]).view(f'{order}f4')[:, 0]
            for axis in 'xyz'
        ]
    ).astype(np.float64)
