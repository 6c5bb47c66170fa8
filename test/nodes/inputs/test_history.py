"""What waits is bounded, and found by its stamp: against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.nodes.inputs.history import History


def test_age_bytes_and_replacement():
    history = History(age_ns=100, max_bytes=30)
    for stamp in (0, 50, 100):
        history.add(stamp, str(stamp), 10)
    assert len(history) == 3
    history.add(101, '101', 10)  # 0 is too old now
    assert history.at(0) is None
    history.add(102, '102', 10)  # too many bytes: the oldest goes
    assert history.at(50) is None
    history.add(102, 'again', 10)
    assert history.at(102) == 'again'
    assert len(history) == 3
    history.add(103, 'huge', 1000)
    assert len(history) == 1
    assert history.at(103) == 'huge'


def test_time_set_back_forgets_the_future():
    history = History(age_ns=100, max_bytes=1000)
    history.add(1000, 'old', 1)
    history.add(10, 'new', 1)
    assert history.at(1000) is None
    assert history.nearest(12, 5) == 'new'


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.integers(-5, 70),
    st.integers(0, 20),
)
def test_nearest_agrees_with_a_search_through_everything(stamps, wanted, tolerance):
    history = History(age_ns=10**9, max_bytes=10**9)
    for stamp in stamps:
        history.add(stamp, stamp, 1)
    best = min(set(stamps), key=lambda s: (abs(s - wanted), s))
    expected = best if abs(best - wanted) <= tolerance else None
    assert history.nearest(wanted, tolerance) == expected
    assert len(history) == len(set(stamps))
