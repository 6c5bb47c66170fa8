"""Masks of frames that follow each other, as `training.evaluate --consecutive` compares them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import estimate_motion
from training.evaluation.measurement import Answer, Setting, measure
from training.evaluation.presentation.tables import stability_table
from training.evaluation.routing_rows import SystemResult
from training.evaluation.sequence import SequenceFollower
from training.frames.frame import LabelledFrame, bundle_in_view

SPACE = LABEL_SPACES['camvid']
SETTING = Setting(('camera',))


class Flickering:
    """The labels, of which every second frame has one corner wrong; none of some frames."""

    key = 'flickering'

    def __init__(self, without=()):
        self.without = without

    def answer(self, frame, setting, number):
        if number in self.without:
            return None
        mask = frame.labels.copy()
        if number % 2:
            mask[40:60, 40:60] = 10
        return Answer(mask, np.full_like(mask, 255), None, None)


@pytest.fixture
def frames(rng):
    """Five frames of a camera that moves by 3 pixels each over a textured plane."""
    noise = rng.integers(0, 256, (160, 220, 3), dtype=np.uint8)
    world = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)
    classes = cv2.resize(
        rng.integers(0, 4, (8, 11), dtype=np.uint8), (220, 160), interpolation=cv2.INTER_NEAREST
    )
    made = []
    for k in range(5):
        part = np.s_[20:140, 10 + 3 * k : 170 + 3 * k]
        bundle = bundle_in_view({Modality.CAMERA: np.ascontiguousarray(world[part])})
        made.append(LabelledFrame(str(k), bundle, np.ascontiguousarray(classes[part])))
    return made


def run(system, frames, follower):
    with Progress(console=Console(quiet=True)) as bar:
        (scores,) = measure(frames, [(system, [SETTING])], SPACE, bar, bar.add_task(''), follower)
    return scores[SETTING]


def test_what_flickers_is_told_and_labels_that_move_do_not(frames):
    follower = SequenceFollower(SPACE)
    score = run(Flickering(), frames, follower)
    assert (follower.truth.pairs, score.stability.pairs) == (4, 4)
    assert follower.truth.changed < 0.02
    expected = MaskStability(len(SPACE), SPACE.ignore_id)
    pictures = [np.asarray(f.bundle.frames[Modality.CAMERA].data) for f in frames]
    masks = [Flickering().answer(f, SETTING, k).mask for k, f in enumerate(frames)]
    for k in range(4):
        motion = estimate_motion(pictures[k], pictures[k + 1])
        expected.update(masks[k], masks[k + 1], motion)
    assert score.stability.changed == expected.changed
    corner = 20 * 20 / (120 * 157)
    assert score.stability.changed - follower.truth.changed == pytest.approx(corner, rel=0.1)
    table = stability_table([SystemResult('flickering', {SETTING: score})], follower.truth)
    assert [row[0] for row in table.rows] == ['flickering, all', 'the labels themselves']
    assert table.rows[0][3] == '4'


def test_a_frame_without_a_mask_or_a_picture_is_followed_by_no_comparison(frames):
    assert run(Flickering((2,)), frames, SequenceFollower(SPACE)).stability.pairs == 2
    follower = SequenceFollower(SPACE)
    blind = LabelledFrame('blind', frames[2].bundle, frames[2].labels)
    blind.bundle.frames.pop(Modality.CAMERA)
    assert run(Flickering(), [*frames[:2], blind, *frames[3:]], follower).stability.pairs == 2
    assert follower.truth.pairs == 2


def test_frames_that_do_not_follow_each_other_are_not_compared(frames):
    score = run(Flickering(), frames, None)
    assert score.stability is None
    nothing = MaskStability(len(SPACE), SPACE.ignore_id)
    assert stability_table([SystemResult('flickering', {SETTING: score})], nothing) is None
