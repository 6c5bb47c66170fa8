"""Header fields of what is published beside a mask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResultHeaders:
    """What the messages that are made of one mask have in their headers.

    Attributes:
        stamp_ns: Stamp of the reference frame, nanoseconds.
        cloud_stamp_ns: Stamp of the sweep, nanoseconds; 0 where there is none.
        frame_id: Frame of the camera image.
    """

    stamp_ns: int
    cloud_stamp_ns: int
    frame_id: str
