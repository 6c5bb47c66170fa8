from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sam_ad_perception.commands import cli
from sam_ad_perception.core.sensors import Modality, PointCloud
from sam_ad_perception.simulation.drives.drive import DriveConfig
from sam_ad_perception.simulation.drives.sample_frames import sample_frames, spread_points


def test_bench_measures_and_advises(tmp_path, capsys):
    out = tmp_path / 'bench.json'
    command = 'bench --frames 1 --size 64x96 --sensors camera,lidar --points 3000 --threads 1'
    assert cli.main([*command.split(), '--backends', 'half', '--json', str(out)]) == 0
    said = capsys.readouterr().out
    assert 'camera 96x64, lidar 3000 points' in said
    assert 'Fastest: model.backend: torch' in said
    rows = json.loads(out.read_text())['rows']
    assert [(row['way'], row['threads']) for row in rows] == [('torch', 1), ('half', 1)]
    for row in rows:
        stages = row['stages']
        assert set(stages) == {'health', 'align', 'network', 'mask', 'depth'}
        assert sum(stage['p50'] for stage in stages.values()) < 1.5 * row['frame']['p99'] + 5
        assert row['limit_ms'] > 0
    assert rows[0]['same'] == 1.0
    assert rows[1]['same'] > 0.95


def test_bench_refuses_sensors_that_the_rig_lacks():
    with pytest.raises(ValueError, match='none of the sensors'):
        sample_frames(DriveConfig(size=(32, 32)), 1, (Modality.DEPTH,))


def test_points_are_spread_in_the_order_of_time():
    cloud = PointCloud(np.arange(30, dtype=np.float32).reshape(10, 3), None, np.arange(10))
    for count in (4, 10, 25):
        more = spread_points(cloud, count)
        assert len(more.points) == count
        assert more.time_offset_ns is not None
        assert np.all(np.diff(more.time_offset_ns) >= 0)
        np.testing.assert_array_equal(more.points, cloud.points[more.time_offset_ns])


@pytest.mark.parametrize('given', ['', 'active'])
def test_threads_of_torch_wait_without_spinning_unless_the_user_says_so(given):
    environment = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
    environment |= {'OMP_WAIT_POLICY': given} if given else {}
    script = (
        'import os; from sam_ad_perception.modeling.openmp import wait_passively; '
        'wait_passively(); print(os.environ["OMP_WAIT_POLICY"])'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == (given or 'passive')
