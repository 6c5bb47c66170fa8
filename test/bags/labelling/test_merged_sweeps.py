"""Sweeps that are merged around an exposure are labelled and written as any other."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages.from_ros import cloud_from_message, cloud_to_message
from sam_ad_perception.core.messages.labelled_cloud import labelled_cloud, read_labelled_points
from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.core.synchronization.measured_times import merge_sweeps

START = 1_700_000_000_000_000_000


def sweep(types, rng, stamp_ns):
    array = np.zeros(100, [*((n, '<f4') for n in ('x', 'y', 'z', 'intensity')), ('t', '<u4')])
    for axis in 'xyz':
        array[axis] = rng.uniform(1, 20, 100)
    array['t'] = np.arange(100) * 1_000_000
    cloud, _ = cloud_from_message(cloud_to_message(types, array, stamp_ns, 'lidar'))
    return SensorFrame(Modality.LIDAR, stamp_ns, 'lidar', cloud)


def test_a_merged_sweep_is_written_with_the_label_of_each_point(rng):
    types = make_typestore().types.__getitem__
    first, second = (sweep(types, rng, START + k * 100_000_000) for k in range(2))
    merged = merge_sweeps(first, second, START + 80_000_000)
    count = len(merged.data.points)
    labels = (np.arange(count) % 19).astype(np.uint8)
    message = labelled_cloud(
        types, merged.data, labels, LABEL_SPACES['cityscapes'], START, 'lidar'
    )
    xyz, ids = read_labelled_points(message)
    np.testing.assert_array_equal(xyz, merged.data.points)
    np.testing.assert_array_equal(ids, labels)
