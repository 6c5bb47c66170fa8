"""Events as images: the forms that networks are trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core import event_codecs as codecs
from sam_ad_perception.core.sensors import Events


def accumulate_counts(
    events: Events, out_size: tuple[int, int] | None = None
) -> NDArray[np.uint16]:
    """Count events per pixel and polarity, the input of networks trained on MUSES (30 ms).

    Args:
        events: N events.
        out_size: Size `(H, W)` of the result, the sensor's by default; other sizes count each
            event in the output pixel that covers its own.

    Returns:
        (2, H, W) uint16, ON counts then OFF counts, saturating at 65535.
    """
    height, width = events.size
    out_height, out_width = events.size if out_size is None else out_size
    counts = np.zeros((2, out_height, out_width), np.uint16)
    columns = np.arange(width) * out_width // width
    rows = np.arange(height) * out_height // height
    codecs.count_events(events.x, events.y, events.polarity, columns, rows, counts)
    return counts
