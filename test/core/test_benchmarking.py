from __future__ import annotations

import json
import time
from dataclasses import dataclass

import numpy as np

from sam_ad_perception.core.benchmarking import Spread, best_ms, write_results


@dataclass
class Row:
    name: str
    ms: float
    limit: float


def test_results_are_json_with_the_machine_and_without_digits_nobody_measured(tmp_path):
    path = tmp_path / 'results' / 'x.json'
    write_results(path, [Row('a', 12.345678, float('nan')), {'name': 'b'}], 'python -m x')
    facts = json.loads(path.read_text())
    assert facts['rows'] == [{'name': 'a', 'ms': 12.35, 'limit': None}, {'name': 'b'}]
    assert facts['command'] == 'python -m x'
    assert facts['cores'] >= 1
    assert facts['memory_gib'] > 0.1
    assert facts['versions']['numpy'] == np.__version__


def test_waiting_takes_wall_time_and_no_processor_time():
    wall_ms, cpu_ms = best_ms(lambda: time.sleep(0.02), 3)
    assert wall_ms >= 20
    assert cpu_ms < 15


def test_spread_names_values_that_were_measured():
    spread = Spread.of([*range(1, 101)])
    assert (spread.p50, spread.p99) == (51, 100)
