"""Masks for people: coloured, laid over the image, and painted on the lidar points.

Nothing is computed, nor even subscribed, for a topic that nobody listens to. `semantic/points`
has stamp and frame of the sweep; a point gets the label of the pixel that it falls on, unless the
sweep itself shows something nearer there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

from sam_ad_perception.core.geometry.calibration import load_calibration
from sam_ad_perception.core.geometry.cameras import place_in_view
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import TransformError
from sam_ad_perception.core.images.rendering import colorize, overlay, paint_points
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.lidar.ego_motion import EgoMotion
from sam_ad_perception.core.messages.from_ros import (
    array_to_image,
    cloud_from_message,
    decode_image,
    frame_of,
    image_to_array,
    read_camera_info,
    stamp_of,
)
from sam_ad_perception.core.messages.labelled_cloud import labelled_cloud
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorFrame
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.nodes.inputs.history import History
from sam_ad_perception.nodes.inputs.images import ImageInput
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import VisualizationConfig
from sam_ad_perception.nodes.ros.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros.node import PerceptionNode
from sam_ad_perception.nodes.ros.parameters import NodeParameters
from sam_ad_perception.nodes.ros.process import run_node
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    LATCHED_QOS,
    OUTPUT_QOS,
    STEADY,
    DiagnosticsPublisher,
    Handler,
    TransformInput,
    guard,
    message_type,
    sensor_qos,
    subscribe,
)

CHANGEABLE = (
    'overlay.alpha',
    'points.tolerance_m',
    'points.relative_tolerance',
    'points.max_age_s',
)
PICTURE, SWEEP = str(Modality.VIEW), str(Modality.RANGING)


class VisualizationNode(PerceptionNode):
    """See the module's text; parameters are those of `VisualizationConfig`."""

    def __init__(self, **options: Any) -> None:
        """Advertise; subscribe when somebody listens.

        Args:
            **options: Of `rclpy.node.Node`.

        Raises:
            ValueError: A parameter is refused, or the calibration file is malformed.
            OSError: The calibration file cannot be read.
        """
        super().__init__('visualization', **options)
        self._settings = NodeParameters(self, VisualizationConfig, CHANGEABLE)
        config = self._settings.config
        self._labels = _label_space(config.label_space)
        tree = TransformTree()
        self._camera: CameraModel | None = None
        self._is_flat = config.camera.starts_rectified
        self._info: Any = None
        if config.calibration:
            calibration = load_calibration(Path(config.calibration))
            calibration.fill(tree)
            self._camera = calibration.cameras.get(Modality.VIEW)
        age_ns, size = to_ns(config.history_s), config.history_mb * 2**19
        self._images: History[Any] = History(age_ns, size)
        self._clouds: History[Any] = History(age_ns, size)
        self._masks: History[Any] = History(age_ns, size)
        names = ('mask', 'mask_info', PICTURE, SWEEP, 'camera_info', 'label_info')
        self._monitors = {name: TopicMonitor(name, float('inf')) for name in names}
        self._diagnostics = DiagnosticsPublisher(self)
        self._transforms = TransformInput(self, tree, (topics.CAMERA_IMAGE, topics.POINTS))
        self._subscribe('label_info', 'vision_msgs/msg/LabelInfo', topics.LABEL_INFO, LATCHED_QOS)
        self._inputs: dict[str, Subscription | ImageInput] = {}
        matched = PublisherEventCallbacks(matched=lambda _: self._match())
        image = message_type('sensor_msgs/msg/Image')
        cloud = message_type('sensor_msgs/msg/PointCloud2')
        self._color = self.create_publisher(
            image, topics.COLOR, OUTPUT_QOS, event_callbacks=matched
        )
        self._overlay = self.create_publisher(
            image, topics.OVERLAY, OUTPUT_QOS, event_callbacks=matched
        )
        self._points = self.create_publisher(
            cloud, topics.LABELLED_POINTS, OUTPUT_QOS, event_callbacks=matched
        )
        self.create_timer(config.diagnostics_period_s, self._diagnose, clock=STEADY)

    # Subscriptions follow the demand

    def _match(self) -> None:
        """Subscribe to what the topics that are listened to are made of, and to nothing else."""
        config = self._settings.config
        overlay_wanted, points_wanted = _listened(self._overlay), _listened(self._points)
        image_qos = sensor_qos(config.qos)
        wanted: dict[str, Any] = {}
        if points_wanted:
            kind = 'sensor_msgs/msg/CameraInfo'
            wanted['camera_info'] = (kind, topics.CAMERA_INFO, image_qos)
            # a driver may publish it once, before this node listens
            wanted['camera_info kept'] = (kind, topics.CAMERA_INFO, LATCHED_QOS)
            if config.camera.rectified == 'auto':
                wanted['mask_info'] = (kind, topics.MASK_INFO, OUTPUT_QOS)
            wanted[SWEEP] = ('sensor_msgs/msg/PointCloud2', topics.POINTS, image_qos)
        if overlay_wanted:
            wanted[PICTURE] = None
        if points_wanted or overlay_wanted or _listened(self._color):
            wanted['mask'] = ('sensor_msgs/msg/Image', topics.MASK, OUTPUT_QOS)
        for name in self._inputs.keys() - wanted.keys():
            unwanted = self._inputs.pop(name)
            if isinstance(unwanted, ImageInput):
                unwanted.destroy()
            else:
                self.destroy_subscription(unwanted)
        for name, description in wanted.items():
            if name in self._inputs:
                continue
            if description is None:
                take = guard(self, self._monitors[name], self._on_image)
                transport = config.camera.transport
                self._inputs[name] = ImageInput(
                    self, topics.CAMERA_IMAGE, transport, image_qos, take
                )
            else:
                self._inputs[name] = self._subscribe(name, *description)

    def _subscribe(self, name: str, kind: str, topic: str, qos: Any) -> Subscription:
        handlers: dict[str, Handler] = {
            'mask': self._on_mask,
            SWEEP: self._on_cloud,
            'camera_info': self._on_info,
            'camera_info kept': self._on_info,
            'mask_info': self._on_mask_info,
            'label_info': self._on_labels,
        }
        callback = guard(self, self._monitors[name.removesuffix(' kept')], handlers[name])
        return subscribe(self, kind, topic, callback, qos, quiet=name.endswith(' kept'))

    # Inputs

    def _on_labels(self, message: Any) -> None:
        if self._settings.config.label_space != 'auto':
            return
        told = {int(each.class_id): str(each.class_name) for each in message.class_map}
        for space in LABEL_SPACES.values():
            if {each.id: each.name for each in space.classes} == told:
                self._labels = space
                return
        raise ValueError(
            f'semantic/label_info names {len(told)} classes that are no label space known here, '
            f'one of {sorted(LABEL_SPACES)}'
        )

    def _on_info(self, message: Any) -> None:
        self._info = message
        self._camera = self._read_info(rectified=self._is_flat)

    def _read_info(self, *, rectified: bool) -> CameraModel:
        own_centre = self._settings.config.camera.own_centre
        return read_camera_info(self._info, rectified=rectified, own_centre=own_centre)

    def _on_mask_info(self, message: Any) -> None:
        """Follow the node that made the mask, which knows whether its images are rectified."""
        if self._info is None:
            return
        camera, other = (
            self._read_info(rectified=each) for each in (self._is_flat, not self._is_flat)
        )
        if not _describes(message, camera) and _describes(message, other):
            self._is_flat, self._camera = not self._is_flat, other

    def _on_image(self, message: Any) -> None:
        # Decoded when its mask is there: of images that no mask comes for, nothing is decoded.
        stamp_ns = stamp_of(message)
        self._images.add(stamp_ns, message, len(message.data))
        mask = self._masks.at(stamp_ns)
        if mask is not None:
            self._publish_overlay(mask)

    def _on_cloud(self, message: Any) -> None:
        self._clouds.add(stamp_of(message), message, len(message.data))

    def _on_mask(self, message: Any) -> None:
        pixels, encoding = image_to_array(message)
        if encoding != 'mono8':
            raise ValueError(f'{topics.MASK} must be mono8, got {encoding}')
        if self._labels is None:
            raise ValueError(
                f'colours are not known: {topics.LABEL_INFO} has not come, and label_space is auto'
            )
        if _listened(self._color):
            self._color.publish(_like(message, colorize(pixels, self._labels)))
        if _listened(self._overlay):
            if self._images.at(stamp_of(message)) is not None:
                self._publish_overlay(message)
            else:
                self._masks.add(stamp_of(message), message, len(message.data))
        if _listened(self._points):
            self._publish_points(message, pixels, self._labels)

    # Outputs

    def _publish_overlay(self, mask: Any) -> None:
        image = decode_image(self._images.at(stamp_of(mask)), Modality.VIEW)
        pixels, _ = image_to_array(mask)
        assert self._labels is not None
        alpha = self._settings.config.overlay.alpha
        self._overlay.publish(_like(mask, overlay(image, pixels, self._labels, alpha)))

    def _publish_points(self, mask: Any, pixels: NDArray[np.uint8], labels: LabelSpace) -> None:
        config = self._settings.config.points
        stamp_ns = stamp_of(mask)
        sweep = self._clouds.nearest(stamp_ns, to_ns(config.max_age_s))
        if sweep is None:
            return
        if self._camera is None:
            raise ValueError('points cannot be painted: no camera_info came')
        cloud, _ = cloud_from_message(sweep)
        frame = SensorFrame(Modality.RANGING, stamp_of(sweep), frame_of(sweep), cloud)
        tree = self._transforms.tree
        T = tree.lookup(self._camera.frame_id, frame.frame_id, stamp_ns)
        T_camera_lidar = place_in_view(T, self._camera)
        # Where the motion is not known, the labels fit as well as the sweep and the image do.
        with suppress(TransformError):
            motion = EgoMotion(tree, config.fixed_frame).of_sweep(frame, stamp_ns)
            frame = replace(frame, motion=motion)
        points = deskew_points(frame, T_camera_lidar).astype(np.float32, copy=False)
        ids = paint_points(
            points,
            self._camera,
            pixels,
            project_depth(points, self._camera),
            occlusion=config.occlusion,
            tolerance_m=config.tolerance_m,
            relative_tolerance=config.relative_tolerance,
        )
        self._points.publish(
            labelled_cloud(message_type, cloud, ids, labels, stamp_of(sweep), frame_of(sweep))
        )

    def _diagnose(self) -> None:
        self._match()
        for each in self._inputs.values():
            if isinstance(each, ImageInput):
                each.choose()
        now = time.monotonic()
        used = {*self._inputs, 'label_info'}
        if not self._monitors['mask_info'].received:
            used.discard('mask_info')  # nobody has to send it
        monitors = [monitor for name, monitor in self._monitors.items() if name in used]
        self._diagnostics.publish([monitor.diagnose(now) for monitor in monitors])


def _label_space(name: str) -> LabelSpace | None:
    """Find a label space; None for `auto`."""
    if name == 'auto':
        return None
    if name not in LABEL_SPACES:
        raise ValueError(
            f"parameter 'label_space' must be auto or one of {sorted(LABEL_SPACES)}, got {name!r}"
        )
    return LABEL_SPACES[name]


def _describes(message: Any, camera: CameraModel) -> bool:
    """Whether a camera_info that a node wrote is of a geometry."""
    alike = bool(np.any(message.d)) == bool(camera.D.any())
    return alike and np.allclose(np.reshape(message.k, (3, 3)), camera.K, rtol=1e-6)


def _like(mask: Any, picture: NDArray[np.uint8]) -> Any:
    """Make an rgb8 image with the header of a mask."""
    return array_to_image(message_type, picture, 'rgb8', stamp_of(mask), frame_of(mask))


def _listened(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())


def main(args: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        args: Command line without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    return run_node(VisualizationNode, args)


if __name__ == '__main__':
    sys.exit(main())
