"""The black box without ROS: bounds of memory, disk and number; whole bags whatever happens."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.bags.black_box.episodes import EpisodeFolder, read_episode, size_of
from sam_ad_perception.bags.black_box.recorder import MIB, BlackBox, BlackBoxOptions
from sam_ad_perception.bags.black_box.ring import MessageRing, cost
from sam_ad_perception.bags.black_box.triggers import (
    DiagnosticEntry,
    RateLimit,
    Trigger,
    TriggerRules,
)
from sam_ad_perception.bags.reader import BagMessage, BagReader
from sam_ad_perception.core.fault_codes import FAULT_CODES
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.core.transaction import TargetError

S = 1_000_000_000
STRING, INFO = 'std_msgs/msg/String', 'sensor_msgs/msg/CameraInfo'
ASKED = Trigger('service', 'asked for')


def text(number: int, topic: str = '/a', size: int = 40, kind: str = STRING) -> BagMessage:
    """A std_msgs/String in CDR, little endian, which says its number."""
    words = f'{number}'.ljust(size).encode() + b'\0'
    data = b'\0\1\0\0' + len(words).to_bytes(4, 'little') + words
    return BagMessage(topic, kind, number * S // 10, data)


def numbers(bag, topic='/a'):
    with BagReader(bag) as reader:
        return [int(reader.deserialize(m).data) for m in reader.messages([topic])]


@pytest.mark.parametrize('limit', [3000, 10_000, 10**9])
def test_the_ring_by_brute_force(limit, rng):
    """Held are the newest messages that are young enough and fit, and nothing else."""
    ring, came, most = MessageRing(5 * S, limit), [], 0
    for number in range(300):
        came.append(text(number, topic=f'/{number % 3}', size=int(rng.integers(10, 900))))
        ring.add(came[-1])
        young = [m for m in came if m.received_ns >= came[-1].received_ns - 5 * S]
        expected, room = [], limit
        for message in reversed(young):
            room -= cost(message)
            if room < 0:
                break
            expected.insert(0, message)
        assert [m.data for m in ring.snapshot()] == [m.data for m in expected]
        assert ring.size == sum(map(cost, expected)) <= limit
        assert ring.cut.total() == len(young) - len(expected)
        most = max(most, ring.cut.total())
    assert (most > 0) == (limit < 10**9)


def test_latched_messages_and_the_last_geometry_stay():
    ring = MessageRing(2 * S, 10**6)
    for number, name in enumerate(('/tf_static', '/tf_static', '/tf_static')):
        ring.add(text(number % 2, name), latched=True)
    ring.add(text(3, '/info', kind=INFO))
    for number in range(4, 100):
        ring.add(text(number))
    held = ring.snapshot()
    assert [m.topic for m in held[:3]] == ['/tf_static', '/tf_static', '/info']
    assert {m.received_ns for m in held[:3]} == {held[3].received_ns}  # as if they came then
    ring.add(text(5))  # time was set back
    assert [m.topic for m in ring.snapshot()] == ['/tf_static', '/tf_static', '/a']


def test_latched_messages_are_bounded_too():
    ring = MessageRing(S, 20_000)
    for number in range(200):
        ring.add(text(number, '/map', size=900), latched=True)
        assert ring.size <= 20_000
    assert ring.cut['/map'] > 0


def test_an_episode_is_what_came_before_and_after(tmp_path):
    box = BlackBox(tmp_path, BlackBoxOptions(before_s=2.0, after_s=1.0))
    box.announce('/tf_static', latched=True)
    box.parameters = 'segmentation: {}\n'
    box.take(text(0, '/tf_static'))
    for number in range(100):
        box.take(text(number))
        if number == 20:
            box.lose('/a', 7)  # long before
        if number == 45:
            box.lose('/b', 3)
        if number == 50:
            box.silent = ['/points']
            assert box.trigger(ASKED, 0.0) == ''
            assert box.recording
        if number == 55:
            assert box.trigger(Trigger('drop', 'no mask', 'output.dropped'), 1.0) == ''
    box.close()
    (bag,) = box.written
    assert numbers(bag) == list(range(30, 66))  # prolonged by the second trigger
    assert numbers(bag, '/tf_static') == [0]
    with BagReader(bag) as reader:
        assert {t.name: t.latched for t in reader.topics} == {'/a': False, '/tf_static': True}
    note = read_episode(bag)
    assert [each[0] for each in note.triggers] == ['service', 'drop']
    assert note.trigger_ns == 5 * S
    assert note.losses == ['3 messages of /b did not reach the recorder']
    assert list(note.silent) == ['/points']
    assert (bag / 'parameters.yaml').read_text() == 'segmentation: {}\n'
    assert read_episode(tmp_path / 'nothing') is None


def test_memory_is_bounded_while_triggers_come(tmp_path):
    """Ten minutes of data time at 5 MB/s, eight triggers, 32 MiB: held by count and by the OS."""
    options = BlackBoxOptions(before_s=10, after_s=5, memory_mib=32, interval_s=0, disk_mib=10**4)
    box = BlackBox(tmp_path, options)
    noise = np.random.default_rng(0).bytes(1 << 19)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = 0
    for tick in range(6000):
        size = (1 << 19) - tick % 1000
        message = BagMessage('/image', STRING, tick * S // 10, bytes(noise[:size]))
        box.take(message)
        most = max(most, box.size)
        while box.waiting > 16 * MIB:
            time.sleep(0.001)  # a drive does not run faster than the disk
        if tick % 700 == 600:
            box.wait()
            assert box.trigger(ASKED, tick / 10) == ''
    box.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(box.written) == 8
    assert most <= 32 * MIB
    assert grown < 160 * 1024  # KiB: chunks that are compressed come on top
    for bag in box.written:
        assert sum(read_episode(bag).cut.values()) > 0  # 15 s did not fit, and it says so
        with BagReader(bag) as reader:
            assert reader.topics[0].count > 30


def test_not_too_many(tmp_path):
    box = BlackBox(tmp_path, BlackBoxOptions(before_s=2, after_s=0.5, interval_s=30, per_hour=3))
    told = []
    for second in range(10_000):
        box.take(text(10 * second))
        if second % 5 == 0 and not box.recording:
            box.wait()
            told.append(box.trigger(ASKED, second))
    box.close()
    assert told.count('') == len(box.written) == 9  # three in each hour that began
    assert any('at least 30 s lie between' in each for each in told)
    assert any('3 were written within an hour' in each for each in told)
    assert box.refused.total() == len(told) - 9


def test_the_oldest_gives_way(tmp_path):
    options = BlackBoxOptions(before_s=5, after_s=0.1, interval_s=0, disk_mib=4)
    (tmp_path / 'of_somebody_else').mkdir()
    box = BlackBox(tmp_path, options)
    rng = np.random.default_rng(1)
    for number in range(600):
        box.take(BagMessage('/image', STRING, number * S // 10, rng.bytes(20_000)))
        if number % 60 == 59:
            box.wait()
            assert box.trigger(ASKED, number) == ''
    box.close()
    left = EpisodeFolder(tmp_path, 1).episodes()
    assert 1 < len(left) < len(box.written) == 10
    assert left == box.written[-len(left) :]  # the newest
    assert sum(map(size_of, left)) <= 4 * MIB
    assert (tmp_path / 'of_somebody_else').is_dir()


def test_an_episode_that_can_never_fit(tmp_path):
    box = BlackBox(tmp_path, BlackBoxOptions(disk_mib=1))
    for number in range(20):
        box.take(text(number, size=100_000))
    assert 'it may take' in box.trigger(ASKED, 0.0)
    box.close()
    assert box.written == []


def test_time_that_is_set_back_ends_an_episode(tmp_path):
    box = BlackBox(tmp_path, BlackBoxOptions(interval_s=0))
    for number in (10, 11, 12):
        box.take(text(number))
    assert box.trigger(ASKED, 0.0) == ''
    for number in (13, 1, 2):
        box.take(text(number))
    assert not box.recording
    box.close()
    assert numbers(box.written[0]) == [10, 11, 12, 13]


CHILD = """
import sys
from pathlib import Path
from sam_ad_perception.bags.black_box.recorder import BlackBox, BlackBoxOptions
from sam_ad_perception.bags.black_box.triggers import Trigger
from sam_ad_perception.bags.reader import BagMessage
import numpy as np
rng = np.random.default_rng(0)
box = BlackBox(Path(sys.argv[1]), BlackBoxOptions(before_s=2, after_s=1, interval_s=0))
number = 0
while True:
    box.take(BagMessage('/image', 'std_msgs/msg/String', number * 10**8, rng.bytes(200_000)))
    if number % 40 == 30:
        box.wait()
        box.trigger(Trigger('drop', 'no mask'), number)
        if number > 60:
            print('writing', flush=True)
    number += 1
