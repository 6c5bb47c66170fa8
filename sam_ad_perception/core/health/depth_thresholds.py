"""When a depth image counts as spoilt: the thresholds of a depth sensor."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import share


@dataclass(frozen=True)
class DepthHealthConfig:
    """Thresholds of a depth image."""

    enabled: bool = parameter(True, 'Whether depth images are checked.')
    min_valid_share: float = share(
        0.005, 'Empty: a smaller share of the pixels than this has a value.'
    )
    sparse_ratio: float = share(0.3, 'Sparse: below this share of the running share of pixels.')
