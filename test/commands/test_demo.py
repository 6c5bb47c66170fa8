import argparse

import pytest
from rich.console import Console

from sam_ad_perception.commands.demo.command import main, write_report
from sam_ad_perception.commands.demo.nodes import OUTPUT_TOPICS
from sam_ad_perception.commands.demo.plan import DemoPlan, measured_networks, routing_table
from sam_ad_perception.commands.options.simulation import add_arguments, read_config
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.routing.table import load_routing_table
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.simulation.street.scene import TUNNEL, Scene


def _drive(plan):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_config(parser.parse_args(plan.simulation))


@pytest.mark.parametrize('duration_s', [5.0, 14.0, 60.0])
def test_each_sensor_fails_once_alone_and_comes_back(tmp_path, duration_s):
    config = _drive(DemoPlan(tmp_path, duration_s=duration_s))
    faults = config.faults
    assert {fault.sensor for fault in faults} == {'camera', 'thermal', 'event', 'lidar'}
    assert {fault.kind for fault in faults} == {'black', 'dropout', 'event_burst'}
    last_s = 0.0
    for fault in faults:
        assert last_s < fault.start_s < fault.end_s
        last_s = fault.end_s
    assert last_s < duration_s


def test_the_camera_goes_black_in_the_tunnel_and_the_rain_waits_outside(tmp_path):
    config = _drive(DemoPlan(tmp_path))
    assert config.scene == TUNNEL
    assert [name for _, name in config.conditions] == ['day', 'rain']
    length = config.duration_s * config.speed_mps
    tunnel = Scene(config.seed, length, config.speed_mps, TUNNEL).tunnel
    black = next(fault for fault in config.faults if fault.kind == 'black')
    rain_s = config.conditions[1][0]
    for time_s in (black.start_s, black.end_s, rain_s):
        assert tunnel.share(time_s * config.speed_mps) == 1.0
    assert tunnel.share(config.faults[0].end_s * config.speed_mps) == 0.0


def test_the_page_says_that_its_networks_know_simulation_alone(tmp_path, monkeypatch):
    written = {}
    monkeypatch.setattr(
        'sam_ad_perception.reporting.drive_page.write_drive_page',
        lambda inputs, outputs, folder, space, text, **options: written.update(text=text),
    )
    plan = DemoPlan(tmp_path, models='mle_sam_demo')
    write_report(plan, {}, (), Console())
    assert 'mle_sam_demo: trained on simulation only' in written['text'].warning
    assert 'sha256' in written['text'].facts['network mle_sam_demo']


def test_the_routing_table_names_networks_of_the_zoo():
    zoo = load_zoo(routing_table().parents[1] / 'zoo.yaml')
    table = load_routing_table(routing_table())
    assert {row.expert for row in table.rows} <= set(zoo)
    assert table.label_space in LABEL_SPACES
    assert measured_networks() == list(dict.fromkeys(row.expert for row in table.rows))
    assert 'semantic/points' in OUTPUT_TOPICS
    assert OUTPUT_TOPICS[0] == 'semantic/status'  # the only one that a live run records


def test_a_drive_too_short_to_show_anything_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='--duration must be 5 s or more, got 1'):
        main(['--out', str(out), '--duration', '1'])
    assert not out.exists()
