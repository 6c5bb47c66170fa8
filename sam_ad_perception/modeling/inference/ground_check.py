"""Masks checked against the ground that the lidar sees: geometry may overrule semantics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.lidar.ground import GroundConfig, find_contradictions, find_ground
from sam_ad_perception.core.sensors import Modality, PointCloud, Segmentation, SensorBundle

GROUND_CLASSES = frozenset({'road', 'sidewalk', 'pavement'})
"""Classes, in small letters, on which nothing of the height of a person or car can stand."""


def hold_against_ground(
    result: Segmentation,
    bundle: SensorBundle,
    returns: NDArray[np.float32],
    labels: LabelSpace,
    config: GroundConfig,
) -> Segmentation:
    """Count lidar returns that stand above the ground on pixels called road or sidewalk.

    Args:
        result: The mask.
        bundle: What it was made of, with a sweep.
        returns: (H, W) float32 depth of measured returns in the view, metres, NaN elsewhere.
        labels: Of the mask.
        config: Heights, and whether such pixels become unlabeled.

    Returns:
        The result with `on_ground`; the same where nothing was looked at: checking is off, the
        sweep shows no ground, or no class lies on it.
    """
    sweep = bundle.frames[Modality.LIDAR].data
    if not (config.check or config.overrule) or not isinstance(sweep, PointCloud):
        return result
    ground = find_ground(sweep.points, config.reach_m)
    ids = [i for i, name in enumerate(labels.names) if name.lower() in GROUND_CLASSES]
    if ground is None or not ids:
        return result
    in_view = ground.transformed(bundle.T_camera[Modality.LIDAR])
    mask, confidence = result.mask, result.confidence
    above = find_contradictions(returns, mask, result.camera, in_view, ids, config)
    lying = int(np.count_nonzero(np.isin(mask[np.isfinite(returns)], ids)))
    if config.overrule and above.any():
        mask = np.where(above, np.uint8(UNLABELED), mask)
        if confidence.size:
            confidence = np.where(above, np.uint8(0), confidence)
    counts = (lying, int(np.count_nonzero(above)))
    return replace(result, mask=mask, confidence=confidence, on_ground=counts)
