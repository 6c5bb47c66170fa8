"""`sam_ad check`: what it tells of recordings of which the truth is known."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from sam_ad_perception.bags.bundles import BundleOptions
from sam_ad_perception.bags.checking.parameters import write_parameters
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.checking.sampled_reader import (
    PART_S,
    PARTS,
    SampledReader,
    choose_parts,
)
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.commands import cli
from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.synchronization.bundler import BundlerConfig
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

LIDAR, CAMERA, THERMAL = Modality.LIDAR, Modality.CAMERA, Modality.THERMAL


def by_sensor(check):
    return {each.modality: each for each in check.sensors}


def test_a_drive_without_fault_has_no_finding(write_drive, drive_facts):
    check = check_recording(write_drive(12))
    assert check.findings == ()
    assert check.bundles == 12
    sensors = by_sensor(check)
    assert sensors.keys() == {CAMERA, THERMAL, Modality.EVENT, LIDAR}
    assert {s.used for s in sensors.values()} == {12}
    assert sensors[LIDAR].timing.period_s == pytest.approx(1e-9 * drive_facts.PERIOD)
    assert sensors[CAMERA].timing.missing == 0
    assert sensors[CAMERA].rectified is True
    assert '15 of 16 bits' in sensors[THERMAL].bits
    assert f'{drive_facts.K[0, 0]:.0f} px' in sensors[CAMERA].lens
    assert sensors[LIDAR].extrinsics == '(0.00, -0.20, 0.00) m from the camera'


def test_the_share_of_points_in_the_image_is_that_of_a_projection(write_drive, drive_facts):
    facts, shares = drive_facts, []
    view = CameraModel(facts.SIZE[1], facts.SIZE[0], facts.K)

    def count(topic, message):
        if topic == '/points':
            raw = np.frombuffer(message.data.tobytes(), '<f4').reshape(-1, 4)[:, :3]
            raw = raw[np.isfinite(raw).all(axis=1)]
            T = facts.T_CAMERA_LIDAR
            uv, z = project_points(view, raw @ T[:3, :3].T + T[:3, 3])
            low, high = -0.5, np.array(facts.SIZE[::-1]) - 0.5
            shares.append(np.mean((z > 0) & ((uv >= low) & (uv < high)).all(axis=1)))
        return message

    check = check_recording(write_drive(6, count))
    assert by_sensor(check)[LIDAR].in_view == pytest.approx(np.median(shares), abs=0.01)


def test_real_kitti_has_no_finding(sample_data):
    check = check_recording(sample_data / 'kitti' / 'bag')
    assert check.findings == ()
    assert check.bundles == 8
    lidar = by_sensor(check)[LIDAR]
    assert lidar.in_view == pytest.approx(0.137, abs=0.01)
    assert 'a guess' in lidar.stamp
    assert by_sensor(check)[CAMERA].rectified is True


def test_lost_transforms_gaps_and_shifted_clocks_are_found(write_drive, capsys):
    bag = write_drive(12, lambda topic, m: None if topic == '/tf_static' else m, 'no_tf')
    assert cli.main(['check', str(bag)]) == 1
    shown = capsys.readouterr().out
    assert 'FAIL lidar' in shown
    assert 'FAIL camera' not in shown

    def without_some(topic, message):
        without_some.count += topic == '/thermal/image_rect'
        lost = topic == '/thermal/image_rect' and without_some.count % 2 and without_some.count > 2
        return None if lost else message

    without_some.count = 0
    check = check_recording(write_drive(20, without_some, 'gaps'))
    assert {f.code for f in check.findings if f.sensor == 'thermal'} >= {'check.unused'}

    def shift(topic, message):
        if topic == '/points':
            message.header.stamp.sec += 37
        return message

    check = check_recording(write_drive(20, shift, 'clock'))
    found = {f.code: f for f in check.findings if f.sensor == 'lidar'}
    assert found['check.clock'].figure == pytest.approx(37.0)
    assert found['check.unused'].out


def test_a_lidar_that_is_not_in_metres_is_told_once(write_drive):
    def scale(topic, message):
        if topic == '/points':
            values = np.frombuffer(message.data.tobytes(), '<f4').reshape(-1, 4).copy()
            values[:, :3] *= 1000.0
            message.data = np.frombuffer(values.tobytes(), np.uint8)
        return message

    found = [f for f in check_recording(write_drive(6, scale)).findings if f.sensor == 'lidar']
    assert [(f.code, f.out) for f in found] == [('cloud.unit', True)]


def test_a_sensor_that_is_switched_off_is_no_finding(write_drive):
    sync = BundlerConfig().sync
    off = {**sync.sensors, THERMAL: replace(sync.sensors[THERMAL], enabled=False)}
    options = BundleOptions(replace(BundlerConfig(), sync=replace(sync, sensors=off)))
    check = check_recording(write_drive(6), options=options)
    assert check.findings == ()
    assert by_sensor(check)[THERMAL].seen == 0


def test_of_a_long_recording_only_parts_are_read(write_drive):
    bag = write_drive(400)
    check = check_recording(bag)
    assert check.findings == ()
    assert check.read_s == pytest.approx(PARTS * PART_S)
    assert check.bundles == pytest.approx(10 * PARTS * (PART_S - 0.6), abs=2 * PARTS)
    assert not check.dropped
    assert {s.used for s in check.sensors} == {check.bundles}
    assert all(s.timing.missing == 0 and s.count == 400 for s in check.sensors)


def test_a_recording_that_is_there_twice_is_told(write_drive):
    bag = write_drive(12)
    (bag / 'metadata.yaml').unlink()
    (file,) = bag.glob('*.mcap')
    shutil.copy(file, bag / f'copy of {file.name}')
    found = {f.sensor: f for f in check_recording(bag).findings}
    assert {str(f.code) for f in found.values()} == {'check.order'}
    assert found.keys() == {'camera', 'thermal', 'lidar'}
    assert '12 of 24 stamps' in found['camera'].text
    assert 'in the folder twice' in found['camera'].remedy


@pytest.mark.parametrize('filled', ['nothing', 'nowhere'])
def test_sweeps_without_a_point_are_told(write_drive, filled):
    def change(topic, message):
        if topic == '/points':
            if filled == 'nothing':
                message.width, message.data = 0, message.data[:0]
            else:
                message.data = np.full(800, np.nan, '<f4').view(np.uint8)
        return message

    check = check_recording(write_drive(6, change))
    (found,) = check.findings
    assert (found.code, found.sensor, found.out) == ('check.empty', 'lidar', False)
    assert check.mapping.sensors[LIDAR].data == '/points'
    assert 'cannot be read' not in by_sensor(check)[LIDAR].reason


def test_a_sensor_of_which_nothing_is_readable_is_told_once(write_drive):
    def change(topic, message):
        if topic == '/camera/image_rect':
            message.encoding = 'yuv420'
        return message

    found = check_recording(write_drive(6, change)).findings
    assert [(f.sensor, f.out) for f in found] == [('camera', True)]
    assert "'yuv420' is not supported" in found[0].text


def test_a_slow_machine_judges_a_few_frames_and_not_one(write_drive):
    lost = []

    def lose_first(topic, message):
        if topic == '/thermal/image_rect' and not lost:
            lost.append(message)
            return None
        return message

    check = check_recording(write_drive(30, lose_first), time_s=0.0)
    assert 5 <= check.bundles < 30
    assert check.findings == ()


def test_parts_hold_the_messages_that_a_full_reading_has_there(write_drive):
    bag = write_drive(300)
    with BagReader(bag) as whole:
        everything = [(m.topic, m.received_ns, m.data) for m in whole.messages()]
    with SampledReader(bag) as reader:
        parts = choose_parts(reader.start_ns, reader.end_ns, 1.0)
        data = {'/points', '/camera/image_rect'}
        reader.limit(parts, data)
        read = [(m.topic, m.received_ns, m.data) for m in reader.messages()]
    expected = [m for m in everything if any(p.holds(m[1]) for p in parts)]
    assert [m for m in read if m[0] in data] == [m for m in expected if m[0] in data]
    assert set(expected) <= set(read) <= set(everything)
    assert len(read) == len(set(read))
    assert [m[1] for m in read] == sorted(m[1] for m in read)
    assert sum(m[0] == '/tf_static' for m in read) == 1


def test_parts_shrink_where_much_is_recorded():
    second = 1_000_000_000
    parts = choose_parts(0, 3600 * second, 1e9)
    assert len(parts) == PARTS
    assert sum(p.stop_ns - p.start_ns for p in parts) == pytest.approx(0.21 * second, rel=0.05)
    assert parts[0].start_ns == 0
    assert parts[-1].holds(3600 * second)
    assert choose_parts(0, 5 * second, 1.0)[0].holds(5 * second)


def test_label_takes_the_parameters_and_makes_the_same_masks(write_drive, tiny_zoo, tmp_path):
    bag, params = write_drive(4), tmp_path / 'params.yaml'
    assert cli.main(['check', str(bag), '--write', str(params)]) == 0
    config = load(SegmentationConfig, params, 'segmentation')
    assert config.inputs[CAMERA].transport == 'raw'
    assert config.inputs[Modality.EVENT].rectified is False

    def label(name, *more):
        model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']
        out = tmp_path / name
        assert cli.main(['label', str(bag), '--out', str(out), *model, *more]) == 0
        with BagReader(out) as reader:
            return [m.data for m in reader.messages(['/semantic/image'])]

    plain = label('plain')
    assert len(plain) == 4
    assert label('with_params', '--params', str(params)) == plain


def test_the_parameters_name_what_is_there_and_nothing_unknown(write_drive):
    bag = write_drive(4, lambda topic, m: None if 'thermal' in topic else m)
    text = write_parameters(check_recording(bag, options=BundleOptions()))
    values = yaml.safe_load(text)['/**']['ros__parameters']
    assert set(values['bundler']['sync']) == {'camera', 'event', 'lidar'}
    assert values['bundler']['sync']['lidar']['sweep_stamp'] == 'auto'


def test_the_page_has_a_picture_of_each_image_and_loads_nothing(write_drive, tmp_path, capsys):
    assert cli.main(['check', str(write_drive(4)), '--out', str(tmp_path / 'page')]) == 0
    page = (tmp_path / 'page' / 'check.html').read_text()
    captions = re.findall('<figcaption>(.*?)</figcaption>', page)
    assert [c.split(',')[0] for c in captions] == ['camera', 'thermal', 'event']
    assert all(int(re.search(r', (\d+) of 197 points', c)[1]) > 20 for c in captions)
    assert page.count('src="data:image/jpeg') == 3
    assert not re.search('(src|href)="(?!data:)', page)


def test_wrong_input_is_one_sentence(write_drive, tmp_path, capsys):
    given = tmp_path / 'given.yaml'
    given.write_text('{}')
    for arguments, sentence in (
        ([str(tmp_path / 'gone')], 'sam_ad check: '),
        ([str(write_drive(2)), '--topic', 'lidar:=/none'], 'lidar is to be /none'),
        ([str(given), '--params', str(given), '--write', 'b'], 'give one of them'),
    ):
        assert cli.main(['check', *arguments]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(('encoding', 'rows'), [('nv12', 72), ('nv21', 72), ('nv24', 144)])
def test_an_image_of_two_planes_has_the_size_of_its_picture(write_drive, encoding, rows):
    def change(topic, message):
        if topic == '/camera/image_rect':
            message.encoding, message.step = encoding, 64
            message.data = np.tile(message.data[: 64 * 48], rows // 48 + 1)[: 64 * rows]
        return message

    check = check_recording(write_drive(4, change))
    assert f'{encoding}, 64 x 48' in by_sensor(check)[CAMERA].bits
