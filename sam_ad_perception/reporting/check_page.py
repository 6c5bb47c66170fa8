"""The page of `sam_ad check`: what a recording holds, with a picture for each of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.checking.sensor_check import project_sweep
from sam_ad_perception.core.images.rendering import picture_events, picture_thermal
from sam_ad_perception.core.sensors import (
    Events,
    LazyImage,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.reporting.drawing.pictures import encode_jpeg
from sam_ad_perception.reporting.page import template_environment

_WIDEST = 1100
_NEAR_M, _FAR_M = 2.0, 60.0
_SMALL = 320  # pixels: smaller images are enlarged, or no point could be told from another


@dataclass(frozen=True)
class CheckPage:
    """What the page shows.

    Attributes:
        title: Heading.
        subtitle: Below it.
        findings: State (`ok`, `warn`, `FAIL`), what was looked at, text.
        sensors: Sensor -> name of a fact -> the fact.
        pictures: Caption -> JPEG bytes.
        parameters: The parameter file.
        command: Command lines that use it.
    """

    title: str
    subtitle: str
    findings: Sequence[tuple[str, str, str]]
    sensors: Mapping[str, Mapping[str, str]]
    pictures: Mapping[str, bytes]
    parameters: str
    command: str


def render_check_page(page: CheckPage) -> str:
    """Render the page as one HTML file that loads nothing from elsewhere.

    Args:
        page: Its contents.

    Returns:
        HTML.
    """
    return template_environment().get_template('check_page.html.j2').render(page=page)


def picture_bundle(
    bundle: SensorBundle, view: str = '', *, camera_alone: bool = False
) -> dict[str, bytes]:
    """Draw each image of a bundle, with the sweep over it.

    Args:
        bundle: From a recording.
        view: Name of its view, for the caption.
        camera_alone: Whether the images of the sensors that views share are left out.

    Returns:
        Caption -> JPEG bytes, one for each image that is there.
    """
    pictures = {}
    lidar = next(
        (f for m, f in bundle.frames.items() if isinstance(f.data, PointCloud) and m in
         bundle.T_camera),
        None,
    )  # fmt: skip
    for modality in sorted(bundle.frames, key=list(Modality).index):
        if camera_alone and modality is not Modality.CAMERA:
            continue
        frame = bundle.frames[modality]
        picture = _picture(frame)
        if picture is None:
            continue
        caption = f'{modality} {view}'.rstrip() if modality is Modality.CAMERA else str(modality)
        if lidar is not None:
            picture, told = _draw_sweep(picture, modality, frame, lidar, bundle)
            caption += f', {told}'
        pictures[caption] = encode_jpeg(picture, widest=_WIDEST)
    return pictures


def _picture(frame: SensorFrame) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB of an image; None of what is none."""
    data = frame.data.get() if isinstance(frame.data, LazyImage) else frame.data
    if isinstance(data, Events):
        return picture_events(data)
    if not isinstance(data, np.ndarray):
        return None
    if data.ndim == 3:
        return data.astype(np.uint8, copy=False)
    return picture_thermal(np.nan_to_num(data))


def _draw_sweep(
    picture: NDArray[np.uint8],
    modality: Modality,
    frame: SensorFrame,
    lidar: SensorFrame,
    bundle: SensorBundle,
) -> tuple[NDArray[np.uint8], str]:
    """Draw the sweep over an image: near is red, far is blue. Returns it and what was drawn."""
    is_view = modality is Modality.CAMERA
    camera = bundle.camera if is_view else frame.camera
    T = np.eye(4) if is_view else bundle.T_camera.get(modality)
    if camera is None or camera.unknown_lens or T is None:
        return picture, 'without the sweep: its lens or its place is not known'
    uv, depth, inside = project_sweep(
        lidar, bundle, camera, np.linalg.inv(np.asarray(T, np.float64))
    )
    scale = max(1, -(-_SMALL // picture.shape[1]))
    drawn = np.ascontiguousarray(np.repeat(np.repeat(picture, scale, 0), scale, 1))
    uv, depth = uv[inside], depth[inside]
    near = np.log(np.clip(depth, _NEAR_M, _FAR_M) / _NEAR_M) / np.log(_FAR_M / _NEAR_M)
    level = np.round(255 * (1 - near)).astype(np.uint8)
    colors = cv2.applyColorMap(level[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    size = max(1, round(drawn.shape[1] / 700))
    for k in np.argsort(-depth):
        u, v = (round(float(each) * scale) for each in uv[k])
        cv2.circle(drawn, (u, v), size, tuple(int(c) for c in colors[k]), -1)
    return drawn, f'{len(uv)} of {len(inside)} points in it'
