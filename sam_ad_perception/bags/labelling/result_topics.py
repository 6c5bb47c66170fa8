"""The topics of a labelled recording, and how one result is written to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.images.rendering import colorize, label_sweep
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.lidar.visibility import SweepView, read_pixels
from sam_ad_perception.core.messages.from_ros import (
    array_to_image,
    camera_to_message,
    label_info_to_message,
    status_to_message,
)
from sam_ad_perception.core.messages.labelled_cloud import labelled_cloud, points_image
from sam_ad_perception.core.selections.config import Selection
from sam_ad_perception.core.selections.messages import PARTS, FrameSelector, selection_topic
from sam_ad_perception.core.sensors import Modality, PointCloud, Segmentation, SensorBundle
from sam_ad_perception.core.status import FrameStatus

_IMAGE = 'sensor_msgs/msg/Image'


class ResultWriter:
    """Writes masks and what belongs to them, on the topics that the segmentation node publishes.

    Attributes:
        topics: Topic names and types.
    """

    def __init__(
        self,
        writer: BagWriter,
        space: LabelSpace,
        *,
        rectified: bool,
        color: bool = True,
        points: bool = True,
        selections: Mapping[str, Selection] | None = None,
        view: str = '',
    ) -> None:
        """Announce the topics.

        Args:
            writer: The open recording.
            space: Label space of the masks.
            rectified: Whether the camera's image is rectified; the depth image is named like it.
            color: Whether `semantic/color` is written.
            points: Whether `semantic/points` is written, and `mask` and `confidence` below it.
            selections: Of each, `semantic/<name>/mask`, `camera_info`, `depth` and `points` are
                written.
            view: In front of the topic names, as the node has it with several views; '' for a
                single camera.
        """
        self._writer = writer
        self._space = space
        self._color = color
        self._points = points
        self._selections = selections or {}
        self._namespace = f'/{view}' if view else ''
        self._depth = f'/depth_registered/{"image_rect" if rectified else "image_raw"}'
        topics = {
            '/semantic/image': _IMAGE,
            '/semantic/confidence': _IMAGE,
            '/semantic/status': 'diagnostic_msgs/msg/DiagnosticArray',
            '/semantic/label_info': 'vision_msgs/msg/LabelInfo',
            self._depth: _IMAGE,
            '/depth_registered/camera_info': 'sensor_msgs/msg/CameraInfo',
        }
        if color:
            topics['/semantic/color'] = _IMAGE
        if points:
            topics |= {
                '/semantic/points': 'sensor_msgs/msg/PointCloud2',
                '/semantic/points/mask': _IMAGE,
                '/semantic/points/confidence': _IMAGE,
            }
        for name in self._selections:
            topics |= {f'/{selection_topic(name, p)}': kind for p, kind in PARTS.items()}
        self.topics = {f'{self._namespace}{name}': kind for name, kind in topics.items()}
        for name, kind in self.topics.items():
            writer.add_topic(name, kind, latched=name.endswith('/semantic/label_info'))

    def write_label_info(self, now_ns: int) -> None:
        """Write what the ids mean, latched.

        Args:
            now_ns: Time under which it is recorded, and its stamp, nanoseconds.
        """
        info = label_info_to_message(self._writer.types, self._space, now_ns, '')
        self._put('/semantic/label_info', info, now_ns)

    def write_status(self, status: FrameStatus, now_ns: int) -> None:
        """Write the outcome of one reference frame.

        Args:
            status: The outcome.
            now_ns: Time under which it is recorded, nanoseconds.
        """
        message = status_to_message(self._writer.types, status)
        self._put('/semantic/status', message, now_ns)

    def write_result(
        self, bundle: SensorBundle, result: Segmentation, now_ns: int, offset_ns: int = 0
    ) -> None:
        """Write a mask, its confidence, the depth image, the labelled sweep and the selections.

        Args:
            bundle: What was segmented.
            result: The result.
            now_ns: Time under which it is recorded, nanoseconds.
            offset_ns: Clock offset that was subtracted from the sweep's header stamp, nanoseconds.
        """
        types, stamp_ns, view = self._writer.types, result.stamp_ns, result.camera
        if Modality.VIEW in bundle.frames:  # where the two differ, the image's own name holds
            view = replace(view, frame_id=bundle.frames[Modality.VIEW].frame_id)
        images: dict[str, tuple[NDArray[Any], str]] = {
            '/semantic/image': (result.mask, 'mono8'),
            '/semantic/confidence': (result.confidence, 'mono8'),
        }
        if self._color:
            images['/semantic/color'] = (colorize(result.mask, self._space), 'rgb8')
        if result.depth is not None:
            images[self._depth] = (result.depth, '32FC1')
            info = camera_to_message(types, view, stamp_ns)
            self._put('/depth_registered/camera_info', info, now_ns)
        for name, (pixels, encoding) in images.items():
            message = array_to_image(types, pixels, encoding, stamp_ns, view.frame_id)
            self._put(name, message, now_ns)
        sweep = bundle.frames.get(Modality.RANGING)
        sweep_ns = sweep.stamp_ns + offset_ns if sweep is not None else 0
        seen = SweepView(bundle, result)
        labels = label_sweep(bundle, result, seen) if self._points else None
        if sweep is not None and labels is not None:
            assert isinstance(sweep.data, PointCloud)
            cloud = labelled_cloud(
                types, sweep.data, labels, self._space, sweep_ns, sweep.frame_id
            )
            for name, image, unseen in (
                ('mask', result.mask, UNLABELED),
                ('confidence', result.confidence, 0),
            ):
                values = read_pixels(image, seen.pixels, unseen)
                message = points_image(types, sweep.data, values, unseen, sweep_ns, sweep.frame_id)
                self._put(f'/semantic/points/{name}', message, now_ns)
            self._put('/semantic/points', cloud, now_ns)
        frame = FrameSelector(
            types, result, seen, view=view, stamp_ns=stamp_ns, cloud_stamp_ns=sweep_ns
        )
        for name, selection in self._selections.items():
            for part, message in frame.messages(selection, PARTS):
                self._put(f'/{selection_topic(name, part)}', message, now_ns)

    def _put(self, topic: str, message: Any, now_ns: int) -> None:
        self._writer.write(f'{self._namespace}{topic}', message, now_ns)
