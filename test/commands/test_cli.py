from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.commands import cli


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['--help'])
    assert ended.value.code == 0
    # a line may end at the hyphen of a name
    words = ''.join(capsys.readouterr().out.split())
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
        'from sam_ad_perception.commands.cli import main\n'
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


def test_a_reader_that_has_read_enough_is_no_error():
    command = [sys.executable, '-m', 'sam_ad_perception.commands.cli', 'labels']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()  # as `head` does
    _, told = process.communicate()
    assert told == ''
    assert process.returncode == cli.PIPE_CLOSED


def test_replay_without_ros_says_so_at_once(monkeypatch, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert cli.main(['replay', 'drive']) == 2
    told = capsys.readouterr().err
    assert 'this Python has no rclpy: source a ROS 2 installation' in told
    assert told.count('\n') == 1


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


WAITING = """
import signal, sys, time
from sam_ad_perception.commands import cli

def wait(argv):
    try:
        print('running', flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print('tidying up', flush=True)
        if 'slowly' in argv:
            time.sleep(60)
        raise

cli.COMMANDS['label'] = ('waits', wait)
sys.exit(cli.main(['label', *sys.argv[1:]]))
"""


@pytest.mark.parametrize('slowly', [False, True], ids=['once', 'twice'])
def test_ctrl_c_ends_in_one_line_and_a_second_one_at_once(slowly):
    process = subprocess.Popen(
        [sys.executable, '-c', WAITING, *(['slowly'] if slowly else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # the shell that runs the tests may ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == 'running\n'
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == 'tidying up\n'
    if slowly:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    if not slowly:
        assert errors == f'sam_ad label: interrupted; {cli.KEPT["label"]}\n'
