"""What the shell is offered at the TAB key, as argcomplete answers it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam_ad_perception.commands.cli import COMMANDS
from sam_ad_perception.commands.completion import command_parser

ROOT = Path(__file__).resolve().parents[2]


def offered(line: str, tmp_path: Path) -> set[str]:
    """Ask as the script of `sam_ad completion bash` does."""
    out = tmp_path / 'offered'
    environment = {
        **os.environ,
        '_ARGCOMPLETE': '1',
        '_ARGCOMPLETE_IFS': '\n',
        '_ARGCOMPLETE_STDOUT_FILENAME': str(out),
        '_ARGCOMPLETE_SUPPRESS_SPACE': '1',
        'COMP_LINE': line,
        'COMP_POINT': str(len(line)),
        'COMP_TYPE': '9',
    }
    command = [sys.executable, '-m', 'sam_ad_perception.commands.cli']
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
    return set(out.read_text().split('\n')) - {''}


def test_commands_options_and_choices_are_offered(tmp_path: Path) -> None:
    assert offered('sam_ad la', tmp_path) == {'label', 'labels'}
    assert set(COMMANDS) <= offered('sam_ad ', tmp_path)
    assert offered('sam_ad simulate --sce', tmp_path) == {'--scene'}
    assert offered('sam_ad simulate --scene tu', tmp_path) == {'tunnel'}


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_a_parser(name: str) -> None:
    assert command_parser(COMMANDS[name][1]).prog == f'sam_ad {name}'


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_the_script_is_sound(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS['completion'][1]([shell]) == 0
    script = capsys.readouterr().out
    assert 'sam_ad' in script
    done = subprocess.run(['bash', '-n'], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
