from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from test.pictures import camera_picture

TINY_ZOO = Path(__file__).parents[1] / 'tiny_zoo.yaml'


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def zoo_path(tmp_path: Path) -> Path:
    path = tmp_path / 'zoo.yaml'
    path.write_text(TINY_ZOO.read_text())
    return path


@pytest.fixture
def spec(zoo_path: Path) -> ModelSpec:
    return load_zoo(zoo_path)['tiny']


@pytest.fixture
def network(spec: ModelSpec) -> torch.nn.Module:
    torch.manual_seed(0)
    net = build_model(spec)
    # adapters start at zero; random ones make every path count
    for name, parameter in net.named_parameters():
        if '.b_q.' in name or '.b_v.' in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


@pytest.fixture
def inputs(spec: ModelSpec) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(2, count, *spec.input_size, generator=generator)
        for name, count in spec.channels.items()
    }


def make_camera(width: int, height: int) -> CameraModel:
    focal = 0.8 * width
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id='camera_optical')


@pytest.fixture
def bundle() -> SensorBundle:
    rng = np.random.default_rng(0)
    view = make_camera(160, 100)
    thermal, event = make_camera(80, 64), make_camera(120, 80)
    count = 500
    points = rng.uniform((-8, -2, 3), (8, 2, 40), (4000, 3)).astype(np.float32)
    cloud = PointCloud(points, rng.uniform(0, 200, 4000).astype(np.float32))
    events = Events(
        rng.integers(0, 120, count).astype(np.uint16),
        rng.integers(0, 80, count).astype(np.uint16),
        rng.random(count) < 0.5,
        np.sort(rng.integers(970_000_001, 1_000_000_000, count)),
        (80, 120),
    )
    stamp = 1_000_000_000
    frames = {
        Modality.CAMERA: SensorFrame(
            Modality.CAMERA,
            stamp,
            'camera_optical',
            camera_picture(rng, (100, 160)),
            view,
        ),
        Modality.THERMAL: SensorFrame(
            Modality.THERMAL,
            stamp + 3_000_000,
            'thermal_optical',
            rng.integers(28000, 31000, (64, 80)).astype(np.uint16),
            thermal,
        ),
        Modality.EVENT: SensorFrame(Modality.EVENT, stamp, 'event_optical', events, event),
        Modality.LIDAR: SensorFrame(Modality.LIDAR, stamp - 20_000_000, 'lidar', cloud),
    }
    T = np.eye(4)
    T[:3, 3] = (0.1, 0, 0)
    T_camera = {m: T for m in frames if m is not Modality.CAMERA}
    return SensorBundle(stamp, Modality.CAMERA, view, frames, T_camera=T_camera)
