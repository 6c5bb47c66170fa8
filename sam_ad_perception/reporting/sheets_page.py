"""A page of tables and drawings, such as that of an evaluation or a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.reporting.page import template_environment


@dataclass(frozen=True)
class Sheet:
    """A part of the page.

    Attributes:
        title: Heading.
        columns: Heads of a table; empty for no table.
        rows: Its cells.
        drawings: Inline SVG.
        legend: Name -> `#rrggbb` of what the drawings show.
        note: Below them.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    drawings: Sequence[str] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    note: str = ''


def render_sheets(
    title: str, sheets: Sequence[Sheet], facts: Mapping[str, str], subtitle: str = ''
) -> str:
    """Lay sheets out on one self-contained page.

    Args:
        title: Heading.
        sheets: The parts, in order.
        facts: Name -> short fact, at the end.
        subtitle: Below the heading.

    Returns:
        HTML; it loads nothing from elsewhere.
    """
    template = template_environment().get_template('sheets_page.html.j2')
    return template.render(title=title, subtitle=subtitle, sheets=sheets, facts=facts)
