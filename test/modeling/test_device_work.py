from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from sam_ad_perception.modeling.device_work import DeviceClock, download, upload

CPU = torch.device('cpu')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64, np.float32, np.float64])
def test_arrays_go_up_and_come_back(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array.flags.writeable = False  # as an image over a message is
    there = upload(array[:, ::2], CPU)
    back = download(there)
    np.testing.assert_array_equal(back, array[:, ::2])
    assert back.dtype == dtype
    there[:] = 0
    assert back.any()  # its own memory


def test_the_clock_tells_each_step():
    clock = DeviceClock(CPU)
    for seconds in (0.02, 0.0):
        time.sleep(seconds)
        clock.mark()
    first, second = clock.steps_s()
    assert first >= 0.02 > second >= 0
