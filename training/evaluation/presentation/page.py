"""One page with all tables and pictures of an evaluation; it loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.reporting.sheets_page import Sheet, render_sheets
from training.evaluation.presentation.plots import draw_confusion, draw_reliability, draw_subsets
from training.evaluation.presentation.tables import TextTable, subset_name
from training.evaluation.routing_rows import SystemResult


def make_page(
    title: str,
    facts: Mapping[str, str],
    results: Sequence[SystemResult],
    tables: Sequence[TextTable],
    space: LabelSpace,
) -> str:
    """Lay an evaluation out.

    Args:
        title: Heading.
        facts: What was measured, on what, by which command.
        results: The measurements; of each network its pictures are drawn.
        tables: What is shown as text.
        space: The classes.

    Returns:
        HTML.
    """
    sheets = [Sheet(table.title, table.columns, table.rows, note=table.note) for table in tables]
    for result in results:
        sheets += _pictures(result, space)
    return render_sheets(title, sheets, facts)


def _pictures(result: SystemResult, space: LabelSpace) -> list[Sheet]:
    """Of a network that was measured on plain subsets: bars, confusion, reliability."""
    scores = {s.subset: score for s, score in result.scores.items() if s.plain}
    if not scores:
        return []
    everything = max(scores, key=len)
    bars = {
        subset_name(subset, everything): {
            'all frames': score.miou,
            **{name: 100 * matrix.miou() for name, matrix in score.conditions.items()},
        }
        for subset, score in scores.items()
    }
    best = scores[everything]
    names = ' + '.join(everything)
    return [
        Sheet(f'{result.key}: mIoU by sensors', drawings=[draw_subsets(bars)]),
        Sheet(
            f'{result.key}: confusion with {names}',
            drawings=[draw_confusion(best.native.counts, space.names)],
        ),
        Sheet(
            f'{result.key}: reliability with {names}',
            drawings=[draw_reliability(best.confidence.bins())],
            note=f'Expected calibration error {100 * best.confidence.error():.1f} %.',
        ),
    ]
