"""What `sam_ad doctor` looks at on the machine itself: software, memory, GPU, weights."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_ad_perception.commands.doctor.findings import FAIL, NOTE, OK, WARN, Check, Finding
from sam_ad_perception.nodes.ros.configuration import ModelConfig
from sam_ad_perception.nodes.ros.environment import PROFILE_VARIABLES

NEEDED_BUFFER = 4 << 20
"""Bytes of a socket buffer that `config/fastdds.xml` asks for; the kernel grants its maximum."""

NEEDED_SHM = 512 << 20
"""Bytes of /dev/shm: a segment of 128 MB for each of a few processes."""

MIB = 1 << 20

INTERFACES = ('sensor_msgs', 'diagnostic_msgs', 'tf2_msgs', 'vision_msgs', 'event_camera_msgs')

OPTIONAL = {
    'launch_ros': ('ros2 launch and the launch files', 'comes with a ROS 2 installation'),
    'message_filters': (
        'policy approximate of synchronizer_node',
        'apt install ros-{distribution}-message-filters, beside a ROS 2 installation',
    ),
    'event_camera_py': (
        'decoding of libcaer_cmp event packets',
        'apt install ros-{distribution}-event-camera-py, beside a ROS 2 installation',
    ),
    'onnxscript': ('export of networks to ONNX', 'pip install onnx onnxscript'),
}
"""Package -> what is off without it, and where it comes from."""


PROVIDER_SOURCES = {
    'cpu': 'pip install onnxruntime',
    'cuda': 'pip install onnxruntime-gpu, on a machine with an NVIDIA GPU',
    'tensorrt': 'pip install onnxruntime-gpu tensorrt, on a machine with an NVIDIA GPU',
}


def system_checks(zoo: Path | None, checkpoint_dir: Path | None) -> list[Check]:
    """List the checks.

    Args:
        zoo: Zoo file, None for the package's own.
        checkpoint_dir: Folder of checkpoints, None for the one that the nodes would take.

    Returns:
        The checks, in the order in which a user mends things.
    """

    def check_profile() -> Iterator[Finding]:
        return check_dds_profile(os.environ)

    def check_weights() -> Iterator[Finding]:
        return look_at_weights(zoo, checkpoint_dir)

    return [
        check_python,
        check_ros,
        check_profile,
        check_socket_buffers,
        check_shared_memory,
        check_numba,
        check_torch,
        check_onnx_runtime,
        check_openvino,
        check_optional_parts,
        check_cv_bridge,
        check_weights,
    ]


def check_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding(
        'Python',
        OK if good else FAIL,
        f'{version} at {sys.prefix}',
        '' if good else 'use Python 3.11, 3.12 or 3.13',
    )


def check_ros() -> Iterator[Finding]:
    """Look for rclpy, the middleware and the message packages."""
    try:
        import rclpy
        from rclpy.utilities import get_rmw_implementation_identifier

        rmw = get_rmw_implementation_identifier()
    except Exception as err:  # a broken installation raises all sorts of things
        yield Finding(
            'ROS 2',
            FAIL,
            f'rclpy does not load: {err}',
            'for nodes and replay: source a ROS 2 installation, or `make setup` in a checkout; '
            'label, report, check, simulate and demo work without it',
        )
        return
    distribution = os.environ.get('ROS_DISTRO', 'none sourced, wheels')
    yield Finding('ROS 2', OK, f'rclpy at {Path(rclpy.__file__).parent} ({distribution})')
    if 'fastrtps' in rmw:
        yield Finding('middleware', OK, rmw)
    else:
        yield Finding(
            'middleware',
            WARN,
            f'{rmw}: only Fast DDS is tested',
            'RMW_IMPLEMENTATION=rmw_fastrtps_cpp',
        )
    domain = os.environ.get('ROS_DOMAIN_ID') or '0'
    reach = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') or 'SUBNET'
    yield Finding('discovery', OK, f'ROS_DOMAIN_ID {domain}, range {reach}; drivers need the same')
    absent = [name for name in INTERFACES if importlib.util.find_spec(name) is None]
    if absent:
        yield Finding(
            'messages',
            FAIL,
            f'missing: {", ".join(absent)}',
            '`make setup` in a checkout builds them',
        )
    else:
        yield Finding('messages', OK, ', '.join(INTERFACES))


def check_dds_profile(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look whether Fast DDS is given room for images.

    Args:
        environment: As `prepare_environment` left it.
    """
    named = {name: environment[name] for name in PROFILE_VARIABLES if environment.get(name)}
    if not named:
        yield Finding(
            'DDS profile',
            FAIL,
            'none: Fast DDS loses most images of 1080p',
            f'export {PROFILE_VARIABLES[0]}=.../config/fastdds.xml',
        )
        return
    for path in dict.fromkeys(named.values()):
        if not Path(path).is_file():
            yield Finding('DDS profile', FAIL, f'{path} is not there', 'correct the variable')
        elif 'segment_size' not in Path(path).read_text(errors='replace'):
            yield Finding(
                'DDS profile',
                WARN,
                f'{path} sets no segment_size: the default of 512 KB loses images',
                'take over the transports of config/fastdds.xml',
            )
        else:
            yield Finding('DDS profile', OK, path)


