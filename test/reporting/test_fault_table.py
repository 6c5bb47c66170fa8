import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.drive_log import FrameLog, read_drive_log
from sam_ad_perception.reporting.fault_table import rate_faults

SPACE = LABEL_SPACES['cityscapes']
PERIOD_MS = 100.0


def perfect(truth):
    matrix = ConfusionMatrix(len(SPACE), SPACE.ignore_id)
    matrix.update(truth, truth)
    return matrix


def test_each_fault_has_a_row_with_gap_and_loss(run):
    frames = read_drive_log(run.inputs, run.outputs, SPACE).frames
    without = {stamp_ns: perfect(truth) for stamp_ns, truth in run.truths.items()}
    camera, lidar = rate_faults(frames, without)
    assert (camera.sensor, camera.kind, camera.condition) == ('camera', 'black', 'day')
    assert (camera.start_s, camera.end_s) == pytest.approx((0.2, 0.4))
    assert (camera.masks, camera.frames) == (2, 2)
    # The run says of the second black frame only that it is black, and uses the next one.
    assert camera.noticed_ms == pytest.approx(PERIOD_MS)
    assert camera.back_ms == pytest.approx(0.0)
    assert camera.told.startswith('black')
    assert camera.gap_ms == pytest.approx(PERIOD_MS)
    assert camera.miou_without == pytest.approx(1.0)
    assert camera.loss == pytest.approx(1.0 - camera.miou)
    assert (lidar.kind, lidar.condition, lidar.frames) == ('dropout', 'night', 1)
    assert lidar.noticed_ms == pytest.approx(0.0)


def _frame(index, used, faulty, dropped=None):
    status = FrameStatus(int(index * PERIOD_MS * 1e6), 'demo', used, dropped=dropped)
    return FrameLog(status, faults={'camera': 'black'} if faulty else {})


def test_a_fault_that_stops_the_masks_shows_the_gap_and_that_nothing_came_back():
    frames = [_frame(0, ('camera',), False), _frame(1, ('camera',), False)]
    frames += [_frame(i, (), True, dropped='no sensor left') for i in (2, 3, 4)]
    frames += [_frame(5, ('lidar',), False)]
    (row,) = rate_faults(frames)
    assert (row.masks, row.frames) == (0, 3)
    assert row.gap_ms == pytest.approx(4 * PERIOD_MS)
    assert row.noticed_ms is None
    assert row.back_ms is None
    assert row.loss is None


def test_a_drive_without_faults_has_no_rows():
    assert rate_faults([_frame(i, ('camera',), False) for i in range(3)]) == []
