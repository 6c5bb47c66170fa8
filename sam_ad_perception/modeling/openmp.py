"""How OpenMP threads of torch wait: a process sets it before it imports torch."""

from __future__ import annotations

import os

VARIABLE = 'OMP_WAIT_POLICY'


def wait_passively() -> None:
    """Let idle threads of torch sleep, unless the user has set `OMP_WAIT_POLICY`.

    Threads that spin while they wait take the cores from the nodes beside: on two cores that were
    busy, a frame cost 1560 ms of processor time instead of 360. libgomp reads the variable once,
    when torch loads it, so executables call this at their start; importing the package does not
    touch the environment.
    """
    os.environ.setdefault(VARIABLE, 'passive')
