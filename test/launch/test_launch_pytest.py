"""The front door: launch files started by launch itself, with the sensors of a small vehicle.

Needs launch, launch_ros and launch_pytest, and the package installed with its data files; the
nodes run the same scenarios without launch in `test/nodes`.
"""

import os

import pytest

pytest.importorskip('launch_pytest', reason='launch_pytest is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')
if pytest.version_tuple >= (8, 4):
    pytest.skip('launch_pytest of Jazzy needs a pytest before 8.4', allow_module_level=True)

import launch_pytest
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource

from benchmarks.vehicle.content import SENSORS, render_content
from benchmarks.vehicle.processes import drive, write_smallest_network
from launch import LaunchDescription
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages.serialized_stamp import read_stamp

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LOAD_S = 90.0
VIEWS = ('front', 'front_left', 'front_right', 'back', 'back_left', 'back_right')


@pytest.fixture(scope='module')
def share():
    try:
        return get_package_share_directory('sam_ad_perception')
    except PackageNotFoundError:
        pytest.skip('sam_ad_perception is not installed with its data files')


@pytest.fixture(scope='module')
def folder(share, tmp_path_factory):
    """Content of the sensors and a network of 0.2 M parameters, in a ROS domain of its own."""
    made = tmp_path_factory.mktemp('launch')
    render_content(made, frames=4)
    write_smallest_network(made / 'network')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(os.getpid() % 100 + 1))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield made


@pytest.fixture
def network(folder):
    """Launch arguments that make the segmentation node run that network."""
    own = folder / 'network'
    return {
        'sam_ad_model': 'smallest',
        'sam_ad_zoo': str(own / 'zoo.yaml'),
        'sam_ad_checkpoint_dir': str(own),
    }


@pytest.fixture
def exit_codes():
    """Exit code of each process that launch started, by its name without number."""
    return {}


