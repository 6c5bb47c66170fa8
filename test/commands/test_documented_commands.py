"""The commands that README.md and docs/ print: each is understood, and those on a bag run."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path

import pytest

from sam_ad_perception.commands.cli import COMMANDS, main
from sam_ad_perception.nodes.launch.description import arguments_of, full_name
from sam_ad_perception.nodes.launch.model import NODES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
WORDS = {'FORMAT': 'folder', '[--fix]': '', '...': ''}


def commands(program: str, *, whole: bool = True) -> list[str]:
    """Every command line of the pages that begins with a program.

    Args:
        program: The program.
        whole: Those of code blocks; else those within a sentence, which may lack words.
    """
    found: dict[str, Path] = {}
    for page in PAGES:
        text = page.read_text().replace('\\\n', ' ')
        blocks = re.findall(r'^```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        if not whole:
            lines = re.findall(r'`([^`\n]+)`', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))
        for line in lines:
            line = line.partition('#')[0].strip().removeprefix('.venv/bin/')
            if line.startswith(f'{program} ') and '<' not in line and '|' not in line:
                found.setdefault(' '.join(line.split()), page)
    return list(found)


def arguments(line: str) -> list[str]:
    words = [WORDS.get(word, word) for word in shlex.split(line)[1:]]
    return [word for word in words if word]


class UnderstoodError(Exception):
    """The options were read."""


@pytest.mark.parametrize('line', commands('sam_ad'))
def test_commands_of_blocks_are_understood(line, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'params.yaml').write_text('/**: {ros__parameters: {}}\n')
    parse = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        found = parse(self, args, namespace)
        if self.prog != 'sam_ad':
            raise UnderstoodError
        return found

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    with pytest.raises(UnderstoodError):
        main(arguments(line))


@pytest.mark.parametrize('line', commands('sam_ad', whole=False))
def test_options_within_sentences_exist(line, capsys) -> None:
    words = arguments(line)
    options = [word.partition('=')[0] for word in words if word.startswith('--')]
    name = next((word for word in words if not word.startswith('-')), '')
    if name not in COMMANDS:
        assert name in ('', 'COMMAND'), line
        return
    if options:
        with pytest.raises(SystemExit):
            main([name, '--help'])
        told = capsys.readouterr().out
        assert [each for each in options if each not in told] == []


@pytest.mark.parametrize('line', commands('ros2 launch sam_ad_perception'))
def test_arguments_of_printed_launches_exist(line) -> None:
    words = shlex.split(line)
    file = ROOT / 'launch' / words[3]
    assert file.is_file()
    replay = words[3].startswith('replay')
    known = {full_name(n) for n in arguments_of(tuple(NODES), system=True, replay=replay)}
    told = {word.partition(':=')[0] for word in words[4:] if ':=' in word}
    assert told <= known, f'{line}: {told - known}'


RUN = [
    'sam_ad check BAG --out DIR --write params.yaml',
    'sam_ad label BAG --out DIR',
    'sam_ad label FOLDER --out DIR',
]


def test_commands_on_a_bag_are_those_that_are_printed() -> None:
    printed = commands('sam_ad') + commands('sam_ad', whole=False)
    assert [line for line in RUN if line not in printed] == []


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    """A short simulated drive, by the command that the docs print but for its length."""
    path = tmp_path_factory.mktemp('docs') / 'drive'
    assert 'sam_ad simulate drive --duration 5 --fault camera:black:2:3' in commands('sam_ad')
    told = ['simulate', str(path), '--duration', '0.3', '--fault', 'camera:black:0.2:0.3']
    assert main(told) == 0
    return path


@pytest.mark.parametrize('line', RUN)
def test_printed_commands_run(line, drive, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'FOLDER').mkdir()
    for name in ('BAG', 'FOLDER/one'):
        shutil.copytree(drive, tmp_path / name)
    code = main([*arguments(line), *(['--model', 'mle_sam_fast'] if ' label ' in line else [])])
    assert code == 0
    if '--write' in line:
        assert (tmp_path / 'params.yaml').is_file()
    if ' label ' in line:
        assert list((tmp_path / 'DIR').rglob('*.mcap'))
