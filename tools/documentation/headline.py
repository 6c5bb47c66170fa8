"""The one table of results in the README: a few figures of `benchmarks/results`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.documentation.speed_claims import masks_per_s

HEALTH_SENSORS = ('camera', 'lidar', 'thermal', 'event')
SENSORS = ('camera', 'thermal', 'event', 'lidar')
NETWORK = 'mle_sam_demo'


def headline_table(folder: Path) -> str:
    """Write what the demo network reaches with all sensors and without each, and how fast.

    Args:
        folder: Of the files of results.

    Returns:
        Markdown.

    Raises:
        OSError: A file is not there.
    """
    rows = json.loads((folder / 'simulated.json').read_text())['miou']['subsets']

    def miou(*sensors: str, condition: str = 'mix', system: str = NETWORK) -> float:
        (row,) = (
            each
            for each in rows
            if each['system'] == system and set(each['sensors']) == set(sensors)
        )
        return float(row[condition])

    without = [miou(*(each for each in SENSORS if each != lost)) for lost in SENSORS]
    rate = {
        name: masks_per_s(json.loads((folder / f'bench_{name}.json').read_text())['rows'])
        for name in ('demo', 'fast')
    }
    health = json.loads((folder / 'health_real.json').read_text())['rows']
    named = ', '.join(_named(health, sensor) for sensor in HEALTH_SENSORS)
    all_night = miou(*SENSORS, condition='night')
    lines = [
        ('mIoU, day, night, fog and rain, all four sensors', f'{miou(*SENSORS):.1f} %'),
        ('the same without camera, thermal, events, lidar', f'{_join(without)} %'),
        (
            'mIoU by night, camera alone and all four sensors',
            f'{miou("camera", condition="night"):.1f} and {all_night:.1f} %',
        ),
        (
            'masks per second, four 640x400 sensors, `mle_sam_demo` and `mle_sam_fast`',
            f'{rate["demo"]:.1f} and {rate["fast"]:.1f}',
        ),
        (
            'on real recordings, unseen faults named: camera, lidar, thermal, events',
            f'{named} %',
        ),
    ]
    return (
        '\n'.join(['| what | measured |', '|---|---|', *(f'| {a} | {b} |' for a, b in lines)])
        + '\n'
    )


def _named(rows: Sequence[Mapping[str, Any]], sensor: str) -> str:
    """Share of the cells of the measured half that are named, percent."""
    these = [
        r
        for r in rows
        if r.get('half') == 'measured_only' and r['sensor'] == sensor and 'severity' in r
    ]
    return f'{100 * sum(r["named"] for r in these) / sum(r["cells"] for r in these):.0f}'


def _join(values: Sequence[float]) -> str:
    return ', '.join(f'{value:.1f}' for value in values)
