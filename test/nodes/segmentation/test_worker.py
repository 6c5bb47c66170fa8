"""The worker: newest wins per source, nothing is lost in silence, and it always ends."""

import threading
import time

import pytest

from sam_ad_perception.nodes.segmentation.worker import LatestWorker


def wait_until_idle(worker):
    """Wait until the worker has begun its last item, then until a call gets through after it."""
    while worker.waiting:
        time.sleep(0.001)
    worker.call(lambda: None).result(30)


class Bench:
    """A worker whose work waits for the test's permission, and a record of all it reports."""

    def __init__(self, work=None):
        self.begun: list[int] = []
        self.done: list[int] = []
        self.replaced: list[int] = []
        self.errors: list[tuple[int, Exception]] = []
        self.started = threading.Semaphore(0)
        self.permission = threading.Semaphore(0)
        self.finished = threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.work = work or self.wait_for_permission
        self.worker = LatestWorker(
            self.work_on,
            on_replaced=self.replaced.append,
            on_error=self.on_error,
        )

    def work_on(self, batch: list[int]) -> None:
        self.batches.append(list(batch))
        for item in batch:
            self.work(item)

    def wait_for_permission(self, item: int) -> None:
        self.begun.append(item)
        self.started.release()
        assert self.permission.acquire(timeout=10)
        self.done.append(item)
        self.finished.release()

    def on_error(self, item: int, err: Exception) -> None:
        self.errors.append((item, err))
        self.finished.release()


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.permission.release(1000)
    assert made.worker.stop(5.0)


def test_newest_item_wins_and_every_other_is_reported(bench):
    bench.worker.submit(0)
    assert bench.started.acquire(timeout=5)
    for item in (1, 2, 3):
        bench.worker.submit(item)
    assert bench.replaced == [1, 2]
    bench.permission.release(2)
    for _ in range(2):
        assert bench.finished.acquire(timeout=5)
    assert bench.done == [0, 3]
    assert bench.replaced == [1, 2]


def test_every_item_is_worked_on_or_reported_under_load():
    seen = []
    bench = Bench(work=seen.append)
    for item in range(5000):
        bench.worker.submit(item)
    wait_until_idle(bench.worker)
    assert bench.worker.stop()
    assert sorted(seen + bench.replaced) == list(range(5000))
    assert seen == sorted(seen)
    assert seen[-1] == 4999


def test_sources_do_not_replace_each_other_and_wait_as_one_batch(bench):
    bench.worker.submit(0, 'front')
    assert bench.started.acquire(timeout=5)
    for item, source in ((1, 'front'), (2, 'left'), (3, 'front'), (4, 'rear')):
        bench.worker.submit(item, source)
    assert bench.replaced == [1]
    assert bench.worker.waiting == 3
    bench.worker.clear('rear')
    assert bench.replaced == [1, 4]
    bench.permission.release(3)
    for _ in range(3):
        assert bench.finished.acquire(timeout=5)
    assert bench.batches == [[0], [2, 3]]


def test_an_exception_is_told_of_every_item_of_its_batch():
    begun, permission = threading.Event(), threading.Event()

    def work(item: int) -> None:
        begun.set()
        assert permission.wait(5)
        if item:
            raise ValueError('bad batch')

    bench = Bench(work)
    bench.worker.submit(0, 'front')
    assert begun.wait(5)
    bench.worker.submit(1, 'front')
    bench.worker.submit(2, 'left')
    permission.set()
    for _ in range(2):
        assert bench.finished.acquire(timeout=5)
    assert [item for item, _ in bench.errors] == [1, 2]
    assert bench.worker.stop()


def test_an_exception_is_reported_and_the_next_item_is_worked_on():
    done = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            raise ValueError('bad item')
        done.set()

    bench = Bench(work)
    bench.worker.submit(0)
    assert bench.finished.acquire(timeout=5)
    bench.worker.submit(1)
    assert done.wait(5)
    assert [item for item, _ in bench.errors] == [0]
    assert str(bench.errors[0][1]) == 'bad item'
    assert bench.worker.stop()


def test_a_report_that_raises_is_logged_and_the_thread_lives(caplog):
    done = threading.Event()

    def work(batch: list[int]) -> None:
        if batch == [0]:
            raise ValueError('bad item')
        done.set()

    def on_error(item: int, err: Exception) -> None:
        raise RuntimeError('cannot report')

    worker = LatestWorker(work, on_replaced=lambda _: None, on_error=on_error)
    worker.submit(0)
    wait_until_idle(worker)
    worker.submit(1)
    assert done.wait(5)
    assert 'cannot report' in caplog.text
    assert worker.stop()


def test_a_call_runs_in_the_thread_before_the_waiting_item(bench):
    order = []
    bench.worker.submit(0)
    assert bench.started.acquire(timeout=5)
    bench.worker.submit(1)
    future = bench.worker.call(lambda: order.extend(bench.begun) or threading.current_thread())
    bench.permission.release()
    thread = future.result(5)
    assert order == [0]
    assert thread is not threading.current_thread()
    assert bench.replaced == []


def test_a_call_that_raises_gives_its_exception_to_the_caller(bench):
    future = bench.worker.call(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result(5)
    assert bench.worker.call(lambda: 'alive').result(5) == 'alive'


def test_clear_empties_the_slot_and_reports_it(bench):
    bench.worker.submit(0)
    assert bench.started.acquire(timeout=5)
    bench.worker.submit(1)
    bench.worker.clear()
    assert bench.replaced == [1]
    bench.permission.release()
    assert bench.finished.acquire(timeout=5)
    assert bench.worker.call(lambda: list(bench.begun)).result(5) == [0]


def test_stop_is_bounded_while_the_work_hangs_and_says_so(bench):
    bench.worker.submit(0)
    assert bench.started.acquire(timeout=5)
    bench.worker.submit(1)
    begin = time.monotonic()
    assert bench.worker.stop(0.1) is False
    assert time.monotonic() - begin < 5.0  # the work hangs until it is let go
    assert bench.replaced == [1]


def test_after_stop_items_are_reported_and_calls_cancelled(bench):
    assert bench.worker.stop()
    bench.worker.submit(7)
    assert bench.replaced == [7]
    assert bench.worker.call(lambda: 1).cancelled()


def test_stop_from_within_the_work_does_not_wait_for_itself():
    bench = Bench(work=lambda item: bench.worker.stop(60.0))
    begin = time.monotonic()
    bench.worker.submit(0)
    assert bench.worker.stop(60.0)
    assert time.monotonic() - begin < 30.0
    assert bench.errors == []
