"""A package beside ours brings a radar, a network and a dataset: no file of ours names them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / 'test' / 'plugin_package'
RIG = """
/**:
  ros__parameters: {rate_hz: 10.0}
camera:
  ros__parameters: {kind: camera, size: [96, 160]}
radar:
  ros__parameters: {kind: radar, size: [64, 96], position: [1.7, 0.2, 1.0]}
"""
FRAMES = """
import sys
from pathlib import Path
import cv2
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.sensors.rig import RigSensor
rig = (RigSensor('camera', 'camera', (96, 160)), RigSensor('radar', 'radar', (96, 160)))
drive = Drive(DriveConfig(duration_s=2.0, rig=rig))
for split, first, count in (('train', 0, 4), ('val', 4, 2)):
    folder = Path(sys.argv[1]) / split
    folder.mkdir(parents=True)
    for i in range(first, first + count):
        t = drive.config.start_ns + i * 300_000_000
        colour = cv2.cvtColor(drive.measure('camera', t).data, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f'{i}_camera.png'), colour)
        cv2.imwrite(str(folder / f'{i}_radar.png'), drive.measure('radar', t).data)
        cv2.imwrite(str(folder / f'{i}_labels.png'), drive.truth(t).labels)
"""
TRAIN = """
model: toy_radar
dataset: toy_frames
root: {root}
zoo: models/zoo.yaml
cache_dir: {out}/cache
output_dir: {out}/run
threads: 1
augmentation: {{vary: false, corruption: {{noise: {{radar: 0.5}}}}}}
optimizer: {{lr: 3.0e-3, warmup_steps: 1}}
schedule: {{steps: 3, batch_size: 2, replicas: 1}}
validation: {{steps: 3, frames: 2, pictures: 1}}
"""
STATUS = """
import sys
from pathlib import Path
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages.from_ros import status_from_message
with BagReader(Path(sys.argv[1])) as reader:
    first = None
    for message in reader.messages(['/semantic/status']):
        status = status_from_message(reader.deserialize(message))
        first = first or status.stamp_ns
        seconds = (status.stamp_ns - first) * 1e-9
        print(f'{seconds:.1f}', *status.used, status.missing.get('radar', ''), sep='|')
"""


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own, as pip does beside ours."""
    folder = tmp_path_factory.mktemp('site')
    shutil.copytree(SOURCE, folder / 'source')
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation']
    pip += ['--no-index', '--disable-pip-version-check', '--target', str(folder / 'target')]
    subprocess.run([*pip, str(folder / 'source')], check=True)
    return folder / 'target'


def run(site: Path, *words: object) -> str:
    """Run python with the package beside ours."""
    paths = [str(site), str(ROOT), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_file_of_ours_names_what_the_package_brings() -> None:
    for folder in ('sam_ad_perception', 'training', 'models', 'config', 'launch'):
        for path in (ROOT / folder).rglob('*'):
            if path.suffix in ('.py', '.yaml'):
                text = path.read_text(encoding='utf-8')
                assert 'sam_ad_toy' not in text, path
                assert 'toy_frames' not in text, path
                assert 'radar_power' not in text, path


def test_the_package_is_known_by_its_installation(site: Path) -> None:
    code = (
        'from sam_ad_perception.core.settings.parameters import leaves, build\n'
        'from sam_ad_perception.core.sensors import Modality\n'
        'from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo\n'
        'from sam_ad_perception.nodes.ros.configuration import SegmentationConfig\n'
        'from sam_ad_perception.nodes.launch.model import INPUTS, SWITCHES\n'
        'from sam_ad_perception.simulation.faults.effects import KINDS\n'
        'from training.datasets.catalog import dataset_names\n'
        'from pathlib import Path\n'
        'names = leaves(SegmentationConfig)\n'
        'assert "bundler.sync.radar.offset_s" in names and "radar.transport" in names\n'
        'assert names["health.radar.max_power"].default == 200.0\n'
        'assert INPUTS["radar_image"][0] == "radar/image_rect" and "use_radar" in SWITCHES\n'
        'assert KINDS["radar_jam"].modalities == (Modality("radar"),)\n'
        'assert Modality("radar") in KINDS["dropout"].modalities\n'
        'zoo = load_zoo(Path("models/zoo.yaml"))\n'
        'print(type(build_model(zoo["toy_radar"])).__name__, *dataset_names())'
    )
    told = run(site, '-c', code).split()
    assert told[0] == 'Toy'
    assert 'toy_frames' in told


@pytest.fixture(scope='module')
def drive(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames, what was trained on them, a drive and its labelled recording."""
    folder = tmp_path_factory.mktemp('radar')
    frames = folder / 'frames'
    run(site, '-c', FRAMES, frames)
    run(site, '-m', 'training.prepare', 'toy_frames', frames, '--out', folder / 'prepared')
    config = folder / 'train.yaml'
    config.write_text(TRAIN.format(root=frames, out=folder))
    run(site, '-m', 'training.train', config)
    exported = folder / 'exported'
    run(site, '-m', 'training.export', folder / 'run', '--out', exported)
    commands = 'sam_ad_perception.commands.cli'
    (folder / 'rig.yaml').write_text(RIG)
    run(
        site, '-m', commands, 'simulate', folder / 'drive', '--rig', folder / 'rig.yaml',
        '--duration', 1.6, '--fault', 'radar:radar_jam:0.6:1.2', '--workers', 1,
    )  # fmt: skip
    run(
        site, '-m', commands, 'label', folder / 'drive', '--out', folder / 'labelled',
        '--model', 'toy_radar', '--report', '--zoo', exported / 'zoo.yaml',
        '--checkpoints', exported / 'checkpoints',
    )  # fmt: skip
    return folder


def check_statuses(lines: list[list[str]]) -> None:
    """The radar is used but while it is jammed."""
    assert len(lines) >= 15
    for seconds, *used, missing in lines:
        if 0.55 < float(seconds) < 1.15:
            assert used == ['camera'], lines
            assert missing.startswith('jammed: mean power'), lines
        elif 0.05 < float(seconds) < 0.55:
            assert used == ['camera', 'radar'], lines


@pytest.mark.slow
def test_its_network_is_measured_with_its_faults(site: Path, drive: Path) -> None:
    told = run(
        site, '-m', 'training.evaluate', drive / 'run', 'toy_frames', '--root', drive / 'frames',
        '--split', 'val', '--faults', 'all', '--frames', 1, '--out', drive / 'figures',
    )  # fmt: skip
    assert 'radar:radar_jam' in (drive / 'figures' / 'measurements.csv').read_text(), told


@pytest.mark.slow
def test_its_sensor_takes_part_in_a_labelled_recording(site: Path, drive: Path) -> None:
    assert 'radar' in (drive / 'labelled' / 'report.html').read_text()
    told = run(site, '-c', STATUS, drive / 'labelled')
    check_statuses([line.split('|') for line in told.splitlines()])


@pytest.mark.slow
@pytest.mark.ros
def test_its_sensor_takes_part_in_the_live_node(site: Path, drive: Path, ros_domain: int) -> None:
    """Node, recorder and replay as processes of their own; the statuses are those of `label`."""
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    values = {
        'model.key': 'toy_radar',
        'model.zoo': drive / 'exported' / 'zoo.yaml',
        'model.checkpoint_dir': drive / 'exported' / 'checkpoints',
    }
    ros = ['--ros-args']
    for name in ('segmentation', 'replay'):
        ros += ['--params-file', str(ROOT / 'config' / f'{name}.param.yaml')]
    for name, value in values.items():
        ros += ['-p', f'{name}:={value}']
    record = [str(drive / 'live'), 'semantic/status', 'semantic/image']
    paths = [str(site), str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}
    node = [sys.executable, '-m', 'sam_ad_perception.nodes']
    beside = [
        subprocess.Popen([*node, *words], cwd=ROOT, env=environment, text=True)
        for words in (['segmentation_node', *ros], ['recorder_node', *record])
    ]
    try:
        run(
            site, '-m', 'sam_ad_perception.nodes', 'replay_node', drive / 'drive', '--lockstep',
            '--timeout', 240, '--wait', 240,
        )  # fmt: skip
    finally:
        for process in beside:
            process.send_signal(signal.SIGINT)
        codes = [process.wait(60) for process in beside]
    assert codes == [0, 0]
    live, labelled = (run(site, '-c', STATUS, drive / name) for name in ('live', 'labelled'))
    check_statuses([line.split('|') for line in live.splitlines()])
    assert live == labelled
