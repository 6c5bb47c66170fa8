"""What the book of latencies remembers, against the standard library's median."""

import statistics

from sam_ad_perception.core.latency_book import FORGET_S, MEMORY, LatencyBook
from sam_ad_perception.core.routing import Choice

FAST, SLOW = Choice('ad_sam', ('camera',)), Choice('mle_sam', ('camera', 'lidar'))


def test_median_of_the_latest_runs_counts() -> None:
    book = LatencyBook()
    times_s = [0.001 * ((7 * i) % 31) for i in range(40)]
    for i, seconds in enumerate(times_s):
        book.note(FAST, seconds, now_s=0.1 * i)
    book.note(SLOW, 0.5, now_s=4.0)
    expected = 1e3 * statistics.median(times_s[-MEMORY:])
    assert book.medians_ms(4.0) == {FAST: expected, SLOW: 500.0}


def test_what_did_not_run_for_long_is_forgotten() -> None:
    book = LatencyBook()
    book.note(SLOW, 0.5, now_s=0.0)
    book.note(FAST, 0.01, now_s=FORGET_S)
    assert set(book.medians_ms(FORGET_S)) == {SLOW, FAST}
    assert set(book.medians_ms(FORGET_S + 0.1)) == {FAST}
    book.note(SLOW, 0.2, now_s=FORGET_S + 1)
    assert book.medians_ms(FORGET_S + 1)[SLOW] == 200.0
