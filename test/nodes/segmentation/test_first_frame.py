"""What `sam_ad compile` compiles is all that a node's start and its first frame need."""

import os
import subprocess
import sys
from pathlib import Path

from sam_ad_perception import simulation
from sam_ad_perception.nodes.segmentation.model_loading import sample_bundle

SIMULATION = Path(simulation.__file__).parent
SCRIPT = """
import gc
from numba.core.dispatcher import Dispatcher
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig
from sam_ad_perception.nodes.segmentation.model_loading import load_model
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive

config = SegmentationConfig(model=ModelConfig(key='mle_sam_fast', threads=1))
segmenter = load_model(config, lambda words: None).segmenter
def count():
    found = [each for each in gc.get_objects() if isinstance(each, Dispatcher)]
    return {each.py_func.__module__ + '.' + each.__name__: len(each.signatures) for each in found
            if each.py_func.__module__.startswith('sam_ad_perception.')
            and '.simulation.' not in each.py_func.__module__}
drive = Drive(DriveConfig(seed=3, duration_s=2.0))
bundles = [drive.bundle(drive.config.start_ns + int(s * 1e9))[0] for s in (1.0, 1.1)]
before = count()
for bundle, wanted in zip(bundles, (False, True)):
    (result,) = segmenter.segment_each([bundle], depth=[wanted], confidence=[wanted])
    assert isinstance(result, Segmentation) and len(result.used) == 4, result.missing
after = count()
assert len(before) > 20, before
print({name: n for name, n in after.items() if n != before.get(name)})
"""


def test_after_sam_ad_compile_neither_start_nor_first_frame_compiles(tmp_path):
    """In the very cache that the command filled, a node that starts adds nothing."""
    environment = {**os.environ, 'NUMBA_CACHE_DIR': str(tmp_path)}
    python = [sys.executable, '-W', 'ignore']
    compiled = run([*python, '-m', 'sam_ad_perception.commands.cli', 'compile'], environment)
    assert 'kernels are ready' in compiled
    kept = kernels_in(tmp_path)
    assert len(kept) > 20
    assert run([*python, '-c', SCRIPT], environment).strip() == '{}'
    assert kernels_in(tmp_path) - kept == set()


def run(command, environment):
    """What a command prints."""
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout


def kernels_in(cache):
    """The compiled kernels of a cache, one file for one function and types; none of a drive's.

    A folder of the cache is called by a folder of the code, and a number.
    """
    drawn = {'simulation', *(folder.name for folder in SIMULATION.rglob('*') if folder.is_dir())}
    files = (path.relative_to(cache) for path in cache.rglob('*.nbc'))
    return {str(file) for file in files if file.parts[0].rpartition('_')[0] not in drawn}


def test_the_sample_is_what_health_takes_for_working_sensors():
    from sam_ad_perception.core.health.monitor import HealthMonitor

    checked = HealthMonitor().check(sample_bundle())
    assert checked.findings == {}