"""


def test_a_kill_at_any_moment_leaves_whole_bags(tmp_path):
    for wait in (0.0, 0.03):
        child = subprocess.Popen(
            [sys.executable, '-c', CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout.readline() == 'writing\n'
            time.sleep(wait)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        whole = EpisodeFolder(tmp_path, 1).episodes()
        assert whole
        for bag in whole:
            with BagReader(bag) as reader:
                assert not reader.remarks
                assert len(list(reader.messages())) == reader.topics[0].count >= 20
        box = BlackBox(tmp_path)  # the next recorder clears up
        with pytest.raises(TargetError, match='is being written by process'):
            BlackBox(tmp_path)
        box.close()
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.')] == []
        assert EpisodeFolder(tmp_path, 1).episodes() == whole


def test_names_sort_by_time(tmp_path):
    folder = EpisodeFolder(tmp_path, 1)
    moment = datetime(2026, 11, 29, 1, 2, 3, 4, UTC)
    first = folder.new('drop', moment)
    assert first.name == '20261129T010203_000004000_drop'
    first.mkdir()
    assert folder.new('drop', moment).name == '20261129T010203_000004001_drop'


def test_what_is_a_trigger():
    rules = TriggerRules()
    fine = FrameStatus(1, 'mle', ('camera', 'lidar'))
    less = FrameStatus(2, 'mle', ('lidar',), {'camera': 'black'})
    other = FrameStatus(3, 'fusion', ('lidar',))
    drop = FrameStatus(4, dropped='no lens')
    order = [fine, fine, less, less, fine, other, drop, drop, other, drop]
    found = [rules.take_status('/semantic/status', each) for each in order]
    kinds = [each.kind if each else None for each in found]
    fallback = 'fallback'
    assert kinds == [None, None, fallback, None, None, fallback, 'drop', None, None, 'drop']
    assert 'camera missing: black' in found[2].reason
    assert {each.code for each in found if each} <= set(FAULT_CODES)
    assert rules.take_status('/left/semantic/status', drop).kind == 'drop'  # a view of its own

    def entry(level, code='', name='output'):
        return DiagnosticEntry(name, level, 'words', code)

    problem, silence = 'node.problem', 'output.no_reference'
    other = [entry(2, silence, 'other'), entry(0, '', 'other')]
    order = [*other, entry(0), entry(1), entry(2, problem), entry(2, problem), entry(2, silence)]
    order += [entry(0), entry(2, silence), entry(2, silence, 'other')]
    found = [rules.take_diagnostics([each]) for each in order]
    codes = [each.code if each else None for each in found]
    assert codes == [None, None, None, None, problem, None, silence, None, silence, silence]
    only = TriggerRules(['service'])
    assert only.take_diagnostics([entry(2, problem)]) is None
    assert only.take_status('/s', drop) is None
    with pytest.raises(ValueError, match='--on knows fault, fallback, drop, service, got crash'):
        TriggerRules(['crash'])


def test_rate_limit():
    limit = RateLimit(10.0, 2)
    assert [limit.refuse(t) == '' for t in (0, 5, 10, 30, 3599, 3600, 3611)] == [
        *(True, False, True, False, False, True, True),
    ]


def test_codes_are_stable():
    """Fleets count them: a code may be added, none may change or go."""
    assert sorted(FAULT_CODES) == [
        'network.unusable', 'node.inactive', 'node.loading', 'node.problem', 'output.degraded',
        'output.dropped', 'output.no_reference', 'sensor.loss', 'sensor.not_received',
        'sensor.timeout', 'sensor.timing', 'sensor.unhealthy', 'sensor.unreadable',
    ]  # fmt: skip
    assert all(re.fullmatch(r'[a-z]+\.[a-z_]+', code) for code in FAULT_CODES)
    page = (Path(__file__).parents[3] / 'docs/reference/fault_codes.md').read_text()
    rows = [f'| `{code}` | {text} |' for code, text in FAULT_CODES.items()]
    assert [line for line in page.splitlines() if line.startswith('| `') and '.' in line] == rows
