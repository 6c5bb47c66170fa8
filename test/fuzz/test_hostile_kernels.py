"""No compiled kernel reads or writes outside its arrays, whatever it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with bounds checks; kernels compiled with them have a cache of their own."""
    environment = os.environ | {
        'NUMBA_BOUNDSCHECK': '1',
        'NUMBA_CACHE_DIR': str(ROOT / '.numba_cache' / 'boundscheck'),
    }
    command = [sys.executable, '-c', script]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_bounds_are_really_checked():
    script = """
import numba, numpy as np
f = numba.njit(lambda a, i: a[i])
try: f(np.zeros(2), 5)
except IndexError: print('seen')
"""
    assert run(script).stdout == 'seen\n'


def test_kernels_stay_inside_their_arrays():
    done = run((Path(__file__).parent / 'hostile_kernels.py').read_text())
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 2500
