from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sam_ad_perception import cli
from sam_ad_perception.bags.reader import BagReader


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['--help'])
    assert ended.value.code == 0
    words = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f'{name}:' in words


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_is_there_and_explains_itself(name, capsys):
    if name == 'replay':
        pytest.importorskip('rclpy')
    with pytest.raises(SystemExit) as ended:
        cli.main([name, '--help'])
    assert ended.value.code == 0
    assert f'usage: sam_ad {name}' in capsys.readouterr().out


def test_nothing_heavy_is_imported_to_show_the_help():
    """torch takes seconds, and a laptop without ROS must still get its help."""
    script = (
        'import sys\n'
        'from sam_ad_perception.cli import main\n'
        'for arguments in (["--help"], ["label", "--help"], ["simulate", "--help"]):\n'
        '    try:\n'
        '        main(arguments)\n'
        '    except SystemExit:\n'
        '        pass\n'
        'print("heavy:", sorted({"torch", "rclpy", "lightning"} & set(sys.modules)))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, env=os.environ, check=True
    )
    assert 'heavy: []' in done.stdout


def test_a_wrong_command_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['fly'])
    assert ended.value.code == 2
    assert "'fly'" in capsys.readouterr().err


def test_a_wrong_input_ends_in_one_sentence_and_code_2(tmp_path, capsys):
    (tmp_path / 'notes').mkdir()
    for bag, sentence in (
        (tmp_path / 'gone', f'{tmp_path / "gone"} does not exist'),
        (tmp_path / 'notes', f'{tmp_path / "notes"} is not a bag: it holds no file of'),
    ):
        assert cli.main(['label', str(bag), '--out', str(tmp_path / 'out')]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f'sam_ad label: {sentence}')
        assert captured.err.count('\n') == 1
        assert captured.out == ''


def test_debug_shows_where_it_came_from(tmp_path):
    with pytest.raises(ValueError, match='does not exist'):
        cli.main(['--debug', 'label', str(tmp_path / 'gone'), '--out', str(tmp_path / 'out')])


def test_an_interrupt_is_no_traceback(monkeypatch):
    def stop(argv):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, 'demo', ('', stop))
    assert cli.main(['demo']) == 130


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--topic', 'camera=/x'], "expected ROLE:=NAME, got 'camera=/x'"),
        (['--rectified', 'camera:=yes'], 'expected SENSOR:=true|false'),
        (['--rectified', 'radar:=true'], 'expected SENSOR:=true|false'),
        ([], 'the following arguments are required: --out'),
    ],
)
def test_malformed_options_are_told(arguments, sentence, capsys):
    more = ['--out', 'x'] if arguments else []
    with pytest.raises(SystemExit) as ended:
        cli.main(['label', 'bag', *arguments, *more])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_simulate_writes_a_bag_once(tmp_path, capsys):
    out = tmp_path / 'drive'
    command = ['simulate', str(out), '--seed', '3', '--duration', '0.15']
    assert cli.main(command) == 0
    assert '/ground_truth/image' in capsys.readouterr().err
    with BagReader(out) as bag:
        counts = {topic.name: topic.count for topic in bag.topics}
    assert counts['/camera/image_rect'] == counts['/ground_truth/image'] >= 1
    assert counts['/points'] >= 1
    assert counts['/events'] >= 10
    assert cli.main(command) == 2
    assert f'sam_ad simulate: {out} exists already' in capsys.readouterr().err