def check_socket_buffers(folder: Path = Path('/proc/sys/net/core')) -> Iterator[Finding]:
    """Look whether the kernel grants large socket buffers: for participants on other machines.

    Args:
        folder: Where the kernel shows its limits.
    """
    for name in ('rmem_max', 'wmem_max'):
        try:
            size = int((folder / name).read_text())
        except (OSError, ValueError):
            yield Finding('socket buffers', NOTE, f'{name} cannot be read here')
            continue
        if size >= NEEDED_BUFFER:
            yield Finding('socket buffers', OK, f'{name} {size / MIB:.1f} MiB')
        else:
            yield Finding(
                'socket buffers',
                WARN,
                f'{name} {size / MIB:.1f} MiB: large messages from other machines get lost',
                f'sudo sysctl -w net.core.{name}={NEEDED_BUFFER}',
            )


def check_shared_memory(folder: Path = Path('/dev/shm')) -> Iterator[Finding]:
    """Look whether shared memory has room, and whether dead processes left segments there.

    Args:
        folder: Where it is mounted.
    """
    if not folder.is_dir():
        yield Finding('shared memory', WARN, f'{folder} is not there: images go over UDP')
        return
    free = shutil.disk_usage(folder).free
    segments = [path for path in folder.iterdir() if 'fastrtps' in path.name]
    if free < NEEDED_SHM:
        yield Finding(
            'shared memory',
            WARN,
            f'{free / MIB:.0f} MiB free, {NEEDED_SHM / MIB:.0f} MiB wanted',
            'docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm',
        )
    else:
        yield Finding('shared memory', OK, f'{free / MIB:.0f} MiB free')
    if segments and not _ros_runs():
        size = sum(path.stat().st_size for path in segments if path.exists())
        yield Finding(
            'shared memory',
            WARN,
            f'{len(segments)} segments ({size / MIB:.0f} MiB) of processes that were killed',
            'fastdds shm clean',
        )


def check_numba() -> Iterator[Finding]:
    """Look whether compiled kernels can be kept: else every start compiles for a minute."""
    named = os.environ.get('NUMBA_CACHE_DIR')
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / 'core'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        yield Finding(
            'kernel cache', WARN, f'cannot write {folder}: {err.strerror}', 'set NUMBA_CACHE_DIR'
        )
    else:
        yield Finding('kernel cache', OK, str(folder))


def check_torch() -> Iterator[Finding]:
    """Look at torch and at the GPU."""
    try:
        from sam_ad_perception.modeling.devices import report_devices

        report = report_devices()
    except (ImportError, OSError, RuntimeError) as err:
        yield Finding('torch', FAIL, f'does not load: {err}', 'pip install torch torchvision')
        return
    yield Finding('torch', OK, f'{report.version}, {report.cpu_threads} CPU threads')
    for text in report.gpus:
        yield Finding('GPU', OK, text)
    if not report.gpus:
        built = report.cuda and f'none that torch (CUDA {report.cuda}) can use'
        text = f'{built or "torch is built without CUDA"}: networks run on the CPU'
        fix = 'with an NVIDIA GPU: nvidia-smi shows whether its driver is installed and new enough'
        yield Finding('GPU', NOTE, text, fix)


