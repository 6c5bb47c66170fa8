"""The tables of README.md and docs/ say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sam_ad_perception.nodes.ros.topics import CONFIDENCE_COMPRESSED, MASK_COMPRESSED
from tools.documentation import documents
from tools.documentation.benchmark_tables import benchmark_page
from tools.documentation.documents import (
    DOCUMENTS,
    Topic,
    config_nodes,
    config_type,
    documented_nodes,
    documented_topics,
    parameter_file,
    parameter_table,
    with_tables,
)
from tools.documentation.reference import docstring_markdown

ROOT = Path(__file__).resolve().parents[1]
NODES = '\n'.join(path.read_text() for path in sorted(ROOT.glob('docs/reference/*_node.md')))
TOPICS = documented_topics(NODES)
# Every node of rclpy has these by itself.
ROS_OWN = re.compile(r'/rosout|/parameter_events|/clock|/\w+/transition_event')


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_those_of_the_code_and_of_the_measurements(document: Path) -> None:
    text = document.read_text()
    assert with_tables(text) == text, 'run .venv/bin/python -m tools.documentation'


def test_results_are_put_between_their_marks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(documents, 'RESULTS', tmp_path)
    (tmp_path / 'mine.md').write_text('| a |\n')
    text = 'Before\n<!-- results:mine -->\nold\n<!-- /results -->\nafter'
    made = with_tables(text)
    assert made == text.replace('old', '| a |')
    assert with_tables(made) == made
    with pytest.raises(FileNotFoundError, match='none'):
        with_tables(text.replace('mine', 'none'))


def test_the_page_of_benchmarks_is_that_of_the_measurements() -> None:
    told = 'run .venv/bin/python -m tools.documentation'
    assert documents.BENCHMARKS.read_text() == benchmark_page(documents.RESULTS), told


def test_each_form_of_rows_gets_its_own_table_without_empty_columns(tmp_path) -> None:
    rows = [
        {'what': 'a|b', 'ours': 0.12345, 'problem': ''},
        {'what': 'c', 'ours': float('nan'), 'problem': ''},
        {'length': 2000, 'met': True},
    ]
    measured = {'command': 'python -m it', 'cores': 2, 'load': 1.5, 'rows': rows}
    (tmp_path / 'some_thing.json').write_text(json.dumps(measured))
    (tmp_path / 'other.json').write_text('{"targets": []}')
    page = benchmark_page(tmp_path)
    assert page.count('## ') == 1
    assert '## some thing\n\n`python -m it`  \n2 cores, load 1.5\n' in page
    assert '| what | ours |\n|---|---|\n| a\\|b | 0.123 |\n| c |  |\n' in page
    assert '| length | met |\n|---|---|\n| 2,000 | yes |\n' in page
    (tmp_path / 'list.json').write_text('[]')
    with pytest.raises(ValueError, match=r'list\.json must hold an object, got list'):
        benchmark_page(tmp_path)


@pytest.mark.parametrize('node', config_nodes())
def test_parameter_files_are_those_of_the_code(node: str) -> None:
    written = (ROOT / 'config' / f'{node}.param.yaml').read_text()
    told = 'run .venv/bin/python -m tools.documentation'
    assert written == parameter_file(node, config_type(node)), told


def test_every_node_is_documented() -> None:
    assert set(config_nodes()) <= documented_nodes(NODES)
    assert set(TOPICS) <= documented_nodes(NODES)


def test_a_change_of_a_parameter_shows() -> None:
    table = parameter_table(config_type('segmentation'))
    assert '| `qos.depth` | `5` | 1 to 1000 |' in table
    changed = NODES.replace('| `qos.depth` | `5` |', '| `qos.depth` | `6` |')
    assert changed != NODES
    assert with_tables(changed) == NODES


def test_the_readme_is_short() -> None:
    lines = (ROOT / 'README.md').read_text().splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > 110] == []


def test_every_page_is_in_the_index_of_its_folder() -> None:
    for folder in ('tutorials', 'how-to', 'reference', 'explanation'):
        index = (ROOT / 'docs' / folder / 'index.md').read_text()
        pages = {path.name for path in (ROOT / 'docs' / folder).glob('*.md')} - {'index.md'}
        assert pages == {page for page in pages if f']({page})' in index}, folder


def test_docstrings_become_markdown() -> None:
    text = 'One line.\n\nArgs:\n    a: Of a\n        kind.\n\nReturns:\n    A thing,\n    or not.'
    wanted = 'One line.\n\n**Args**\n\n* `a`: Of a\n  kind.\n\n**Returns**\n\nA thing,\nor not.'
    assert docstring_markdown(text) == wanted


def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere(tmp_path) -> None:
    command = [sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--site-dir', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob('*.html'))
    assert len(pages) >= 25
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text()
        )
        assert not loaded, page


@pytest.mark.parametrize(
    'document',
    [*DOCUMENTS, ROOT / 'CONTRIBUTING.md'],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r'\]\((?!https?:|#)([^)#]+)', document.read_text()):
        assert (document.parent / target).exists(), f'{document} links to {target}'


@pytest.mark.ros
@pytest.mark.parametrize('node', sorted(TOPICS))
def test_topics_are_those_of_the_running_node(node: str, free_domain_id: int) -> None:
    """Starts the node as a process and asks the graph.

    The observer offers every input and wants every output, for a node subscribes to what its
    wanted outputs need; an image topic as raw or compressed, whichever is published: here raw.
    Mask and confidence are both.
    """
    import rclpy
    from rclpy.qos import qos_profile_sensor_data

    documented = TOPICS[node]
    expected = {
        topic
        for topic in documented
        if topic.name in (MASK_COMPRESSED, CONFIDENCE_COMPRESSED)
        or not topic.name.endswith('/compressed')
    }
    rclpy.init()
    observer = rclpy.create_node('observer')
    for topic in expected:
        kind, name = message_class(topic.type), absolute(topic.name)
        if topic.direction == 'in':
            observer.create_publisher(kind, name, 1)
        else:
            observer.create_subscription(kind, name, print, qos_profile_sensor_data)
    command = [sys.executable, '-m', 'sam_ad_perception.nodes', f'{node}_node']
    process = subprocess.Popen(command, cwd=ROOT)
    seen: set[Topic] = set()
    try:
        deadline = time.monotonic() + 180  # loads torch, beside others that do
        while seen != absolute_all(expected) and time.monotonic() < deadline:
            assert process.poll() is None, 'the node has ended'
            time.sleep(0.05)
            seen = live_topics(observer, node)
    finally:
        process.terminate()
        process.wait(10)
        observer.destroy_node()
        rclpy.shutdown()
    assert seen == absolute_all(expected)
    for topic in documented - expected:
        assert topic.name.removesuffix('/compressed') in {each.name for each in expected}


def absolute(name: str) -> str:
    return name if name.startswith('/') else f'/{name}'


def absolute_all(topics: set[Topic]) -> set[Topic]:
    return {Topic(absolute(each.name), each.type, each.direction) for each in topics}


def message_class(name: str) -> type:
    from importlib import import_module

    package, _, message = name.split('/')
    found: type = getattr(import_module(f'{package}.msg'), message)
    return found


def live_topics(observer: object, node: str) -> set[Topic]:
    """What the graph says a node subscribes to and publishes."""
    from rclpy.node import NodeNameNonExistentError

    seen = set()
    for direction, ask in (
        ('in', 'get_subscriber_names_and_types_by_node'),
        ('out', 'get_publisher_names_and_types_by_node'),
    ):
        try:
            found = getattr(observer, ask)(node, '/')
        except NodeNameNonExistentError:  # not discovered yet
            return set()
        for name, types in found:
            if not ROS_OWN.fullmatch(name):
                seen |= {Topic(name, kind, direction) for kind in types}
    return seen
