"""The mean over sizes and mirrored frames, held against torch on the same network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from test.pictures import camera_picture
from training.evaluation.data import HeldBackDrives
from training.evaluation.measurement import Setting, empty_scores
from training.evaluation.presentation.outcome import make_routing_table
from training.evaluation.routing_rows import SystemResult
from training.evaluation.systems import (
    GridUpperBound,
    NetworkSystem,
    SeveralScales,
    mean_of_grids,
)
from training.frames.frame import LabelledFrame, bundle_in_view

CAMERA = Setting(('camera',))


@pytest.fixture(scope='module')
def expert():

    zoo = load_zoo(Path(__file__).parents[2] / 'tiny_zoo.yaml')
    spec = zoo['tiny']
    torch.manual_seed(0)
    return ExpertNetwork(spec, build_model(spec))


@pytest.fixture(scope='module')
def frame():
    picture = camera_picture(np.random.default_rng(0), (96, 160))
    bundle = bundle_in_view({Modality.CAMERA: picture})
    return LabelledFrame('one', bundle, np.zeros((96, 160), np.uint8))


def test_one_scale_is_the_network_itself(expert, frame):
    space = expert.spec.labels
    alone = NetworkSystem(expert, space).answer(frame, CAMERA, 0)
    same = SeveralScales(expert, space, [1.0], mirror=False).answer(frame, CAMERA, 0)
    np.testing.assert_array_equal(same.mask, alone.mask)
    np.testing.assert_array_equal(same.small, alone.small)


def test_a_mirrored_frame_gets_the_mirrored_answer(expert, frame):
    """The mean over both ways round does not know which of them came."""
    space = expert.spec.labels
    system = SeveralScales(expert, space, [1.0, 0.5], mirror=True)
    picture = np.ascontiguousarray(frame.bundle.frames[Modality.CAMERA].data[:, ::-1])
    turned = dataclasses.replace(frame, bundle=bundle_in_view({Modality.CAMERA: picture}))
    there, back = system.answer(frame, CAMERA, 0), system.answer(turned, CAMERA, 0)
    alone = NetworkSystem(expert, space)
    ways = [alone.answer(each, CAMERA, 9).mask for each in (frame, turned)]
    assert (ways[0] != ways[1][:, ::-1]).any()  # the network itself does
    assert (there.mask == back.mask[:, ::-1]).mean() > 0.999


def test_the_mean_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    fine = torch.rand(1, 4, 6, 8, generator=generator).softmax(1)
    coarse = torch.rand(1, 4, 3, 4, generator=generator).softmax(1)
    resized = torch.nn.Upsample(size=(6, 8), mode='bilinear')(coarse)
    torch.testing.assert_close(mean_of_grids([coarse, fine]), (fine + resized) / 2)
    torch.testing.assert_close(mean_of_grids([coarse, fine]).sum(1), torch.ones(1, 6, 8))


def test_sizes_are_what_the_encoder_takes(expert):
    space = expert.spec.labels
    height, width = expert.spec.input_size
    sizes = SeveralScales(expert, space, [0.5, 0.75, 1, 1.25], mirror=False).sizes
    assert all(h % 32 == 0 and w % 32 == 0 for h, w in sizes)
    assert sizes[2] == (height, width)
    with pytest.raises(ValueError, match=r'scales must be one or more above 0, got \[0\]'):
        SeveralScales(expert, space, [0], mirror=False)


def test_without_its_sensor_there_is_no_answer(expert, frame):
    system = SeveralScales(expert, LABEL_SPACES['cityscapes'], [1.0], mirror=True)
    assert system.answer(frame, Setting(('lidar',)), 0) is None


def test_no_vehicle_routes_to_a_mean_over_sizes():
    data = HeldBackDrives(1, ('day',))
    score = empty_scores([(GridUpperBound('', (2, 2), 2), [CAMERA])], data.space)[0][CAMERA]
    score.native.update(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    results = [
        SystemResult('net', {CAMERA: score}, 10, 'ff'),
        SystemResult('net, 3 scales', {CAMERA: score}),
    ]
    table = make_routing_table(results, data, (2, 2), 'command')
    assert [row.expert for row in table.rows] == ['net']
