"""What the tracker of latencies remembers, against the standard library's median."""

import statistics

from sam_ad_perception.core.routing.router import (
    LATENCY_MEMORY_S,
    LATENCY_SAMPLES,
    LatencyTracker,
    Route,
)

FAST, SLOW = Route('ad_sam', ('camera',)), Route('mle_sam', ('camera', 'lidar'))


def test_median_of_the_latest_runs_counts() -> None:
    tracker = LatencyTracker()
    times_s = [0.001 * ((7 * i) % 31) for i in range(40)]
    for i, seconds in enumerate(times_s):
        tracker.record(FAST, seconds, now_s=0.1 * i)
    tracker.record(SLOW, 0.5, now_s=4.0)
    expected = 1e3 * statistics.median(times_s[-LATENCY_SAMPLES:])
    assert tracker.medians_ms(4.0) == {FAST: expected, SLOW: 500.0}


def test_what_did_not_run_for_long_is_forgotten() -> None:
    tracker = LatencyTracker()
    tracker.record(SLOW, 0.5, now_s=0.0)
    tracker.record(FAST, 0.01, now_s=LATENCY_MEMORY_S)
    assert set(tracker.medians_ms(LATENCY_MEMORY_S)) == {SLOW, FAST}
    assert set(tracker.medians_ms(LATENCY_MEMORY_S + 0.1)) == {FAST}
    tracker.record(SLOW, 0.2, now_s=LATENCY_MEMORY_S + 1)
    assert tracker.medians_ms(LATENCY_MEMORY_S + 1)[SLOW] == 200.0
