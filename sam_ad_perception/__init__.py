"""Semantic masks from camera, thermal, event camera and LiDAR, whatever sensor fails.

`import sam_ad_perception as sap` loads nothing else: each name below is imported when it is first
used. These names are the public API; all else may change between versions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_ad_perception.api import label_bag, read_bundles
    from sam_ad_perception.core.geometry.calibration import Calibration
    from sam_ad_perception.core.lidar.depth_image import project_depth
    from sam_ad_perception.core.sensors import CameraModel, Events, SensorBundle
    from sam_ad_perception.modeling.inference.segmenter import Segmenter

__version__ = '0.1.0'
__all__ = [
    'Calibration',
    'CameraModel',
    'Events',
    'Segmenter',
    'SensorBundle',
    '__version__',
    'label_bag',
    'project_depth',
    'read_bundles',
]

_HOMES = {
    'Calibration': 'core.geometry.calibration',
    'CameraModel': 'core.sensors',
    'Events': 'core.sensors',
    'Segmenter': 'modeling.inference.segmenter',
    'SensorBundle': 'core.sensors',
    'label_bag': 'api',
    'project_depth': 'core.lidar.depth_image',
    'read_bundles': 'api',
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(f'{__name__}.{home}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names beside the module's own."""
    return sorted({*globals(), *__all__})
