"""Figures of the comparisons with ROS's own tools, told at the end of the run."""

from collections import Counter

import pytest

FIGURES: Counter[tuple[str, str]] = Counter()


@pytest.fixture
def count():
    """Counts cases of a comparison: `count(peer, what, number)`."""

    def add(peer: str, what: str, number: int = 1) -> None:
        FIGURES[peer, what] += number

    return add


def pytest_terminal_summary(terminalreporter) -> None:
    """Print how much was compared with whom."""
    if FIGURES:
        terminalreporter.section('compared with')
        for (peer, what), number in sorted(FIGURES.items()):
            terminalreporter.write_line(f'{peer:20} {what:32} {number:6}')
