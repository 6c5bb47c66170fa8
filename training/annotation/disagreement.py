"""Share of a mask that changes when one sensor is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import SensorBundle, keep_sensors
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from training.annotation.exchange import Mask
from training.annotation.labelled_recording import bundles_of
from training.annotation.picks import FrameFacts

LEFT_OUT = 'left out for comparison'
Segment = Callable[[SensorBundle], Mask]


def open_network(source: str | Path) -> Segment:
    """Load a network that looks at frames one by one, whatever their health.

    Args:
        source: As of `Segmenter.from_pretrained`.

    Returns:
        `(bundle)` -> mask; it raises ValueError where the network cannot do with the sensors.

    Raises:
        ValueError: There is no such network.
    """
    segmenter = Segmenter.from_pretrained(source)
    segmenter.health = HealthMonitor(UNCHECKED)

    def segment(bundle: SensorBundle) -> Mask:
        (result,) = segmenter.segment([bundle])
        return result.mask

    return segment


def measure_disagreement(
    reader: BagReader, segment: Segment, facts: Sequence[FrameFacts]
) -> list[FrameFacts]:
    """Measure how much of each mask changes when a sensor is left out.

    Args:
        reader: The recording, open.
        segment: See `open_network`.
        facts: Frames to look at, in the order of time.

    Returns:
        The same with their disagreement; without, where a mask has one sensor, or the network
        cannot do without any of them.
    """
    measured = {each.stamp_ns: each for each in facts}
    for stamp_ns, recorded in bundles_of(reader, measured):
        bundle = dataclasses.replace(recorded, required=())
        used = [m for m in bundle.frames if m in measured[stamp_ns].used]
        if len(used) < 2:
            continue
        try:
            whole = segment(keep_sensors(bundle, used, LEFT_OUT))
        except ValueError:
            continue
        shares = []
        for left_out in used:
            try:
                others = [m for m in used if m is not left_out]
                part = segment(keep_sensors(bundle, others, LEFT_OUT))
            except ValueError:  # this network needs that sensor
                continue
            shares.append(float(np.mean(part != whole)))
        if shares:
            told = dataclasses.replace(measured[stamp_ns], disagreement=float(np.mean(shares)))
            measured[stamp_ns] = told
    return [measured[each.stamp_ns] for each in facts]
