import numpy as np
import pytest

from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.reporting.drive_log import read_drive_log, read_pixels
from sam_ad_perception.reporting.stamped_stream import StampedStream

SPACE = LABEL_SPACES['cityscapes']


def brute_force_miou(masks, truths):
    mask, truth = (np.concatenate([each.ravel() for each in group]) for group in (masks, truths))
    mask, truth = mask[truth != 255], truth[truth != 255]
    overlaps = [
        np.mean((mask == c) & (truth == c)) / np.mean((mask == c) | (truth == c))
        for c in np.union1d(mask, truth)
    ]
    return np.mean(overlaps)


def test_masks_are_compared_with_the_truth_of_their_stamp(run):
    log = read_drive_log(run.inputs, run.outputs, SPACE)
    assert [frame.status.stamp_ns for frame in log.frames] == run.stamps
    assert log.published == len(run.stamps)
    for frame in log.frames:
        stamp_ns = frame.status.stamp_ns
        expected = brute_force_miou([run.masks[stamp_ns]], [run.truths[stamp_ns]])
        assert frame.confusion.miou() == pytest.approx(expected)
    everything = brute_force_miou(run.masks.values(), run.truths.values())
    assert log.confusion.miou() == pytest.approx(everything)


def test_conditions_and_faults_are_those_that_were_simulated(run):
    frames = read_drive_log(run.inputs, run.outputs, SPACE).frames
    assert [frame.condition for frame in frames] == ['day'] * 4 + ['night'] * 4
    told = [dict(frame.faults) for frame in frames]
    assert told == [{}, {}, {'camera': 'black'}, {'camera': 'black'}, {}, {'lidar': 'dropout'},
                    {}, {}]  # fmt: skip


def test_a_run_without_truth_has_no_quality(run):
    log = read_drive_log(run.outputs, run.outputs, SPACE)
    assert log.confusion is None
    assert log.published == len(run.stamps)


def test_a_bag_without_status_is_refused(run):
    with pytest.raises(BagError, match='no message on semantic/status'):
        read_drive_log(run.inputs, run.inputs, SPACE)


def test_a_stream_finds_what_is_nearest_and_forgets_what_is_behind(run):
    with BagReader(run.outputs) as bag:
        masks = StampedStream(bag, 'semantic/image', read_pixels)
        period_ns = run.stamps[1] - run.stamps[0]
        assert np.array_equal(masks.at(run.stamps[1]), run.masks[run.stamps[1]])
        assert masks.at(run.stamps[2] + 1) is None
        near = masks.nearest(run.stamps[4] - period_ns // 3, period_ns // 2)
        assert np.array_equal(near, run.masks[run.stamps[4]])
        assert masks.at(run.stamps[-1] + period_ns) is None
