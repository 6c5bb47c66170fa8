"""SemanticKITTI: sweeps as `.bin` and their labels as `.label`, with the map of classes.

    sequences/00/velodyne/<stamp>.bin   (N, 4) float32: x, y, z in metres, intensity
    sequences/00/labels/<stamp>.label   (N,) uint32: class in the low 16 bits, instance 0
    semantic-kitti.yaml                 names, colours (blue first), map to the ids of training

Ids are those of the label space plus one, 0 is unlabeled, as the tools of the data set have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.messages.point_cloud import PointField, read_fields

SEQUENCE = 'sequences/00'
_INTENSITIES = ('intensity', 'i', 'reflectivity')


class CloudWriter:
    """Writes labelled sweeps.

    Args:
        folder: Where to.
        space: The classes.

    Attributes:
        count: Sweeps written.
    """

    def __init__(self, folder: Path, space: LabelSpace) -> None:
        self._place, self._folder, self._space = folder / SEQUENCE, folder, space
        self.count = 0

    def add(self, stamp_ns: int, message: Any) -> None:
        """Write one sweep; points without finite coordinates are left out.

        Args:
            stamp_ns: Its name, nanoseconds.
            message: A `semantic/points`.

        Raises:
            ValueError: It has no x, y, z and label.
        """
        points, labels = read_cloud(message)
        for name, values in (('velodyne', points), ('labels', labels)):
            end = '.bin' if name == 'velodyne' else '.label'
            path = self._place / name / f'{stamp_ns}{end}'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(values.tobytes())
        self.count += 1

    def finish(self) -> None:
        """Write what the ids mean, where there is a sweep."""
        if not self.count:
            return
        ids = [c.id + 1 for c in self._space.classes]
        content = {
            'labels': {0: 'unlabeled', **{c.id + 1: c.name for c in self._space.classes}},
            'color_map': {
                0: [0, 0, 0],
                **{c.id + 1: list(c.color[::-1]) for c in self._space.classes},
            },
            'learning_map': {0: 0, **{k: k for k in ids}},
            'learning_map_inv': {0: 0, **{k: k for k in ids}},
            'learning_ignore': {0: True, **dict.fromkeys(ids, False)},
            'split': {'train': [0], 'valid': [], 'test': []},
        }
        text = yaml.safe_dump(content, sort_keys=False)
        (self._folder / 'semantic-kitti.yaml').write_text(text)


def read_cloud(message: Any) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Read the sweep and the labels of a `semantic/points`.

    Args:
        message: The `sensor_msgs/PointCloud2`.

    Returns:
        (N, 4) float32: x, y, z in metres and the intensity as it came, 0 without; (N,) uint32 as
        in `.label` files.

    Raises:
        ValueError: It has no x, y, z and label.
    """
    fields = [PointField(f.name, f.offset, f.datatype, f.count) for f in message.fields]
    names = {f.name for f in fields}
    intensity = next((name for name in _INTENSITIES if name in names), None)
    views = read_fields(
        message.data,
        fields,
        message.point_step,
        message.row_step,
        message.height,
        message.width,
        bool(message.is_bigendian),
        ['x', 'y', 'z', 'label', *([intensity] if intensity else [])],
    )
    columns = [views[axis].reshape(-1).astype(np.float32) for axis in 'xyz']
    strength = views[intensity].reshape(-1) if intensity else np.zeros(len(columns[0]))
    points = np.stack([*columns, strength.astype(np.float32)], axis=1)
    finite = np.isfinite(points[:, :3]).all(axis=1)
    labels = views['label'].reshape(-1)[finite].astype(np.uint32)
    labels = np.where(labels == UNLABELED, 0, labels + 1).astype('<u4')
    return points[finite].astype('<f4'), labels
