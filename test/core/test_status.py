import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.status import (
    OK,
    WARN,
    FrameStatus,
    from_key_values,
    to_key_values,
)

SENSORS = st.sampled_from(['camera', 'thermal', 'event', 'lidar', 'depth'])
TENTHS = st.integers(-10000, 10000).map(lambda n: n / 10)


@given(
    used=st.lists(SENSORS, unique=True).map(tuple),
    missing=st.dictionaries(SENSORS, st.text(min_size=1)),
    gate=st.dictionaries(SENSORS, TENTHS),
    latency=st.dictionaries(st.sampled_from(['align', 'network', 'mask']), TENTHS),
    dropped=st.none() | st.text(),
    notes=st.dictionaries(SENSORS, st.text(min_size=1)),
    unlike=st.none() | TENTHS,
)
def test_status_survives_its_key_values(used, missing, gate, latency, dropped, notes, unlike):
    status = FrameStatus(
        stamp_ns=7,
        expert='mle_sam',
        used=used,
        missing=missing,
        gate=gate,
        latency_ms=latency,
        dropped=dropped,
        notes=notes,
        unlike_training=unlike,
    )
    assert from_key_values(7, to_key_values(status)) == status


def test_a_missing_sensor_or_a_drop_is_a_warning_with_its_reason():
    assert FrameStatus(0, 'mle_sam', ('camera',)).level == OK
    degraded = FrameStatus(0, 'mle_sam', ('camera',), {'lidar': 'silent for 0.5 s'})
    assert degraded.level == WARN
    assert 'silent for 0.5 s' in degraded.message
    noted = FrameStatus(0, 'mle_sam', ('thermal',), notes={'thermal': 'the image has 8 bits'})
    assert noted.level == WARN
    assert 'thermal: the image has 8 bits' in noted.message
    assert FrameStatus(0, dropped='no camera geometry').message == 'no mask: no camera geometry'


def test_unknown_keys_are_refused_by_name():
    with pytest.raises(ValueError, match='colour'):
        from_key_values(0, [('colour', 'red')])
