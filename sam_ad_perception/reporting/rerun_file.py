"""A labelled drive as a rerun recording: picture, mask, depth, labelled points, status.

`rerun-sdk` is optional, the extra `rerun`.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_ad_perception.core.console.install_advice import install_advice
from sam_ad_perception.core.geometry.cameras import rectified_model
from sam_ad_perception.core.images.rendering import label_sweep
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.lidar.visibility import SweepView
from sam_ad_perception.core.sensors import LazyImage, Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import OK, summarize_segmentation

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = install_advice('rerun')
TIMELINE = 'stamp'
JPEG_QUALITY = 85


def require_rerun() -> None:
    """Refuse, before work begins, what cannot be written.

    Raises:
        ValueError: rerun-sdk is not installed.
    """
    if importlib.util.find_spec('rerun') is None:
        raise ValueError(f'rerun-sdk is not installed: {INSTALL}')


class RerunFile:
    """Writes one file; it appears whole, or, where the block ends with an error, not at all.

    Below the frame of each camera (its optical axes, metres): `points` by class, and `view` with
    the lens, `image`, `mask` and `depth`. `status` tells what was used of each frame.

    Args:
        path: The file, `.rrd`.
        space: Names and colours of the ids.

    Raises:
        ValueError: rerun-sdk is not installed.
    """

    def __init__(self, path: Path, space: LabelSpace) -> None:
        require_rerun()
        import rerun

        self._rerun: Any = rerun
        self._path, self._part = path, path.with_name(f'{path.name}.part')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._recording = rerun.RecordingStream('sam_ad_perception')
        self._recording.save(self._part)
        classes = [(each.id, each.name, each.color) for each in space.classes]
        context = rerun.AnnotationContext([*classes, (UNLABELED, 'unlabeled', (0, 0, 0))])
        self._recording.log('/', context, static=True)

    def __enter__(self) -> RerunFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recording.flush()
        self._recording.disconnect()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def add(self, bundle: SensorBundle, result: Segmentation) -> None:
        """Write one frame.

        Args:
            bundle: What was segmented.
            result: The result.
        """
        stamp = np.datetime64(result.stamp_ns, 'ns')
        self._recording.set_time(TIMELINE, timestamp=stamp)
        for name, content in self._frame(bundle, result):
            self._recording.log(name, content)
        status = summarize_segmentation(result)
        level = 'INFO' if status.level == OK else 'WARN'
        self._recording.log('status', self._rerun.TextLog(status.message, level=level))

    def _frame(self, bundle: SensorBundle, result: Segmentation) -> Iterator[tuple[str, Any]]:
        """Name and content of each entity."""
        rerun, camera = self._rerun, result.camera
        root = re.sub(r'[^\w-]', '_', camera.frame_id) or 'camera'
        yield root, rerun.ViewCoordinates.RDF
        if not camera.unknown_lens:
            lens = rectified_model(camera) if camera.is_distorted else camera
            resolution = [lens.width, lens.height]
            yield f'{root}/view', rerun.Pinhole(image_from_camera=lens.K, resolution=resolution)
        shot = bundle.frames.get(Modality.VIEW)
        if shot is not None:
            data = shot.data.get() if isinstance(shot.data, LazyImage) else shot.data
            if isinstance(data, np.ndarray) and data.ndim == 3 and data.dtype == np.uint8:
                picture = rerun.Image(data).compress(jpeg_quality=JPEG_QUALITY)
                yield f'{root}/view/image', picture
        yield f'{root}/view/mask', rerun.SegmentationImage(result.mask)
        if result.depth is not None:
            depth = np.nan_to_num(result.depth, nan=0.0)
            yield f'{root}/view/depth', rerun.DepthImage(depth, meter=1.0)
        view = SweepView(bundle, result)
        labels = label_sweep(bundle, result, view)
        if view.frame is not None and labels is not None:
            points = deskew_points(view.frame, bundle.T_camera[Modality.RANGING])
            yield f'{root}/points', rerun.Points3D(points, class_ids=labels.astype(np.uint16))
