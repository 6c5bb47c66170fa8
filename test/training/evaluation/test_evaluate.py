from __future__ import annotations

import csv
import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.routing.table import load_routing_table
from sam_ad_perception.core.sensors import Modality, keep_sensors
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training import evaluate as command
from training.augmentation.sensor_faults import spoil_bundle
from training.evaluation.data import (
    HeldBackDrives,
    LabelledSplit,
    fit_labels,
    open_data,
    standard_subsets,
)
from training.evaluation.files import MEASUREMENTS, RESULTS, load_results
from training.evaluation.measurement import (
    Score,
    Setting,
    empty_scores,
    measure,
    measure_frame,
    shrink_labels,
    total_matrix,
)
from training.evaluation.plan import ROUTED, Extent, make_plan, network_settings
from training.evaluation.selection import TrainedNetwork, load_network
from training.evaluation.systems import GridUpperBound, NetworkSystem, VehicleSystem
from training.frames.frame import LabelledFrame, bundle_in_view
from training.networks.checkpoint import export_weights

ROOT = Path(__file__).parents[3]
DEBUG = ROOT / 'training/configs/debug_zoo.yaml'
SENSORS = ('camera', 'thermal', 'event', 'lidar')


@pytest.fixture(scope='module')
def spec():
    return load_zoo(DEBUG)['debug']


@pytest.fixture(scope='module')
def trained(spec):
    torch.manual_seed(0)
    return TrainedNetwork(spec, build_model(spec), Path('debug.safetensors'), 'ab' * 32)


@pytest.fixture(scope='module')
def night_and_day():
    return list(HeldBackDrives(1, ('day', 'night')))


