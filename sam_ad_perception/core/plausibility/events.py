"""Events that cannot be: outside of their sensor, in no order of time."""

from __future__ import annotations

from collections.abc import Mapping

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality

_OUTSIDE_SHARE, _OUTSIDE_NOTE, _OUTSIDE_EVENTS = 0.05, 0.005, 1000


def check_events(
    counters: Mapping[str, int], size: tuple[int, int] | None = None
) -> list[Finding] | None:
    """Look at what became of the events so far.

    Args:
        counters: `Bundler.counters`: `event.events`, `event.dropped_events`,
            `event.unsorted_packets`.
        size: `(H, W)` that the newest packet names; None where it is not known.

    Returns:
        What cannot be right; None with fewer than a thousand events.
    """
    names = ('event.events', 'event.dropped_events', 'event.unsorted_packets')
    kept, outside, unsorted = (counters.get(name, 0) for name in names)
    if kept + outside < _OUTSIDE_EVENTS:
        return None
    share = outside / (kept + outside)
    named = f'{size[1]}x{size[0]}' if size else 'size'
    found = []
    if share >= _OUTSIDE_NOTE:
        found.append(
            Finding(
                'events.outside',
                str(Modality.EVENT),
                f'{100 * share:.0f} % of its events lie outside the {named} that its packets name',
                'let the driver name the size of the sensor, not of a region of interest',
                out=share >= _OUTSIDE_SHARE,
                figure=share,
            )
        )
    if unsorted:
        found.append(
            Finding(
                'events.order',
                str(Modality.EVENT),
                f'the events of {unsorted} of its messages were not in the order of time: sorted',
                figure=float(unsorted),
            )
        )
    return found