def described(share, name, arguments, exit_codes):
    """A launch file, and somebody who notes how its processes end."""

    def note(event, context):
        exit_codes[event.process_name.rpartition('-')[0]] = event.returncode

    source = PythonLaunchDescriptionSource(f'{share}/launch/{name}.launch.py')
    return LaunchDescription(
        [
            RegisterEventHandler(OnProcessExit(on_exit=note)),
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@launch_pytest.fixture
def perception(share, network, folder, exit_codes):
    arguments = {'sam_ad_use_lidar': 'false', 'sam_ad_record': str(folder / 'recorded')}
    return described(share, 'perception', network | arguments, exit_codes)


@pytest.mark.launch(fixture=perception)
def test_perception_makes_masks_records_them_and_leaves(perception, folder, exit_codes):
    with drive(folder) as vehicle:
        for sensor in ('placement', *SENSORS):
            vehicle.start(sensor)
        vehicle.await_masks(LOAD_S, ('camera', 'thermal', 'event'))
        assert vehicle.until(lambda: len(vehicle.heard.masks) > 5, 20.0)
        assert all('lidar' not in status.used for _, status in vehicle.heard.statuses)
        heard = {stamp for _, stamp, _ in vehicle.heard.masks}
    yield
    names = {'segmentation_node', 'visualization_node', 'recorder_node'}
    assert exit_codes == dict.fromkeys(names, 0)
    with BagReader(folder / 'recorded') as reader:
        recorded = [read_stamp(m.data) for m in reader.messages() if m.topic == '/semantic/image']
    assert len(heard & set(recorded)) > 3


@launch_pytest.fixture
def synchronizer(share, exit_codes):
    switches = {
        'sam_ad_segmentation': 'false',
        'sam_ad_visualization': 'false',
        'sam_ad_synchronizer': 'true',
    }
    return described(share, 'perception', switches, exit_codes)


@pytest.mark.launch(fixture=synchronizer)
def test_the_synchronizer_alone_gives_out_equal_stamps(synchronizer, folder, exit_codes):
    with drive(folder) as vehicle:
        heard = {name: vehicle.listen(f'synchronized/{name}/image_rect') for name in SENSORS[:2]}
        for sensor in ('placement', *SENSORS):
            vehicle.start(sensor)
        assert vehicle.until(lambda: len(set.intersection(*heard.values())) > 3, LOAD_S)
    yield
    assert exit_codes == {'synchronizer_node': 0}


@pytest.fixture
def bag(folder):
    """A simulated drive of one second, and how many camera images it holds."""
    from sam_ad_perception.bags.writer import BagWriter
    from sam_ad_perception.simulation.drives.configuration import DriveConfig
    from sam_ad_perception.simulation.drives.drive import Drive
    from sam_ad_perception.simulation.drives.recording import record

    made = Drive(DriveConfig(seed=1, duration_s=1.0, size=(96, 160)))
    with BagWriter(folder / 'bag') as writer:
        record(made, writer)
    return folder / 'bag', len(made.frame_stamps('camera'))


@launch_pytest.fixture
def replay(share, network, bag, exit_codes):
    return described(share, 'replay', {**network, 'sam_ad_bag': str(bag[0])}, exit_codes)


@pytest.mark.launch(fixture=replay)
def test_a_replay_makes_a_mask_of_each_image_and_ends_by_itself(replay, folder, bag, exit_codes):
    with drive(folder) as vehicle:
        assert vehicle.until(lambda: 'replay_node' in exit_codes, LOAD_S)
        assert vehicle.until(lambda: len(exit_codes) == 3, 20.0)
        stamps = [stamp for _, stamp, _ in vehicle.heard.masks]
    assert len(stamps) == bag[1]
    assert stamps == sorted(set(stamps))
    yield
    assert exit_codes == dict.fromkeys(
        ('replay_node', 'segmentation_node', 'visualization_node'), 0
    )


@pytest.fixture
def surround(folder):
    """Six cameras around a vehicle, simulated for 2 s; the bag and the images of each camera."""
    from sam_ad_perception.bags.writer import BagWriter
    from sam_ad_perception.simulation.drives.configuration import DriveConfig
    from sam_ad_perception.simulation.drives.drive import Drive
    from sam_ad_perception.simulation.drives.recording import record
    from sam_ad_perception.simulation.sensors.rig import RigSensor

    directions = dict(zip(VIEWS, (0.0, 55.0, -55.0, 180.0, 110.0, -110.0), strict=True))
    rig = [
        RigSensor(view, size=(48, 80), rate_hz=5.0, rotation=(0.0, 0.0, yaw))
        for view, yaw in directions.items()
    ]
    made = Drive(DriveConfig(seed=1, duration_s=2.0, rig=(*rig, RigSensor('lidar', 'lidar'))))
    with BagWriter(folder / 'surround') as writer:
        counts = record(made, writer, workers=1)
    return folder / 'surround', {view: counts[f'/{view}/image_rect'] for view in VIEWS}


@launch_pytest.fixture
def six_cameras(share, network, exit_codes):
    topics = {
        'sam_ad_views': ','.join(VIEWS),
        'sam_ad_camera_image': '{view}/image_rect',
        'sam_ad_camera_info': '{view}/camera_info',
        'sam_ad_visualization': 'false',
        'use_sim_time': 'true',
    }
    return described(share, 'perception', {**network, **topics}, exit_codes)


@pytest.mark.launch(fixture=six_cameras)
def test_six_cameras_of_one_process_have_masks_each(six_cameras, folder, surround, exit_codes):
    bag, images = surround
    with drive(folder) as vehicle:
        masks = {view: vehicle.listen(f'{view}/semantic/image') for view in VIEWS}
        # Every camera keeps its recorded name: none of them is the camera of a single view.
        vehicle.start(
            'replay_node', str(bag), '--topic', 'camera:=', '--topic', 'camera_info:=',
            '--rate', '0.5', '--loop',
        )  # fmt: skip
        assert vehicle.until(lambda: all(len(stamps) > 4 for stamps in masks.values()), LOAD_S)
    assert all(len(masks[view]) <= images[view] for view in VIEWS)
    yield
    assert exit_codes == {'segmentation_node': 0}
