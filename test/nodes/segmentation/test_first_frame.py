"""After a network is loaded and warmed up, the first frame of a drive compiles nothing more."""

import subprocess
import sys

from sam_ad_perception.nodes.segmentation.model_loading import sample_bundle

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


def test_the_first_frame_compiles_nothing():
    told = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SCRIPT], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == '{}'


def test_the_sample_is_what_health_takes_for_working_sensors():
    from sam_ad_perception.core.health.monitor import HealthMonitor

    checked = HealthMonitor().check(sample_bundle())
    assert checked.findings == {}
