import pytest

from sam_ad_perception.demo import DemoPlan, main
from sam_ad_perception.nodes.replay_schedule import parse_drop


@pytest.mark.parametrize('duration_s', [3.0, 8.0, 60.0])
def test_the_demo_pulls_each_cable_once_and_lets_it_come_back(tmp_path, duration_s):
    cuts = [parse_drop(cut) for cut in DemoPlan(tmp_path, duration_s=duration_s).cuts]
    assert {str(cut.sensor) for cut in cuts} == {'camera', 'thermal', 'event', 'lidar'}
    last_s = 0.0
    for cut in cuts:
        assert last_s < cut.start_s < cut.end_s
        last_s = cut.end_s
    assert last_s < duration_s


def test_a_drive_too_short_to_show_anything_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='--duration must be 3 s or more, got 1'):
        main(['--out', str(out), '--duration', '1'])
    assert not out.exists()
