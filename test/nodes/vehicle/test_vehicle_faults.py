"""Sensors, transforms and the network fail in turn; real processes over DDS, as on a vehicle.

The strict times are the business of `benchmarks.vehicle.faults`: here the machine may be slow.
"""

import re

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from benchmarks.vehicle.content import render_content
from benchmarks.vehicle.faults import all_cases, run_case, start_all, start_cases
from benchmarks.vehicle.processes import drive

pytestmark = pytest.mark.ros

SECONDS = 0.9
SETTLE = 0.2
GAP_S = 1.5

# Fault -> what the status, or /diagnostics where there can be no mask, says of it.
START_FAULTS = {
    'checkpoint missing': r'cannot read checkpoint .*smallest\.safetensors',
    'TF missing, then appears': 'no transform',
}
ABSENT = 'silent|no frame within|no event'
FAULTS = {
    'camera: killed, restarted': ABSENT,
    'camera: frozen': 'frozen',
    'thermal: black': 'uniform',
    'thermal: stopped, resumed': ABSENT,
    'event: silent': ABSENT,
    'lidar: nan': 'unreadable: PointCloud2 holds no usable point',
    'lidar: truncated': 'unreadable: PointCloud2',
    'bag loop: 5 s back': '',
    'camera_info changes': '',
    'network: raises': 'planted: the network fails',
}


@pytest.fixture(scope='module')
def vehicle(ros_domain, tmp_path_factory):
    """A vehicle whose perception has no checkpoint and no transforms yet."""
    folder = tmp_path_factory.mktemp('faults')
    render_content(folder, frames=6)
    with drive(folder) as made:
        start_all(made, folder)
        yield made


def assert_survived(outcome, pattern: str) -> None:
    """Masks in order, the sensor named, and all sensors back."""
    case = outcome.case
    assert outcome.recovery_s is not None
    if case.in_order:
        assert outcome.disorder == 0
    else:
        assert outcome.disorder <= 1
    if case.gap_s is not None:
        assert outcome.masks > 0
        assert outcome.gap_s < GAP_S
    if pattern:
        assert [words for words in outcome.said if re.search(pattern, words)], outcome.said


def test_a_start_without_checkpoint_and_transforms_is_mended_without_a_restart(vehicle):
    checkpoint, transforms = start_cases(vehicle.folder)
    outcome = run_case(vehicle, checkpoint, 0.3, 0.0)
    assert outcome.masks == 0
    assert_survived(outcome, START_FAULTS[checkpoint.name])
    assert_survived(run_case(vehicle, transforms, SECONDS, SETTLE), START_FAULTS[transforms.name])


@pytest.mark.parametrize('name', FAULTS)
def test_masks_go_on_and_the_status_says_why(vehicle, name):
    case = {each.name: each for each in all_cases()}[name]
    assert_survived(run_case(vehicle, case, SECONDS, SETTLE), FAULTS[name])


def test_a_lost_gpu_ends_the_life_cycle_in_an_error_and_it_comes_back_by_itself(vehicle):
    vehicle.await_masks()
    begun = len(vehicle.heard.problems)

    def told():
        return [text for _, text in vehicle.heard.problems[begun:] if 'the GPU was lost' in text]

    network = vehicle.parts['faulty_network']
    network.tell('lose')
    assert vehicle.until(told, 20.0)
    assert 'configure may bring it back: CUDA error: planted' in told()[0]
    network.tell('clear')
    vehicle.await_masks()
