from __future__ import annotations

import threading
import time

import pytest

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.labelling.pipeline import read_ahead, write_behind
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv

SPACE = LABEL_SPACES['cityscapes']


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_reading_ahead_keeps_the_order_and_is_bounded():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    got = []
    for item in read_ahead(items(), 3):
        time.sleep(0.002)
        got.append(item)
        # 3 wait, one is in the hand of the thread, one in ours
        assert len(made) <= len(got) + 4
    assert got == list(range(50))


def test_an_error_of_the_reader_comes_after_the_items_before_it():
    def items():
        yield from (1, 2)
        raise BagError('damaged')

    got = []
    with pytest.raises(BagError, match='damaged'):
        got.extend(read_ahead(items(), 1))
    assert got == [1, 2]


def test_closing_ends_a_reader_that_waits_for_room():
    ahead = read_ahead(iter(range(10**9)), 2)
    assert next(ahead) == 0
    ahead.close()


def test_writing_behind_keeps_the_order_and_ends_whole():
    written = []
    with write_behind(written.append, 2) as behind:
        for i in range(100):
            behind.put(i)
    assert written == list(range(100))


def test_an_error_of_the_writer_reaches_the_caller():
    def write(item):
        if item == 3:
            raise OSError('disk is full')

    def hand_on(items):
        with write_behind(write, 1) as behind:
            for i in items:
                behind.put(i)

    for items in (range(1000), [3]):  # in the middle, and the last one
        with pytest.raises(OSError, match='disk is full'):
            hand_on(items)


def test_an_interrupted_caller_does_not_wait_for_what_is_left():
    written, gate, begun = [], threading.Event(), threading.Event()

    def write(item):
        begun.set()
        gate.wait(10)
        written.append(item)

    def hand_on():
        with write_behind(write, 5) as behind:
            for i in range(5):
                behind.put(i)
            begun.wait(10)
            threading.Timer(0.1, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hand_on()
    assert written == [0]


def test_labelling_gives_what_a_plain_loop_gives(write_drive, segmenter, tmp_path):
    bag, out = write_drive(4), tmp_path / 'out'
    seen = []
    label_bag(bag, out, segmenter, SPACE, on_mask=lambda *mask: seen.append(mask))
    segmenter.reset()
    with BagReader(bag) as reader:
        bundles = list(read_bundles(reader, guess_topics(reader.topics)))
    expected = [segmenter.segment([bundle])[0] for bundle in bundles]
    assert len(expected) == len(seen) == 4
    with BagReader(out) as reader:
        written = [
            cv.image_to_array(reader.deserialize(m))[0]
            for m in reader.messages(['/semantic/image'])
        ]
        topics = [m.topic for m in reader.messages(['/camera/image_rect', '/semantic/status'])]
    for plain, (bundle, result), mask in zip(expected, seen, written, strict=True):
        assert bundle.stamp_ns == result.stamp_ns == plain.stamp_ns
        assert (plain.mask == mask).all()
        assert (plain.confidence == result.confidence).all()
    assert topics == ['/camera/image_rect', '/semantic/status'] * 4


@pytest.mark.parametrize('error', [KeyboardInterrupt(), MemoryError()])
def test_an_interrupted_labelling_leaves_nothing(write_drive, segmenter, tmp_path, error):
    out = tmp_path / 'results' / 'out'

    def stop(bundle, result):
        raise error

    with pytest.raises(type(error)):
        label_bag(write_drive(3), out, segmenter, SPACE, on_mask=stop)
    assert list(out.parent.iterdir()) == []
