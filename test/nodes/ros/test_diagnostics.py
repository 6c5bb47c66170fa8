"""What `/diagnostics` tells: counts by reason, lost messages, rate, age and silence."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.health.monitor import SensorHealth
from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig
from sam_ad_perception.nodes.ros.diagnostics import (
    MAX_GAP,
    MAX_REASONS,
    OK,
    WARN,
    LossCounter,
    ReasonCounter,
    TopicMonitor,
)


def test_texts_that_differ_in_numbers_are_one_reason_and_are_logged_once_per_period():
    now = [0.0]
    counter = ReasonCounter(period=10.0, clock=lambda: now[0])
    assert counter.add('data holds 12 bytes, expected 40')
    assert not counter.add('data holds 13.5 bytes, expected 40')
    assert counter.add('unknown encoding')
    now[0] = 9.9
    assert not counter.add('data holds 99 bytes, expected 40')
    now[0] = 10.1
    assert counter.add('data holds 99 bytes, expected 40')
    assert counter.counts == {'data holds 99 bytes, expected 40': 4, 'unknown encoding': 1}
    assert counter.total == 5


def test_reasons_are_bounded():
    counter = ReasonCounter()
    words = [a + b for a in 'abcdefgh' for b in 'ijklmnop']
    for word in words:
        counter.add(word)
    assert len(counter.counts) == MAX_REASONS + 1
    assert counter.counts['other reasons'] == len(words) - MAX_REASONS
    assert counter.total == len(words)


def test_counting_from_many_threads_loses_nothing():
    counter = ReasonCounter()
    threads = [
        threading.Thread(target=lambda: [counter.add('x') for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.total == 8000


def test_a_monitor_tells_not_received_rate_silence_and_bad_messages():
    monitor = TopicMonitor('camera', timeout=0.5)
    told = monitor.diagnose(0.0)
    assert (told.level, told.message) == (WARN, 'NotReceived')
    for i in range(10):
        monitor.tick(0.1 * i + 0.05)
    told = monitor.diagnose(1.0, {'used': 7})
    values = dict(told.values)
    assert (told.level, told.message) == (OK, 'OK')
    figures = {'received': '10', 'lost': '0', 'rate_hz': '10.00', 'age_s': '0.050', 'used': '7'}
    assert values == figures
    told = monitor.diagnose(2.15)
    assert told.level == WARN
    assert told.message == 'Timeout: silent for 1.2 s'
    assert dict(told.values)['rate_hz'] == '0.00'
    monitor.tick(2.4)
    monitor.tick(2.5)
    monitor.bad.add('no x')
    told = monitor.diagnose(2.6)
    assert (told.level, told.message) == (WARN, '1 of 2 messages could not be read')
    assert dict(told.values)['bad: no x'] == '1'
    monitor.tick(2.7)
    assert monitor.diagnose(2.8).level == OK


def test_a_monitor_tells_what_is_wrong_with_the_frames_since_it_was_asked_last():
    monitor = TopicMonitor('camera', timeout=0.5)
    monitor.tick(0.9)
    told = monitor.diagnose(1.0, health=SensorHealth(frames=10))
    assert (told.level, told.message) == (OK, 'OK')
    spoilt = SensorHealth(14, {'black': 2, 'blurred': 1}, 3, 2, 'blurred: sharpness 0.15')
    monitor.tick(1.9)
    told = monitor.diagnose(2.0, health=spoilt)
    assert told.level == WARN
    assert told.message == '3 of 4 frames unhealthy: blurred: sharpness 0.15'
    values = dict(told.values)
    assert (values['health/checked'], values['health/taken out']) == ('14', '2')
    assert (values['health/black'], values['health/blurred']) == ('2', '1')
    assert values['health/last_reason'] == 'blurred: sharpness 0.15'
    monitor.tick(2.9)
    assert monitor.diagnose(3.0, health=spoilt).level == OK
    assert monitor.diagnose(4.0, health=spoilt).message.startswith('Timeout')
    # A network that was loaded anew counts from nothing.
    monitor.tick(4.9)
    assert monitor.diagnose(5.0, health=SensorHealth(frames=3)).level == OK


def test_a_clock_that_is_off_is_reported_until_it_is_configured():
    """59 ms at 10 Hz: the nearest stamp is the one of the wrong frame."""
    for offset_s, level in ((0.0, WARN), (0.059, OK)):
        thermal = SensorConfig(offset_s=offset_s)
        bundler = Bundler(BundlerConfig(sync=SynchronizerConfig(sensors={'thermal': thermal})))
        monitor = TopicMonitor('thermal', timeout=0.5)
        for i in range(10):
            for modality, ahead_ms in ((Modality.CAMERA, 0), (Modality.THERMAL, 59)):
                stamp_ns = (100 * i + ahead_ms) * 1_000_000
                frame = SensorFrame(modality, stamp_ns, 'x', np.zeros((2, 2), np.uint8))
                bundler.add_frame(frame, (100 * i + 12) * 1_000_000)
            monitor.tick(0.1 * i)
        told = monitor.diagnose(1.0, timing=bundler.timing[Modality.THERMAL])
        assert told.level == level
        assert ('stamps are 59 ms ahead of the reference' in told.message) == (level == WARN)
        values = dict(told.values)
        assert float(values['timing/offset_by_arrival_ms']) == 59 - 1e3 * offset_s
        assert float(values['timing/period_ms']) == 100


@given(st.lists(st.lists(st.integers(1, MAX_GAP), max_size=20), max_size=4))
def test_every_gap_in_the_numbers_of_a_publisher_counts_also_after_it_starts_again(runs):
    counter = LossCounter()
    lost = number = 0
    for steps in runs:
        if number:
            counter = LossCounter()  # what a new subscription begins with
        number, lost = 1, 0
        counter.add(number)
        for step in steps:
            number += step
            lost += step - 1
            counter.add(number)
        assert counter.total == lost
        counter.add(1)  # it starts again
        counter.add(2)
        assert counter.total == lost


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 20))
def test_two_publishers_that_lose_nothing_are_no_loss(order, ahead):
    counter = LossCounter()
    numbers = {False: 1, True: 1 + ahead}
    counter.add(numbers[True])
    counter.add(numbers[False])
    for which in order:
        numbers[which] += 1
        counter.add(numbers[which])
    assert counter.total == 0


def test_a_monitor_warns_of_many_lost_messages_and_counts_the_few():
    monitor = TopicMonitor('camera', timeout=0.5)
    for number in (7, 8, 9, 10, 11, 12, 13, 14, 15, 17):
        monitor.tick(0.1, number)
    told = monitor.diagnose(0.2)
    assert (told.level, dict(told.values)['lost']) == (OK, '1')
    for number in (18, 20, 23):
        monitor.tick(0.3, number)
    told = monitor.diagnose(0.4)
    assert (told.level, told.message) == (WARN, '3 of 6 messages got lost')
    assert dict(told.values)['lost'] == '4'