@pytest.fixture
def weights(spec, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'weights' / 'debug.safetensors'
    export_weights(build_model(spec).state_dict(), path)
    return path


def run(monkeypatch, *arguments):
    everything = ['evaluate', *map(str, arguments), '--zoo', str(DEBUG)]
    monkeypatch.setattr('sys.argv', everything)
    command.main()


def test_subsets_are_all_each_removed_and_each_alone(spec):
    subsets = standard_subsets(SENSORS)
    assert len(subsets) == 9
    assert subsets[0] == SENSORS
    assert subsets[1] == SENSORS[1:]
    assert subsets[-1] == ('lidar',)
    assert standard_subsets(SENSORS[:1]) == [SENSORS[:1]]
    assert len(network_settings(spec, SENSORS, Extent())) == 15
    two = network_settings(spec, SENSORS[:2], Extent(noise=True, faults='deliver'))
    assert {s.subset for s in two} == {SENSORS[:2], SENSORS[:1], SENSORS[1:2]}
    assert {s.noise for s in two} - {''} == {
        f'{sensor}:{kind}' for sensor in SENSORS[:2] for kind in ('gaussian', 'uniform')
    }
    assert sum('over_exposure' in s.fault for s in two) == 1
    assert not any('lidar' in s.fault for s in two)
    needy = dataclasses.replace(spec, required=('camera', 'thermal'))
    kept = {s.subset for s in network_settings(needy, SENSORS, Extent())}
    assert kept == {SENSORS, SENSORS[:3], SENSORS[:2] + SENSORS[3:], SENSORS[:2]}
    with pytest.raises(ValueError, match=r"debug needs \['thermal'\], the data set has"):
        network_settings(needy, ('camera',), Extent())


def test_figures_are_those_of_torchmetrics_and_of_the_segmenter(spec, trained, night_and_day):
    from torchmetrics.functional.classification import multiclass_calibration_error
    from torchmetrics.functional.segmentation import mean_iou

    expert = ExpertNetwork(spec, trained.network)
    segmenter = Segmenter([expert], health=UNCHECKED)
    subset = ('camera', 'lidar')
    system = NetworkSystem(expert, segmenter.labels)
    with Progress(console=Console(quiet=True)) as bar:
        plan = [(system, [Setting(subset)])]
        (scores,) = measure(night_and_day, plan, segmenter.labels, bar, bar.add_task(''))
    score = scores[Setting(subset)]
    masks, truths, confidences, native = [], [], [], []
    for frame in night_and_day:
        (result,) = segmenter.segment([keep_sensors(frame.bundle, subset, 'removed')])
        masks.append(torch.from_numpy(result.mask.astype(np.int64)))
        truths.append(torch.from_numpy(frame.labels.astype(np.int64)))
        confidences.append(torch.from_numpy(result.confidence / 255.0))
    for index, frame in enumerate(night_and_day):
        both = [torch.stack([m[index]])[:, None] for m in (masks, truths)]
        native.append(score.conditions[frame.condition])
        per_class = mean_iou(
            *[b[:, 0] for b in both], num_classes=19, per_class=True, input_format='index'
        )[0]
        seen = torch.unique(torch.cat(both))
        assert native[-1].miou() == pytest.approx(float(per_class[seen].mean()), abs=1e-6)
        assert int(np.isfinite(native[-1].iou()).sum()) == len(seen)
    assert (score.native.counts == total_matrix(native, segmenter.labels).counts).all()
    known = torch.stack(truths) != 255
    answers, wanted, sure = (torch.stack(m)[known] for m in (masks, truths, confidences))
    probabilities = ((1 - sure) / 39)[:, None].repeat(1, 40)  # the answer's is the largest
    probabilities.scatter_(1, answers[:, None], sure[:, None])
    expected = multiclass_calibration_error(probabilities.double(), wanted, 40, n_bins=15)
    assert score.confidence.error() == pytest.approx(float(expected), abs=1e-3)
    assert score.frames == score.masks == 2


def test_encoding_each_sensor_once_changes_nothing(spec, trained, night_and_day):
    expert = ExpertNetwork(spec, trained.network)
    system = NetworkSystem(expert, spec.labels)
    assert system.encodings is not None
    frame = night_and_day[0]
    for subset in (SENSORS, ('camera', 'lidar'), ('event',)):
        alone = system.answer(frame, Setting(subset), 0)
        shared = system.answer(frame, Setting(subset), 99)
        assert alone.seconds > 0
        assert shared.seconds is None
        assert (alone.mask == shared.mask).mean() > 0.999
        assert np.abs(alone.confidence.astype(int) - shared.confidence).max() <= 1
    assert len(system.encodings._known) == 4


def test_labels_at_the_size_of_the_network_are_those_of_torch():
    labels = np.random.default_rng(0).integers(0, 19, (400, 640), dtype=np.uint8)
    for size in ((320, 512), (64, 96), (401, 640), (400, 640)):
        image = torch.from_numpy(labels)[None, None].float()
        expected = torch.nn.functional.interpolate(image, size=size, mode='nearest-exact')
        assert (shrink_labels(labels, size) == expected[0, 0].numpy()).all()


def test_a_frame_without_a_mask_counts_as_wrong(spec, trained, night_and_day):
    frame = night_and_day[0]
    score = Score(total_matrix((), spec.labels), total_matrix((), spec.labels))
    score.add(frame, None)
    assert score.miou == 0
    assert (score.frames, score.masks, score.latency_ms) == (1, 0, None)
    needy = dataclasses.replace(spec, required=('thermal',))
    system = NetworkSystem(ExpertNetwork(needy, trained.network), spec.labels)
    assert system.answer(frame, Setting(('camera',)), 0) is None
    alone = keep_sensors(frame.bundle, ('lidar',), 'removed')
    unplugged = dataclasses.replace(frame, bundle=alone)
    assert system.answer(unplugged, Setting(('camera',)), 0) is None


def test_held_back_drives_repeat_places_in_each_condition(night_and_day):
    day, night = night_and_day
    assert (day.condition, night.condition) == ('day', 'night')
    assert day.bundle.stamp_ns == night.bundle.stamp_ns
    assert (day.labels == night.labels).mean() > 0.9
    dark = [np.asarray(f.bundle.frames[Modality.CAMERA].data).mean() for f in night_and_day]
    assert dark[1] < 0.6 * dark[0]
    assert HeldBackDrives(1, ('day',)).split == 'held-back seed 0, 1 frames each of day'
    assert HeldBackDrives(24, ('day', 'fog')).split == (
        'held-back seeds 0-23, 24 frames each of day, fog'
    )
    with pytest.raises(ValueError, match='frames and conditions'):
        HeldBackDrives(0)
    with pytest.raises(ValueError, match='condition must be one of'):
        HeldBackDrives(1, ('sunday',))
    with pytest.raises(ValueError, match='dataset must be one of'):
        open_data('city')
    with pytest.raises(ValueError, match='camvid needs --root'):
        open_data('camvid')


def test_command_writes_page_figures_and_the_routers_table(
    spec, weights, tmp_path, monkeypatch, capsys
):
    out, table = tmp_path / 'out', tmp_path / 'routing.yaml'
    data = ('simulated', '--frames', 1, '--conditions', 'day,night', '--threads', 1)
    run(monkeypatch, weights, *data, '--subsets', 'all', '--out', out, '--routing', table)
    text = capsys.readouterr().out
    assert 'IoU of each class' in text
    assert '1 of 2 frames' in text
    rows = load_results(out)['debug']
    assert len(rows) == 15
    assert rows[0].subset == SENSORS
    assert (rows[0].resolution, rows[0].frames) == ((400, 640), 2)
    routing = load_routing_table(table)
    assert [row.subset for row in routing.rows] == [row.subset for row in rows]
    assert all(a.miou >= b.miou for a, b in zip(routing.rows, rows, strict=True))
    assert routing.split == 'held-back seed 0, 1 frames each of day, night'
    assert routing.command.startswith('python -m training.evaluate ')
    first = routing.rows[0]
    assert set(first.conditions) == {'day', 'night'}
    assert first.latency_ms > 0
    assert first.checkpoint_sha256 == load_network(str(weights), DEBUG, tmp_path).sha256
    lines = list(csv.DictReader((out / MEASUREMENTS).open()))
    assert len(lines) == 15 * 4
    night = next(r for r in lines if r['sensors'] == 'lidar' and r['frames_of'] == 'night')
    alone = next(row for row in routing.rows if row.subset == ('lidar',))
    occurring = np.unique(next(iter(HeldBackDrives(1, ('night',)))).labels)
    names = [spec.labels.names[i] for i in occurring if i != 255]
    mean = np.mean([float(night[name]) for name in names])
    assert mean == pytest.approx(alone.conditions['night'], abs=0.01)
    assert (out / RESULTS).exists()
    page = (out / 'index.html').read_text()
    assert 'src=' not in page
    assert page.count('href=') == page.count('href="data:,"') == 1
    assert page.count('<svg') == 3
    for part in page.split('<svg')[1:]:
        ET.fromstring('<svg' + part.split('</svg>')[0] + '</svg>')

    # the vehicle with that table, with faults and noise, beside the run before
    more = ('--subsets', 'full', '--faults', 'deliver', '--noise', '--router', table)
    run(monkeypatch, weights, *data, *more, '--source', out, '--out', tmp_path / 'more')
    lines = list(csv.DictReader((tmp_path / 'more' / MEASUREMENTS).open()))
    assert {row['system'] for row in lines} == {'debug', 'debug, checked', ROUTED}
    text = capsys.readouterr().out
    for words in ('noise on one', 'with a fault on one sensor', 'retention', ROUTED):
        assert words in ' '.join(text.split()), words
    assert '1.00' in text  # the same data: everything is kept


def test_tables_of_other_data_are_refused_before_the_work(weights, tmp_path, monkeypatch, capsys):
    table = tmp_path / 'routing.yaml'
    run(monkeypatch, weights, 'simulated', '--frames', 1, '--subsets', 'full', '--routing', table)
    again = tmp_path / 'runs' / 'debug.safetensors'
    again.parent.mkdir()
    again.write_bytes(weights.read_bytes())
    run(monkeypatch, again, '--frames', 1, '--routing', table)  # simulated by itself
    routing = load_routing_table(table)
    assert len(routing.rows) == 9  # of one expert the last measurement counts
    assert len(routing.command.splitlines()) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(monkeypatch, weights, 'simulated', '--frames', 2, '--routing', table)
    assert 'of another split cannot be compared' in ' '.join(capsys.readouterr().err.split())
    assert load_routing_table(table) == routing


def test_other_datasets_are_measured_in_classes_that_both_know(
    weights, tmp_path, monkeypatch, capsys
):
    root, rng = tmp_path / 'camvid', np.random.default_rng(0)
    for name in ('val', 'valannot'):
        (root / name).mkdir(parents=True)
        for number in range(3):
            shape = (90, 120, 3) if name == 'val' else (90, 120)
            image = rng.integers(0, 12, shape, dtype=np.uint8)
            cv2.imwrite(str(root / name / f'{number}.png'), image)
    camvid = open_data('camvid', root=root, partial=True, frames=2)
    assert (len(camvid), camvid.split) == (2, 'val, first 2 frames')
    assert (camvid.sensors, camvid.size) == (('camera',), (90, 120))
    for name in ('camvid', 'cityscapes'):
        assert fit_labels(camvid, [LABEL_SPACES[name]]) is camvid
    with pytest.raises(ValueError, match='mcubes'):
        fit_labels(camvid, [LABEL_SPACES['mcubes']])
    out = tmp_path / 'out'
    run(monkeypatch, weights, 'camvid', '--root', root, '--partial', '--out', out)
    (row,) = load_results(out)['debug']
    assert row.dataset == 'camvid, val'
    assert (row.subset, row.frames, row.resolution) == (('camera',), 3, (90, 120))
    with pytest.raises(SystemExit):
        run(monkeypatch, weights, 'camvid', '--root', root)
    assert 'camvid val has 3 frames, 101 were published' in ' '.join(
        capsys.readouterr().err.split()
    )


class Thermal:
    """A data set whose classes Cityscapes knows, but not the other way round."""

    space = LABEL_SPACES['mfnet']

    def __len__(self):
        return 2

    def read(self, index):
        labels = np.arange(9, dtype=np.uint8).repeat(9 * 4).reshape(18, 18)
        image = np.zeros((18, 18, 3), np.uint8)
        return LabelledFrame(str(index), bundle_in_view({Modality.CAMERA: image}), labels)


def test_truth_is_told_in_the_networks_classes_where_only_that_can_be_done():
    data = LabelledSplit(Thermal(), 'mfnet', 'test')
    cityscapes, mfnet = LABEL_SPACES['cityscapes'], LABEL_SPACES['mfnet']
    told = fit_labels(data, [cityscapes])
    assert (told.name, told.split) == ('mfnet', 'test, in the classes of cityscapes')
    assert (told.space, len(told), told.sensors) == (cityscapes, 2, ('camera',))
    frame, *_ = told
    names = {'car': 'car', 'person': 'person', 'bike': 'bicycle'}
    expected = {mfnet.id_of(a): cityscapes.id_of(b) for a, b in names.items()}
    raw = data.dataset.read(0).labels
    for label in range(9):
        assert set(frame.labels[raw == label].tolist()) == {expected.get(label, 255)}
    assert fit_labels(data, [mfnet]) is data
    with pytest.raises(ValueError, match='no mapping'):
        fit_labels(data, [cityscapes, mfnet])


def test_two_networks_are_measured_on_the_same_frames(trained):
    with pytest.raises(ValueError, match='networks must be of different entries'):
        make_plan([trained, trained], HeldBackDrives(1), Extent())


def test_a_network_is_found_by_entry_run_or_file(weights, tmp_path):
    by_file = load_network(str(weights), DEBUG, tmp_path)
    (weights.parent / 'config.yaml').write_text(f'model: debug\nzoo: {DEBUG}\n')
    by_run = load_network(str(weights.parent), DEBUG, tmp_path)
    assert by_file.sha256 == by_run.sha256
    other = weights.parent / 'best' / 'step_7.safetensors'
    other.parent.mkdir()
    other.write_bytes(weights.read_bytes())
    assert load_network(str(other), DEBUG, tmp_path).spec.key == 'debug'
    assert load_network(str(other), None, tmp_path).spec.source == DEBUG  # the run's own zoo
    lonely = tmp_path / 'best.safetensors'
    lonely.write_bytes(weights.read_bytes())
    with pytest.raises(ValueError, match='does not tell its entry'):
        load_network(str(lonely), DEBUG, tmp_path)
    assert load_network(str(lonely), DEBUG, tmp_path, 'debug').spec.key == 'debug'
    with pytest.raises(ValueError, match="has no model 'debag'"):
        load_network(str(lonely), DEBUG, tmp_path, 'debag')
    with pytest.raises(ValueError, match='neither a file, nor'):
        load_network('nothing', DEBUG, tmp_path)
    with pytest.raises(ValueError, match='debug has no weights'):
        load_network('debug', DEBUG, tmp_path)


def test_scores_of_halves_add_up_to_those_of_the_whole(spec, trained, night_and_day):
    system = NetworkSystem(ExpertNetwork(spec, trained.network), spec.labels)
    plan = [(system, [Setting(SENSORS), Setting(('lidar',))])]
    whole, first, second = (empty_scores(plan, spec.labels) for _ in range(3))
    for number, frame in enumerate(night_and_day):
        for scores in (whole, (first, second)[number]):
            measure_frame(frame, number, plan, scores)
    for setting, score in whole[0].items():
        merged = first[0][setting]
        merged.merge(second[0][setting])
        assert (merged.native.counts == score.native.counts).all()
        assert (merged.small.counts == score.small.counts).all()
        assert set(merged.conditions) == {'day', 'night'}
        for name, matrix in score.conditions.items():
            assert (merged.conditions[name].counts == matrix.counts).all()
        np.testing.assert_array_equal(merged.confidence.counts, score.confidence.counts)
        for name, histogram in score.condition_confidence.items():
            np.testing.assert_array_equal(
                merged.condition_confidence[name].counts, histogram.counts
            )
        assert (merged.frames, merged.masks) == (2, 2)
        assert len(merged.seconds) == len(score.seconds) == 2


def test_a_networks_answer_is_used_again_by_a_vehicle(spec, trained, night_and_day):
    expert = ExpertNetwork(spec, trained.network)
    system = NetworkSystem(expert, spec.labels)
    vehicle = VehicleSystem('v', Segmenter([expert], health=UNCHECKED), spec.labels)
    frame = night_and_day[0]
    alone = system.answer(frame, Setting(SENSORS), 99)
    known = len(system.runs._known)
    shown = vehicle.answer(frame, Setting(SENSORS, checked=True), 99)
    assert (shown.mask == alone.mask).all()
    assert len(system.runs._known) == known == 1
    dark = dataclasses.replace(
        frame, bundle=spoil_bundle(frame.bundle, 'camera:black', np.random.default_rng(0))
    )
    assert (vehicle.answer(dark, Setting(SENSORS, checked=True), 99).mask != alone.mask).any()


def test_the_ceiling_of_a_grid_is_that_of_torch(night_and_day):
    """Shares of each class in each cell, interpolated as logits are."""
    labels = torch.from_numpy(night_and_day[0].labels.astype(np.int64))
    known = torch.nn.functional.one_hot(torch.where(labels == 255, 19, labels), 20)[..., :19]
    shares = torch.nn.functional.interpolate(
        known.permute(2, 0, 1)[None].float(), (80, 128), mode='area'
    )
    expected = torch.nn.functional.interpolate(shares, (400, 640), mode='bilinear').argmax(1)
    ceiling = GridUpperBound('ceiling', (80, 128), 19)
    mask = ceiling.answer(night_and_day[0], Setting(SENSORS), 0).mask
    assert (mask == expected[0].numpy()).mean() > 0.9999
    whole = (
        GridUpperBound('whole', (400, 640), 19).answer(night_and_day[0], Setting(SENSORS), 0).mask
    )
    assert (whole == night_and_day[0].labels)[night_and_day[0].labels != 255].all()