def check_onnx_runtime() -> Iterator[Finding]:
    """Look where the backend `onnx` could run the networks."""
    try:
        from sam_ad_perception.modeling.runtimes.onnx_providers import report_providers

        reports = report_providers()
    except (ImportError, OSError, RuntimeError):
        return  # torch does not load, which has its own line
    for report in reports:
        name = f'ONNX Runtime {report.name}'
        if report.problem:
            yield Finding(
                name, NOTE, f'does not load: {report.problem}', PROVIDER_SOURCES[report.name]
            )
        else:
            yield Finding(name, OK, f'model.backend onnx, model.providers {report.name}')


def check_openvino() -> Iterator[Finding]:
    """Look whether the backend `openvino` could run the networks, and in bfloat16."""
    try:
        from sam_ad_perception.modeling.runtimes.openvino_runtime import find_problem
    except (ImportError, OSError, RuntimeError):
        return  # torch does not load, which has its own line
    problem = find_problem()
    if problem:
        yield Finding('OpenVINO', NOTE, problem, 'it runs networks on a CPU faster than torch')
        return
    half = 'float32 only' if find_problem(half=True) else 'model.half: true is bfloat16'
    yield Finding('OpenVINO', OK, f'model.backend openvino; {half}')


def check_optional_parts() -> Iterator[Finding]:
    """Look for parts that are used where they are installed."""
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    for name, (use, origin) in OPTIONAL.items():
        source = origin.format(distribution=distribution)
        if importlib.util.find_spec(name) is None:
            yield Finding(name, NOTE, f'not installed: no {use}', source)
        else:
            try:
                importlib.import_module(name)
            except Exception as err:
                yield Finding(name, WARN, f'does not load: {err}', source)
            else:
                yield Finding(name, OK, use)


def check_cv_bridge() -> Iterator[Finding]:
    """Look whether a distribution's cv_bridge, which others may use, fits the NumPy here."""
    if importlib.util.find_spec('cv_bridge') is None:
        return
    # In a process of its own: a module built for another NumPy may end it.
    script = 'from cv_bridge import CvBridge; from cv_bridge.boost import cv_bridge_boost'
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    if done.returncode == 0:
        yield Finding('cv_bridge', OK, 'loads; this package does not need it')
        return
    text = done.stderr.strip()
    foreign = 'NumPy 1.x' in text or '_ARRAY_API' in text or 'multiarray' in text
    why = 'it was built for NumPy 1, and NumPy 2 is installed here' if foreign else ''
    yield Finding(
        'cv_bridge',
        WARN,
        f'does not load: {why or text.splitlines()[-1]}',
        'this package does not need it; for programs that do, use an environment without NumPy 2 '
        'or build cv_bridge from source',
    )


def look_at_weights(zoo: Path | None, checkpoint_dir: Path | None) -> Iterator[Finding]:
    """Look which networks of the zoo can run.

    Args:
        zoo: Zoo file, None for the package's own.
        checkpoint_dir: Folder of checkpoints, None for the one that the nodes would take.

    Yields:
        One finding per network that is here or spoilt, and one for all that are absent alike.
    """
    from sam_ad_perception.modeling.zoo.entries import load_zoo
    from sam_ad_perception.modeling.zoo.model_table import checkpoint_state
    from sam_ad_perception.nodes.segmentation.model_loading import model_files

    path, folder = model_files(
        ModelConfig(zoo=str(zoo or ''), checkpoint_dir=str(checkpoint_dir or ''))
    )
    absent: dict[tuple[str, str], list[str]] = {}
    for key, spec in load_zoo(path).items():
        state = checkpoint_state(spec.checkpoint, folder)
        if state.startswith('here'):
            yield Finding('weights', OK, f'{key}: {spec.checkpoint.file}, {state}')
        elif state == 'wrong file':
            fix = 'remove it and fetch it again'
            wrong = f'{key}: {folder / spec.checkpoint.file}: wrong sha256'
            yield Finding('weights', FAIL, wrong, fix)
        else:
            fix = spec.checkpoint.note or spec.backbone.note
            absent.setdefault((state, fix), []).append(key)
    for (state, fix), keys in absent.items():
        yield Finding('weights', NOTE, f'{", ".join(keys)}: {state}', fix)


def _ros_runs() -> bool:
    """Whether another process seems to use ROS: then the segments are not litter."""
    me = os.getpid()
    for process in Path('/proc').glob('[0-9]*'):
        try:
            if int(process.name) != me and b'fastrtps' in (process / 'maps').read_bytes():
                return True
        except OSError:
            continue
    return False
