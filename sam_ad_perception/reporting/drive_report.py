"""Puts a run into pictures: a tile per sensor beside the mask, a video, and chosen moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.rendering import (
    colorize,
    overlay,
    picture_depth,
    picture_events,
    picture_thermal,
)
from sam_ad_perception.core.sensors import Events, Modality, SensorBundle
from sam_ad_perception.core.status import FrameStatus, total_latency_ms
from sam_ad_perception.reporting.drive_log import DriveLog, FrameLog
from sam_ad_perception.reporting.page import LatencyRow, Moment, QualityRow
from sam_ad_perception.reporting.pictures import Tile, Video, compose_tiles, encode_jpeg

OVERLAY_ALPHA = 0.55
MOMENTS_AT_MOST = 8
Image = NDArray[np.uint8]


def draw_frame(
    bundle: SensorBundle,
    frame: FrameLog,
    log: DriveLog,
    truth: Mapping[int, NDArray[np.uint8]],
    space: LabelSpace,
) -> list[Tile]:
    """Draw what each sensor gave to one mask, the mask, and the truth where it is known.

    Args:
        bundle: All that was recorded for the frame, also what was held back from the network.
        frame: What became of it; a sensor that it did not use is drawn as `no signal`.
        log: Holds the masks and depth images.
        truth: Stamp -> true label ids.
        space: Gives the colours.

    Returns:
        Camera, thermal, event and lidar tiles, the mask, and the truth if there is any.
    """
    stamp_ns, used = bundle.stamp_ns, frame.status.used
    tiles = [
        Tile(_caption(m, frame.status), _draw_sensor(bundle, m, log) if m in used else None)
        for m in (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
    ]
    mask = log.masks.get(stamp_ns)
    picture = None if mask is None else colorize(mask, space)
    if mask is not None and Modality.CAMERA in used and Modality.CAMERA in bundle.frames:
        camera = cast(Image, bundle.frames[Modality.CAMERA].data)
        picture = overlay(camera, mask, space, OVERLAY_ALPHA)
    quality = '' if frame.miou is None else f', mIoU {100 * frame.miou:.0f} %'
    tiles.append(Tile(f'mask{quality}', picture))
    if stamp_ns in truth:
        tiles.append(Tile('truth', colorize(truth[stamp_ns], space)))
    return tiles


def _caption(modality: Modality, status: FrameStatus) -> str:
    if modality in status.gate:
        return f'{modality}, gate {status.gate[modality]:.2f}'
    return str(modality)


def _draw_sensor(bundle: SensorBundle, modality: Modality, log: DriveLog) -> Image | None:
    if modality is Modality.LIDAR:
        depth = log.depths.get(bundle.stamp_ns)
        return None if depth is None else picture_depth(depth)
    frame = bundle.frames.get(modality)
    if frame is None:
        return None
    if modality is Modality.EVENT:
        return picture_events(cast(Events, frame.data))
    if modality is Modality.THERMAL:
        return picture_thermal(cast(Image, frame.data))
    return cast(Image, frame.data)


def draw_drive(
    bundles: Iterable[SensorBundle],
    log: DriveLog,
    truth: Mapping[int, NDArray[np.uint8]],
    space: LabelSpace,
    video: Video,
    on_frame: Callable[[], None] = lambda: None,
) -> list[Moment]:
    """Write the video, and keep the moments where the set of sensors changes.

    Args:
        bundles: The recording, in order.
        log: The run.
        truth: Stamp -> true label ids.
        space: Gives the colours.
        video: Receives one picture per frame that has a status.
        on_frame: Called after each frame, for progress.

    Returns:
        The first frame, and the middle frame of each stretch with another set of sensors.
    """
    frames = {frame.status.stamp_ns: frame for frame in log.frames}
    chosen = choose_moments([frame.status for frame in log.frames])
    start_ns = log.frames[0].status.stamp_ns
    moments = []
    for bundle in bundles:
        frame = frames.get(bundle.stamp_ns)
        if frame is None:
            continue
        tiles = draw_frame(bundle, frame, log, truth, space)
        video.add(compose_tiles(tiles, 3))
        if bundle.stamp_ns in chosen:
            seconds = (bundle.stamp_ns - start_ns) / 1e9
            pictures = {
                tile.caption: encode_jpeg(tile.picture)
                for tile in tiles
                if tile.picture is not None
            }
            moments.append(Moment(f'{seconds:.1f} s: {frame.status.message}', pictures))
        on_frame()
    return moments


def choose_moments(statuses: Sequence[FrameStatus]) -> set[int]:
    """Choose stamps worth showing: the middle of each stretch with one set of sensors.

    Args:
        statuses: Ordered by stamp.

    Returns:
        At most `MOMENTS_AT_MOST` stamps, longest stretches first; a set of sensors that was
        shown already is not shown again.
    """
    stretches: list[list[FrameStatus]] = []
    for status in statuses:
        if not stretches or stretches[-1][-1].used != status.used:
            stretches.append([])
        stretches[-1].append(status)
    chosen: dict[tuple[str, ...], int] = {}
    for stretch in sorted(stretches, key=len, reverse=True):
        middle = stretch[len(stretch) // 2]
        if len(chosen) < MOMENTS_AT_MOST:
            chosen.setdefault(middle.used, middle.stamp_ns)
    return set(chosen.values())


def rate_quality(
    name: str, confusion: ConfusionMatrix, space: LabelSpace, frames: int, expected: int
) -> QualityRow:
    """Summarize a confusion matrix as a row of the report's table."""
    values = confusion.iou()
    iou = {c.name: None if np.isnan(values[c.id]) else float(values[c.id]) for c in space.classes}
    return QualityRow(name, confusion.miou(), iou, frames, expected)


def rate_latency(statuses: Sequence[FrameStatus]) -> list[LatencyRow]:
    """Percentiles of every stage that the statuses report, and of the whole.

    Args:
        statuses: Those of dropped frames, which have no latency, are left out.

    Returns:
        One row per stage in the order of the first status, then `total`.
    """
    timed = [status.latency_ms for status in statuses if status.latency_ms]
    stages = list(dict.fromkeys(stage for latency in timed for stage in latency))
    columns = {stage: [latency.get(stage, 0.0) for latency in timed] for stage in stages}
    if timed:
        columns.pop('total', None)  # it comes last
        columns['total'] = [total_latency_ms(latency) for latency in timed]
    return [
        LatencyRow(stage, *(float(p) for p in np.percentile(values, (50, 95, 99))))
        for stage, values in columns.items()
    ]


def make_legend(space: LabelSpace, confusion: ConfusionMatrix) -> dict[str, str]:
    """Class name -> `#rrggbb`, for the classes that occur."""
    present = np.isfinite(confusion.iou())
    return {c.name: '#{:02x}{:02x}{:02x}'.format(*c.color) for c in space.classes if present[c.id]}


def write_page(path: Path, html: str) -> None:
    """Write the page whole or not at all."""
    scratch = path.with_suffix('.part')
    scratch.write_text(html, encoding='utf-8')
    scratch.replace(path)
