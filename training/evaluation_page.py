"""One page with all tables and pictures of an evaluation; it loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from sam_ad_perception.core.labels import LabelSpace
from training.evaluation_tables import TextTable, subset_name
from training.plots import draw_confusion, draw_reliability, draw_subsets
from training.routing_rows import SystemResult

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #212121; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { color: #616161; } dd { margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .scroll { overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e0e0e0; }
th:first-child, td:first-child { text-align: left; } .note { color: #616161; }
svg { max-width: 100%; height: auto; }
"""  # noqa: E501


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
    parts = [f'<h1>{escape(title)}</h1>', '<dl>']
    parts += [f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items()]
    parts.append('</dl>')
    parts += [_table(table) for table in tables]
    for result in results:
        parts += _pictures(result, space)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n'
        + '\n'.join(parts)
        + '\n</body></html>\n'
    )


def _pictures(result: SystemResult, space: LabelSpace) -> list[str]:
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
    key = escape(result.key)
    names = escape(' + '.join(everything))
    return [
        f'<h2>{key}: mIoU by sensors, percent</h2>{draw_subsets(bars)}',
        f'<h2>{key}: confusion with {names}</h2>'
        f'<div class="scroll">{draw_confusion(best.native.counts, space.names)}</div>',
        f'<h2>{key}: reliability with {names}</h2>{draw_reliability(best.calibration.bins())}'
        f'<p class="note">Expected calibration error {100 * best.calibration.error():.1f} %.</p>',
    ]


def _table(table: TextTable) -> str:
    head = ''.join(f'<th>{escape(name)}</th>' for name in table.columns)
    rows = (''.join(f'<td>{escape(cell)}</td>' for cell in row) for row in table.rows)
    body = ''.join(f'<tr>{row}</tr>' for row in rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ''
    return (
        f'<h2>{escape(table.title)}</h2><div class="scroll"><table><tr>{head}</tr>{body}</table>'
        f'</div>{note}'
    )
