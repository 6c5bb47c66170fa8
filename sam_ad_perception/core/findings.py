"""Findings about sensor data: one record with code, sentence, remedy and figure.

Made by `core.plausibility` and where messages are decoded; carried by frames and point clouds;
told in `semantic/status`, by `sam_ad label` and by `sam_ad doctor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing about a sensor's data that cannot be right, or was mended.

    Attributes:
        code: What it is, for programs: `clock.ahead`, `cloud.unit`, ... (`plausibility.codes`).
        sensor: Whose data: a value of `Modality`; empty where whoever made it does not know.
        text: The same in one sentence, with the figure.
        remedy: What to do about it; empty where nothing is to be done.
        out: Whether the sensor is not used while it lasts.
        figure: The figure of the sentence, in the unit that the sentence names; NaN without one.
    """

    code: str
    sensor: str
    text: str
    remedy: str = ''
    out: bool = False
    figure: float = math.nan

    @property
    def sentence(self) -> str:
        """Text and remedy in one sentence."""
        return f'{self.text}: {self.remedy}' if self.remedy else self.text


@dataclass(frozen=True)
class FindingCount:
    """A finding and how often it was made.

    Attributes:
        finding: The newest of its code and sensor.
        count: Frames, bundles or judgements that had it.
    """

    finding: Finding
    count: int
