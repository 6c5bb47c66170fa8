"""Files and folders exchanged whole: killed at every step, locked, linked, with foreign files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sam_ad_perception.core import transaction
from sam_ad_perception.core.transaction import (
    TargetError,
    exchange,
    lock_target,
    recover,
    write_file,
    write_folder,
)

# Ends the process, as kill -9 does, at the N-th step that changes the disk; prints the number of
# steps when none was hit. Steps are what the interpreter itself reports, plus sync and exchange.
KILLER = """
import os, sys
from pathlib import Path
from sam_ad_perception.core import transaction as t

at, count = int(sys.argv[1]), 0
STEPS = {'os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'os.link', 'os.chmod', 'os.truncate'}

def step(*_):
    global count
    count += 1
    if count == at:
        os._exit(9)

def hook(event, args):
    if event in STEPS or (event == 'open' and args[2] & os.O_CREAT):
        step()

fsync, swap = os.fsync, t.exchange
os.fsync = lambda d: (step(), fsync(d))[1]
def counted(*a):
    step()
    done = swap(*a)
    step()
    return done
t.exchange = counted
sys.addaudithook(hook)
target = Path(sys.argv[2])
"""
FOLDER = """
with t.write_folder(target, lambda p: ('a', 'b')) as scratch:
    for name in 'ab':
        with open(scratch / name, 'w') as f:
            f.write('new'); f.flush(); step(); f.write(' text'); f.flush(); step()
print(count)
"""
FILE = """
with t.write_file(target) as stream:
    stream.write(b'new'); stream.flush(); step(); stream.write(b' text')
print(count)
"""


def run(script: str, at: int, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(KILLER + script), str(at), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )


def content(target: Path) -> dict[str, str] | str:
    if target.is_file():
        return target.read_text()
    return {entry.name: entry.read_text() for entry in sorted(target.iterdir())}


@pytest.mark.parametrize('simple', [False, True], ids=['exchange', 'two renames'])
def test_a_folder_is_whole_whenever_the_process_is_killed(tmp_path, simple):
    """Also after the next run cleaned up; a file of somebody else is in it all the time."""
    script = FOLDER
    if simple:  # a file system that cannot exchange two names
        script = 't.ctypes.CDLL = lambda *a, **k: object()\n' + FOLDER
    old = {'a': 'old', 'b': 'old', 'notes.txt': 'mine'}
    new = {'a': 'new text', 'b': 'new text', 'notes.txt': 'mine'}
    states, at = [], 1
    while True:
        folder = tmp_path / str(at)
        target = folder / 'out'
        target.mkdir(parents=True)
        for name, text in old.items():
            (target / name).write_text(text)
        done = run(script, at, target)
        if not simple or target.exists():
            assert content(target) in (old, new), at
        with lock_target(target):
            recover(target)
        assert content(target) in (old, new), at
        assert [entry.name for entry in folder.iterdir()] == ['out'], at
        states.append(content(target) == new)
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
        at += 1
    assert at > 20
    assert states == sorted(states)  # old up to one step, new from there on
    assert not states[0]
    assert states[-1]


def test_a_file_is_whole_whenever_the_process_is_killed(tmp_path):
    states, at = [], 1
    while True:
        target = tmp_path / str(at) / 'out'
        target.parent.mkdir()
        target.write_text('old')
        done = run(FILE, at, target)
        with lock_target(target):
            recover(target)
        assert content(target) in ('old', 'new text')
        assert [entry.name for entry in target.parent.iterdir()] == ['out']
        states.append(content(target) == 'new text')
        if done.returncode == 0:
            break
        at += 1
    assert at > 5
    assert states == sorted(states)


def test_the_second_of_two_writers_is_refused_with_the_number_of_the_first(tmp_path):
    target = tmp_path / 'out'
    script = f"""
    import sys, pathlib
    from sam_ad_perception.core.transaction import write_folder
    with write_folder(pathlib.Path({str(target)!r})) as scratch:
        (scratch / 'a').write_text('first')
        print('ready', flush=True)
        sys.stdin.readline()
    """
    first = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == 'ready\n'
    with (
        pytest.raises(TargetError, match=f'being written by process {first.pid}'),
        write_folder(target),
    ):
        pass
    with pytest.raises(TargetError, match=f'process {first.pid}'), write_file(target):
        pass
    first.communicate('\n')
    assert content(target) == {'a': 'first'}
    assert [entry.name for entry in tmp_path.iterdir()] == ['out']


def test_links_are_followed_and_broken_ones_refused_before_the_work(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'out').symlink_to('disk')
    with write_folder(tmp_path / 'out', lambda p: ()) as scratch:
        (scratch / 'a').write_text('x')
    assert (tmp_path / 'out').is_symlink()
    assert content(tmp_path / 'disk') == {'a': 'x'}
    (tmp_path / 'gone').symlink_to('nowhere')
    for write in (write_folder, write_file):
        with (
            pytest.raises(TargetError, match='symbolic link that leads nowhere'),
            write(tmp_path / 'gone'),
        ):
            raise AssertionError('the work began')


def test_a_file_that_came_during_the_work_stays(tmp_path):
    target = tmp_path / 'out'
    target.mkdir()
    (target / 'a').write_text('old')
    with write_folder(target, lambda p: ('a',)) as scratch:
        (scratch / 'a').write_text('new')
        (target / 'labels').mkdir()
        (target / 'labels' / '1.png').write_text('truth')
    assert (target / 'a').read_text() == 'new'
    assert (target / 'labels' / '1.png').read_text() == 'truth'
    with (
        pytest.raises(TargetError, match='holds labels, which the earlier result did not write'),
        write_folder(target, lambda p: ('a',)) as scratch,
    ):
        (scratch / 'labels').write_text('another')
    assert (target / 'labels' / '1.png').read_text() == 'truth'


def test_an_error_leaves_the_old_result(tmp_path):
    target = tmp_path / 'out'
    target.write_text('old')
    with pytest.raises(RuntimeError), write_file(target) as stream:  # noqa: PT012
        stream.write(b'half')
        raise RuntimeError
    assert content(tmp_path) == {'out': 'old'}
    with pytest.raises(TargetError, match='is a file, expected a folder'), write_folder(target):
        pass
    with pytest.raises(TargetError, match='is a folder, expected a file'), write_file(tmp_path):
        pass


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / 'plain').write_text('')
    (tmp_path / 'folder').mkdir()
    with write_file(tmp_path / 'out') as stream:
        stream.write(b'x')
    with write_folder(tmp_path / 'made'):
        pass
    assert os.stat(tmp_path / 'out').st_mode == os.stat(tmp_path / 'plain').st_mode
    assert os.stat(tmp_path / 'made').st_mode == os.stat(tmp_path / 'folder').st_mode


def test_exchange_is_one_step_here(tmp_path):
    """On this file system; the other way is tried above."""
    for name in ('old', 'new'):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / 'old', tmp_path / 'new') == tmp_path / 'new'
    assert (tmp_path / 'old' / 'new').exists()
    assert transaction.SCRATCH_PREFIX.startswith('.')
