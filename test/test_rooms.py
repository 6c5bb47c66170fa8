"""Each folder says in its docstring where one enters, by names that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(
    path.parent.relative_to(ROOT)
    for part in ('sam_ad_perception', 'training')
    for path in (ROOT / part).glob('*/**/__init__.py')
)
_NAMED = re.compile(r'`([a-z_]+(?:\.\w+)+)`')


MOST_FILES = 14
FOLDERS = sorted(
    {
        file.parent.relative_to(ROOT)
        for part in ('sam_ad_perception', 'training', 'benchmarks', 'tools', 'launch')
        for file in (ROOT / part).rglob('*.py')
    }
)


@pytest.mark.parametrize('folder', FOLDERS, ids=str)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    files = [file for file in (ROOT / folder).glob('*.py') if file.name != '__init__.py']
    assert len(files) <= MOST_FILES, f'{folder} has {len(files)} modules: sort them into rooms'


def defined(module: Path) -> set[str]:
    """The names that a file defines or imports at its top."""
    found = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def leads_somewhere(name: str, room: Path) -> bool:
    """Whether a dotted name is a module, or a name of a module, below a room or its parents."""
    *modules, last = name.split('.')
    for base in (room, *room.parents):
        file = ROOT.joinpath(base, *modules).with_suffix('.py')
        if file.is_file() and last in defined(file):
            return True
        whole = ROOT.joinpath(base, *modules, last)
        if whole.with_suffix('.py').is_file() or whole.is_dir():
            return True
    return False


@pytest.mark.parametrize('room', ROOMS, ids=str)
def test_the_docstring_says_where_to_enter(room: Path) -> None:
    text = ast.get_docstring(ast.parse((ROOT / room / '__init__.py').read_text())) or ''
    assert len(text.splitlines()) > 1, f'{room}/__init__.py has one line: say where one enters'
    names = _NAMED.findall(text)
    assert [name for name in names if not leads_somewhere(name, room)] == []


def test_a_name_that_is_nowhere_is_found_out() -> None:
    assert leads_somewhere('router.route', Path('sam_ad_perception/core/routing'))
    assert not leads_somewhere('router.Router', Path('sam_ad_perception/core/routing'))
    assert not leads_somewhere('roter.route', Path('sam_ad_perception/core/routing'))
