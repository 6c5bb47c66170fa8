"""What the sensors of the benchmarks' vehicle show: rendered once, it goes round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.vehicle.noise import leave_room
from sam_ad_perception.core.sensors import CameraModel, Events, Modality

SENSORS = ('camera', 'thermal', 'event', 'lidar')
SENSOR_FRAMES = {
    'camera': 'camera_optical',
    'thermal': 'thermal_optical',
    'event': 'event_optical',
    'lidar': 'lidar',
}


def render_content(
    folder: Path,
    frames: int = 12,
    rate: float = 10.0,
    seed: int = 3,
    *,
    points: int = 0,
    **sizes: tuple[int, int],
) -> None:
    """Render a short drive that goes round.

    Args:
        folder: Where it goes.
        frames: Frames of each sensor.
        rate: Frames per second of the drive.
        seed: Of the street.
        points: Each sweep is made to have so many, by repeating its own; 0 leaves it as it is.
        **sizes: `size`, `thermal_size`, `event_size` of `DriveConfig`.
    """
    from sam_ad_perception.simulation.drives.configuration import DriveConfig
    from sam_ad_perception.simulation.drives.drive import Drive

    folder.mkdir(parents=True, exist_ok=True)
    drive = Drive(DriveConfig(seed=seed, duration_s=frames / rate + 1, **sizes))
    content: dict[str, Any] = {}
    for index in range(frames):
        stamp_ns = drive.config.start_ns + int((0.5 + index / rate) * 1e9)
        bundle, _ = drive.bundle(stamp_ns)
        for image in (Modality.CAMERA, Modality.THERMAL):
            content[f'{image}_{index}'] = leave_room(bundle.frames[image].data)
        events = bundle.frames[Modality.EVENT].data
        assert isinstance(events, Events)
        content |= {
            f'event_{index}_{name}': getattr(events, name) for name in ('x', 'y', 'polarity')
        } | {f'event_{index}_t': events.t_ns - stamp_ns}
        sweep = _structured(bundle.frames[Modality.LIDAR].data)
        content[f'lidar_{index}'] = np.resize(sweep, points) if points else sweep
    for modality, camera in drive.cameras.items():
        content[f'{modality}_K'] = camera.K
        content[f'{modality}_D'] = camera.D
        content[f'{modality}_size'] = np.array(camera.size)
    for modality, T in drive.T_base.items():
        content[f'{modality}_T'] = T
    content['frames'] = np.array(frames)
    np.savez(folder / 'content.npz', **content)


def _structured(cloud: Any) -> NDArray[np.void]:
    """A point cloud as a driver lays it out."""
    names = ('x', 'y', 'z', 'intensity', 'time')
    points = np.zeros(len(cloud.points), [(name, '<f4') for name in names])
    for axis, name in enumerate('xyz'):
        points[name] = cloud.points[:, axis]
    if cloud.intensity is not None:
        points['intensity'] = cloud.intensity
    if cloud.time_offset_ns is not None:
        points['time'] = 1e-9 * cloud.time_offset_ns
    return points


def load_frames(folder: Path, sensor: str) -> list[Any]:
    """Load the content of one sensor.

    Args:
        folder: Where `render_content` put it.
        sensor: Which.

    Returns:
        (H, W, 3) uint8, (H, W) uint16, structured points, or `Events` with times relative to
        the end of their window.
    """
    with np.load(folder / 'content.npz') as content:
        count = int(content['frames'])
        if sensor != 'event':
            return [content[f'{sensor}_{index}'] for index in range(count)]
        size = (int(content['event_size'][0]), int(content['event_size'][1]))
        return [
            Events(
                content[f'event_{index}_x'],
                content[f'event_{index}_y'],
                content[f'event_{index}_polarity'],
                content[f'event_{index}_t'],
                size,
            )
            for index in range(count)
        ]


def load_camera(folder: Path, sensor: str) -> CameraModel:
    """Load the geometry of an image-like sensor."""
    with np.load(folder / 'content.npz') as content:
        height, width = map(int, content[f'{sensor}_size'])
        K, D = content[f'{sensor}_K'], content[f'{sensor}_D']
    return CameraModel(width, height, K, D, frame_id=SENSOR_FRAMES[sensor])


def placement(folder: Path) -> list[tuple[str, str, int, NDArray[np.float64]]]:
    """Load the fixed transforms: parent, child, stamp, (4, 4) `T_parent_child`.

    The vehicle stands still: its content goes round, and where it goes to is told by nobody.
    """
    at_rest = ('odom', 'base_link', 0, np.eye(4))
    with np.load(folder / 'content.npz') as content:
        return [at_rest, *(('base_link', SENSOR_FRAMES[s], 0, content[f'{s}_T']) for s in SENSORS)]
