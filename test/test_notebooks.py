"""The notebooks of docs/ run from top to bottom, without Jupyter."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[1] / 'docs'
NOTEBOOKS = sorted(DOCS.rglob('*.ipynb'))


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and give the value of its last expression, as Jupyter shows it."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, 'cell', 'exec'), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), 'cell', 'exec'), names)
    return eval(compile(ast.Expression(last.value), 'cell', 'eval'), names)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert notebook['nbformat'] == 4
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code':
            assert cell['outputs'] == []  # outputs grow old, and are not kept
            shown.append(run_cell(''.join(cell['source']), names))
    results = [value for value in shown if hasattr(value, '_repr_html_')]
    assert results
    assert '<img' in results[-1]._repr_html_()
    mask = names['result'].mask
    assert mask.shape == names['image'].shape[:2]


def test_there_is_one() -> None:
    assert NOTEBOOKS
