"""The geometry of every image-like sensor: which model and which frame an image has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.images.lazy_image import check_megapixels, image_size
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorFrame
from sam_ad_perception.core.synchronization.camera_history import CameraChoice, CameraHistory


class CameraGeometry:
    """Knows the camera_infos of each sensor, and which of two frame names is placed.

    Args:
        transforms: The tree of frames; its owner keeps it up to date.
        max_megapixels: Images and views of more pixels are refused.
        recorded: Whether all camera_infos are given before the first frame, and kept.
    """

    def __init__(
        self, transforms: TransformTree, max_megapixels: float, *, recorded: bool = False
    ) -> None:
        self._transforms = transforms
        self._limit = max_megapixels
        self._recorded = recorded
        self._histories: dict[Modality, CameraHistory] = {}
        self._carried = ''
        self._renamed: tuple[CameraModel, CameraModel] | None = None

    def add(self, modality: Modality, camera: CameraModel, stamp_ns: int | None = None) -> None:
        """Take the geometry of a sensor.

        Args:
            modality: Whose geometry.
            camera: The model.
            stamp_ns: Stamp of the camera_info, nanoseconds; None for one that is configured.

        Raises:
            ValueError: It is of more pixels than `max_megapixels` allows.
        """
        check_megapixels('camera_info', camera.size, self._limit)
        history = self._histories.setdefault(modality, CameraHistory(bounded=not self._recorded))
        history.add(camera, stamp_ns)

    def forget(self, modality: Modality) -> None:
        """Forget the camera_infos of a sensor; a configured model stays.

        Args:
            modality: Whose.
        """
        if (history := self._histories.get(modality)) is not None:
            history.forget()

    def awaits(self, frames: Iterable[SensorFrame]) -> bool:
        """Tell whether the camera_info of one of these images is on its way, and would matter."""
        return any(
            raw.camera is None and history.awaits(raw.stamp_ns)
            for raw in frames
            if (history := self._histories.get(raw.modality)) is not None
        )

    def of_image(self, raw: SensorFrame) -> CameraChoice | None:
        """Find the geometry of an image.

        Args:
            raw: The image, as its sensor stamped it.

        Returns:
            The geometry; None where no camera_info came that may describe it.

        Raises:
            ValueError: The image has more pixels than `max_megapixels` allows.
        """
        size = image_size(raw.data)
        if size is not None:
            check_megapixels('image', size, self._limit)
        if raw.camera is not None:
            return CameraChoice(raw.camera)
        history = self._histories.get(raw.modality)
        return None if history is None else history.choose(raw.stamp_ns, size, raw.frame_id)

    def camera_at(self, stamp_ns: int) -> CameraModel | None:
        """Find the view of the camera at a time, without an image of it.

        Args:
            stamp_ns: On the camera's clock, nanoseconds.

        Returns:
            The view; None while none is known.
        """
        history = self._histories.get(Modality.CAMERA)
        choice = history.choose(stamp_ns, None, self._carried) if history else None
        return self._placed(choice.camera) if choice else None

    def view_of(self, raw: SensorFrame, *, final: bool) -> CameraModel | None:
        """Find the view that an image of the camera shows.

        Args:
            raw: The image, as the camera stamped it.
            final: Whether no camera_info is waited for: then it may be of an unknown lens.

        Returns:
            The view; None while there is none.
        """
        try:
            choice = self.of_image(raw)
        except ValueError:  # the image cannot be used, which is told where it is completed
            return self.camera_at(raw.stamp_ns)
        self._carried = raw.frame_id or self._carried
        if choice is not None:
            return self._placed(choice.camera)
        size = image_size(raw.data)
        if not final or size is None:
            return None
        why = f'no camera_info of the {raw.modality} came'
        return CameraModel(
            size[1], size[0], np.zeros((3, 3)), frame_id=raw.frame_id, unknown_lens=why
        )

    def frame_of(self, named: str, carried: str) -> str:
        """Choose the frame of an image.

        Args:
            named: What its camera_info names.
            carried: What the image itself names.

        Returns:
            The first of the two that transforms know; else the first that is not empty.
        """
        for frame in (named, carried):
            if frame and self._transforms.has_frame(frame):
                return frame
        return named or carried

    def _placed(self, camera: CameraModel) -> CameraModel:
        """The same view in the image's frame where no transform knows that of its camera_info."""
        frame = self.frame_of(camera.frame_id, self._carried)
        if frame == camera.frame_id:
            return camera
        # one object for one view: what is computed from it is cached by it
        if self._renamed is None or self._renamed[0] is not camera:
            self._renamed = camera, replace(camera, frame_id=frame)
        return self._renamed[1]
