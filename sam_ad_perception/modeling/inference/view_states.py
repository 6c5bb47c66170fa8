"""What is remembered of each camera's view: what ran last, and whether it is day or night."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.routing.day_or_night import ConditionEstimate, estimate_condition
from sam_ad_perception.core.routing.router import RouterState
from sam_ad_perception.core.routing.table import RoutingTable
from sam_ad_perception.core.sensors import Modality, SensorBundle

MAX_VIEWS = 64
"""So many cameras keep their router's state."""

CONDITION_HOLDS_NS = 60_000_000_000
"""Without its camera a vehicle goes by the last look for so long."""


@dataclass(frozen=True)
class ViewState:
    """What one camera's view has come to.

    Attributes:
        state: Of the router.
        condition: Day or night, by the last look at the camera's image.
        seen_ns: Stamp of that look, nanoseconds.
    """

    state: RouterState = field(default_factory=RouterState)
    condition: ConditionEstimate = field(default_factory=ConditionEstimate)
    seen_ns: int = 0


class ViewStates:
    """The states of all views, by the frame of their camera; those used last are kept."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, ViewState] = OrderedDict()

    def look(self, bundle: SensorBundle, table: RoutingTable | None) -> ViewState:
        """Tell the condition of a view, where anything depends on it.

        Args:
            bundle: The next bundle of the view.
            table: What was measured of the networks.

        Returns:
            The state of the view; its condition is new where `table` has rows by condition.
        """
        view = self._states.get(bundle.camera.frame_id, ViewState())
        if table is None or not any(row.conditions for row in table.rows):
            return view
        pixels = camera_picture(bundle)
        if pixels is not None:
            seems = estimate_condition(pixels)
            return replace(view, condition=seems, seen_ns=bundle.stamp_ns)
        if abs(bundle.stamp_ns - view.seen_ns) > CONDITION_HOLDS_NS:
            return replace(view, condition=ConditionEstimate())
        return view

    def keep(self, name: str, view: ViewState) -> None:
        """Remember the state of a view.

        Args:
            name: Frame of its camera.
            view: The state.
        """
        self._states[name] = view
        self._states.move_to_end(name)
        while len(self._states) > MAX_VIEWS:
            self._states.popitem(last=False)


def camera_picture(bundle: SensorBundle) -> NDArray[np.uint8] | None:
    """Get the picture of a bundle's camera.

    Args:
        bundle: The bundle.

    Returns:
        (H, W, 3) uint8 RGB; None where it has none.
    """
    frame = bundle.frames.get(Modality.VIEW)
    pixels = np.asarray(frame.data) if frame is not None else np.empty(0)
    of_colour = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    return np.asarray(pixels, np.uint8) if of_colour and pixels.size else None
