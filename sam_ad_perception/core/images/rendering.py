"""Pictures for people: coloured masks, overlays, and what depth, heat and events look like."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig, cull_occluded
from sam_ad_perception.core.lidar.visibility import SweepView, read_pixels
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Segmentation,
    SensorBundle,
)

EVENT_ON, EVENT_OFF = (40, 110, 240), (240, 60, 40)
"""Blue for brighter and red for darker, as the renderers of the event cameras' drivers have it."""


def colorize(mask: NDArray[np.uint8], space: LabelSpace) -> NDArray[np.uint8]:
    """Give each label its colour.

    Args:
        mask: (H, W) uint8 ids.
        space: Gives the palette; ids without a class are black.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return space.palette[mask]


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], space: LabelSpace, alpha: float
) -> NDArray[np.uint8]:
    """Blend the coloured mask over the image; unlabeled pixels show the image alone.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 ids, of the same size.
        space: Gives the palette.
        alpha: Weight of the colour, from 0 (image only) to 1 (colour only).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: The sizes differ, or `alpha` is outside [0, 1].
    """
    if image.shape != (*mask.shape, 3):
        raise ValueError(f'image must be {(*mask.shape, 3)} like its mask, got {image.shape}')
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f'alpha must be in [0, 1], got {alpha}')
    blended = cv2.addWeighted(image, 1.0 - alpha, colorize(mask, space), alpha, 0.0)
    unlabeled = mask == UNLABELED
    blended[unlabeled] = image[unlabeled]
    return blended.astype(np.uint8, copy=False)


def paint_points(
    points: NDArray[np.float32],
    camera: CameraModel,
    mask: NDArray[np.uint8],
    depth: NDArray[np.float32] | None = None,
    *,
    occlusion: OcclusionConfig | None = None,
    tolerance_m: float = 0.3,
    relative_tolerance: float = 0.02,
) -> NDArray[np.uint8]:
    """Read each point's label from the mask, but never through something nearer.

    Args:
        points: (N, 3) float32, metres, camera frame.
        camera: View of the mask.
        mask: (H, W) uint8 ids.
        depth: (H, W) float32, metres, NaN where unknown; a point that lies further behind it
            than the tolerance is hidden from the camera and stays unlabeled. None: no check.
        occlusion: Points that the camera cannot see stay unlabeled, see `core.lidar.occlusion`;
            None,
            or one that is not enabled: no check.
        tolerance_m: Constant part of the tolerance, metres.
        relative_tolerance: Part of the tolerance that grows with depth.

    Returns:
        (N,) uint8 ids; 255 for points outside the view, behind the camera or hidden.

    Raises:
        ValueError: Mask or depth do not have the camera's size.
    """
    for name, image in (('mask', mask), ('depth', depth)):
        if image is not None and image.shape != camera.size:
            raise ValueError(f'{name} must be {camera.size} like its camera, got {image.shape}')
    labels = np.full(len(points), UNLABELED, np.uint8)
    uv, z = project_points(camera, points)
    with np.errstate(invalid='ignore'):
        inside = (z > 0) & np.all(
            (uv >= -0.5) & (uv < [camera.width - 0.5, camera.height - 0.5]), 1
        )
    if occlusion is not None and occlusion.enabled:
        inside &= ~cull_occluded(uv, z, camera, occlusion)
    seen = np.flatnonzero(inside)
    u, v = np.floor(uv[seen] + 0.5).astype(np.intp).T
    if depth is not None:
        nearest = depth[v, u]
        hidden = z[seen] > nearest * (1.0 + relative_tolerance) + tolerance_m
        seen, u, v = seen[~hidden], u[~hidden], v[~hidden]
    labels[seen] = mask[v, u]
    return labels


def label_sweep(
    bundle: SensorBundle, segmentation: Segmentation, view: SweepView | None = None
) -> NDArray[np.uint8] | None:
    """Read a label for each lidar point of a bundle from its mask.

    Args:
        bundle: What was segmented.
        segmentation: The result; its depth image, where it has one, hides what is behind.
        view: Of the same two, where it is there already.

    Returns:
        (N,) uint8 ids in the order of the bundle's points, 255 for points that the camera does
        not see; None without lidar.
    """
    view = view or SweepView(bundle, segmentation)
    if view.frame is None:
        return None
    return read_pixels(segmentation.mask, view.pixels, UNLABELED)


def picture_depth(depth: NDArray[np.float32], far_m: float = 60.0) -> NDArray[np.uint8]:
    """Colour a depth image by distance: near is warm, far is blue, no return is black.

    Args:
        depth: (H, W) float32, metres, NaN where no return.
        far_m: Distance at the cold end of the colour map, metres.

    Returns:
        (H, W, 3) uint8 RGB. Single returns are enlarged to 3x3 pixels, nearest in front.
    """
    # Dilating the nearness keeps the nearest return where enlarged pixels meet.
    nearness = np.nan_to_num(1.0 - np.clip(depth / far_m, 0.0, 0.99), nan=0.0)
    level = cv2.dilate((nearness * 255).astype(np.uint8), np.ones((3, 3), np.uint8))
    picture = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    picture[level == 0] = 0
    return picture.astype(np.uint8, copy=False)


def picture_color(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Show a colour image as it is.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The same.
    """
    return image


def picture_thermal(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Show a thermal image between its own 1st and 99th percentile: for people, not for networks.

    Args:
        image: (H, W) uint8 or uint16.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    low, high = np.percentile(image, (1, 99))
    span = max(float(high - low), 1.0)
    level = np.clip((image.astype(np.float32) - low) * (255.0 / span), 0, 255).astype(np.uint8)
    inferno = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
    return cv2.cvtColor(inferno, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def picture_events(events: Events) -> NDArray[np.uint8]:
    """Draw events on white, ON blue and OFF red; the later one wins a pixel.

    Args:
        events: Ordered by time.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.full((*events.size, 3), 255, np.uint8)
    colors = np.where(events.polarity[:, None], EVENT_ON, EVENT_OFF).astype(np.uint8)
    picture[events.y, events.x] = colors
    return picture
