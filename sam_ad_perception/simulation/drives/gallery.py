"""One picture of what the simulator can do: a street in every condition, and with every fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, PointCloud, SensorBundle, SensorData
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.faults.effects import KINDS, TRANSPORT, corrupt
from sam_ad_perception.simulation.weather.conditions import CONDITIONS

Picture = NDArray[np.uint8]
TILE = (200, 320)
"""Rows and columns of one picture."""
_REACH = 40.0
_COLUMNS = 4
SUFFIXES = ('.png', '.jpg')
_JPEG_QUALITY = 35
_FAULT_SPAN_NS = 30_000_000


def write_gallery(path: Path, config: DriveConfig) -> None:
    """Writes `make_gallery`.

    Args:
        path: The file, one of `SUFFIXES`.
        config: See `make_gallery`.

    Raises:
        ValueError: The file has another suffix.
        OSError: It cannot be written.
    """
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(path.suffix, make_gallery(config)[..., ::-1], options)
    path.write_bytes(data.tobytes())


def check_suffix(path: Path) -> None:
    """Refuse a name that says of no kind of picture.

    Raises:
        ValueError: It does not end in one of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f'gallery must end in {" or ".join(SUFFIXES)}, got {path}')


def make_gallery(config: DriveConfig, elapsed_s: float = 1.6) -> Picture:
    """Draws a street at one time.

    Args:
        config: The drive; its condition and faults are left out.
        elapsed_s: Time since its start, seconds.

    Returns:
        RGB uint8: one row per condition with the four sensors side by side, then each fault of
        the data of each sensor that it can befall.
    """
    names = (*CONDITIONS, 'night+rain')
    plain = replace(config, conditions=(), faults=())
    stamp_ns = config.start_ns + round(elapsed_s * 1e9)
    bundles = {name: Drive(replace(plain, condition=name)).bundle(stamp_ns)[0] for name in names}
    rows = [_row(bundle, name) for name, bundle in bundles.items()]
    tiles = list(_fault_tiles(bundles['day']))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows += [
        np.concatenate(tiles[i : i + _COLUMNS], axis=1) for i in range(0, len(tiles), _COLUMNS)
    ]
    return np.concatenate(rows)


def _row(bundle: SensorBundle, name: str) -> Picture:
    tiles = [draw(frame.data, f'{name}: {m}') for m, frame in bundle.frames.items()]
    return np.concatenate(tiles, axis=1)


def _fault_tiles(bundle: SensorBundle) -> Iterator[Picture]:
    for modality in bundle.frames:
        for kind, facts in KINDS.items():
            if kind in TRANSPORT or modality not in facts.modalities:
                continue
            span = bundle.stamp_ns - _FAULT_SPAN_NS, bundle.stamp_ns
            rng = np.random.default_rng(0)
            clean = bundle.frames[modality].data
            data = corrupt(clean, kind, None, rng, span)
            yield draw(data, f'{modality}: {kind}', like=clean)


def draw(data: SensorData, title: str, like: SensorData | None = None) -> Picture:
    """A picture of what a sensor delivered.

    Args:
        data: Of a `SensorFrame`: RGB picture, thermal counts, events or cloud.
        title: Written over it.
        like: Thermal picture whose temperatures the colours span; `data` by default.

    Returns:
        RGB uint8 of the size `TILE`. Clouds are
        seen from above, coloured by height.
    """
    if isinstance(data, Events):
        image = _draw_events(data)
    elif isinstance(data, PointCloud):
        image = _draw_cloud(data)
    elif isinstance(data, np.ndarray) and data.ndim == 2:
        low, high = np.percentile(np.asarray(data if like is None else like, float), (1.0, 99.7))
        share = np.clip((data.astype(np.float64) - low) / max(high - low, 50.0), 0.0, 1.0)
        flat = np.asarray(255 * share, dtype=np.uint8)
        image = np.asarray(cv2.applyColorMap(flat, cv2.COLORMAP_INFERNO)[..., ::-1])
    else:
        image = np.asarray(data, dtype=np.uint8)
    tile = _fit(image)
    (wide, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.rectangle(tile, (0, 0), (wide + 10, 20) if title else (0, 0), (0, 0, 0), -1)
    cv2.putText(
        tile, title, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA
    )
    return tile


def _fit(image: Picture) -> Picture:
    """The picture in the tile's size, black where its shape differs."""
    scale = min(TILE[0] / image.shape[0], TILE[1] / image.shape[1])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    made = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    tile = np.zeros((*TILE, 3), dtype=np.uint8)
    top, left = (TILE[0] - size[1]) // 2, (TILE[1] - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = made
    return tile


def _draw_events(events: Events) -> Picture:
    image = np.full((*events.size, 3), 128, dtype=np.uint8)
    image[events.y, events.x] = np.where(events.polarity, 255, 0)[:, None].astype(np.uint8)
    return image


def _draw_cloud(cloud: PointCloud) -> Picture:
    height, width = TILE
    points = cloud.points[np.isfinite(cloud.points).all(axis=1)]
    scale = width / (2 * _REACH)
    u = np.floor(width / 2 - points[:, 1] * scale).astype(int)
    v = np.floor(0.75 * height - points[:, 0] * scale).astype(int)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    height_share = np.clip((points[inside, 2] + 2.5) / 5.0, 0.0, 1.0)
    palette = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)
    level = (60 + 195 * height_share).astype(np.uint8)
    image[v[inside], u[inside]] = palette[level, 0, ::-1]
    return image
