"""Doubt by leaving sensors out, held against masks made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.commands import cli
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.modeling.zoo.packed import pack_entry, read_entries
from training.annotation.disagreement import measure_disagreement, open_network
from training.annotation.export import ExportOptions, export_labels
from training.annotation.labelled_recording import read_facts
from training.frames.frame import DatasetError
from training.networks.checkpoint import export_weights

ZOO = Path(__file__).parents[3] / 'training/configs/debug_zoo.yaml'


@pytest.fixture
def network(tmp_path) -> Path:
    spec = load_zoo(ZOO)['debug']
    torch.manual_seed(2)
    path = tmp_path / 'network.safetensors'
    metadata = pack_entry(read_entries(ZOO)['debug'], 'debug', spec.labels)
    export_weights(build_model(spec).state_dict(), path, metadata=metadata)
    return path


def test_each_sensor_is_left_out_once(labelled_drive):
    """A network that paints the sensors that it gets: all differences are known."""
    painted = {'camera': 1, 'thermal': 2, 'event': 3, 'lidar': 4}

    def segment(bundle):
        mask = np.zeros((10, 10), np.uint8)
        for modality in bundle.frames:
            mask[: painted[str(modality)], painted[str(modality)] - 1] = 9
        return mask

    with BagReader(labelled_drive) as reader:
        facts = read_facts(reader, condition=False)
        measured = measure_disagreement(reader, segment, facts)
    assert len(measured) == len(facts) >= 4
    for each in measured:
        expected = sum(painted[sensor] for sensor in each.used) / len(each.used) / 100
        assert math.isclose(each.disagreement, expected)
    assert len({each.used for each in measured}) > 1


def test_a_network_that_needs_its_sensors_says_nothing(labelled_drive):
    def segment(bundle):
        if len(bundle.frames) < 4:
            raise ValueError('needs all')
        return np.zeros((2, 2), np.uint8)

    with BagReader(labelled_drive) as reader:
        facts = read_facts(reader, condition=False)
        measured = measure_disagreement(reader, segment, facts)
    assert all(math.isnan(each.disagreement) for each in measured)


def test_the_command_takes_the_most_doubtful(bag, network, tmp_path):
    """The same pick as by hand: the recorded confidence and masks without each sensor."""
    segment = open_network(network)
    with BagReader(bag) as reader:
        facts = {each.stamp_ns: each for each in read_facts(reader, condition=False)}
        doubt = {}
        for bundle in read_bundles(reader, choose_topics(reader)):
            told = facts[bundle.stamp_ns]
            frames = {m: f for m, f in bundle.frames.items() if m in told.used}
            masks = []
            for left in (None, *frames):
                kept = {m: f for m, f in frames.items() if m != left}
                changed = type(bundle)(
                    bundle.stamp_ns, bundle.reference, bundle.camera, kept, {}, bundle.T_camera
                )
                masks.append(segment(changed))
            shares = [np.mean(mask != masks[0]) for mask in masks[1:]]
            doubt[bundle.stamp_ns] = 1 - told.confidence + float(np.mean(shares))
    words = ['--least-confident', '2', '--disagreement', str(network)]
    assert cli.main(['export-labels', str(bag), '--out', str(tmp_path / 'out'), *words]) == 0
    written = [int(path.stem) for path in (tmp_path / 'out/masks').iterdir()]
    assert len(written) == 2
    # all frames are looked at here; the most doubtful one is taken whatever lies near
    assert max(doubt, key=lambda stamp_ns: doubt[stamp_ns]) in written


def test_disagreement_without_a_number(bag, tmp_path):
    with pytest.raises(DatasetError, match='--least-confident, which is not given'):
        export_labels(bag, tmp_path / 'out', ExportOptions(network='mle_sam_demo'))
