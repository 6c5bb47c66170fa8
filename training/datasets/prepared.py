"""Batches of a dataset on disk: read, changed at random, prepared as on the vehicle."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.labels import apply_mapping, mapping
from sam_ad_perception.modeling.zoo import ModelSpec
from training.augmentation_config import AugmentationConfig
from training.datasets.frames import (
    Batch,
    Dataset,
    DatasetError,
    LabelledFrame,
    prepare_frame,
)
from training.frame_augmentation import Cut, draw_cut, spoil_sensors, take_cut, vary_camera

Prepared = tuple[dict[str, torch.Tensor], torch.Tensor]


class PreparedFrames:
    """The frames of a dataset as a network takes them; see `FrameSource`.

    Args:
        dataset: The frames.
        spec: Zoo entry, whose preprocessing makes the inputs.
        augmentation: How frames are changed.
        limit: How many of the frames are taken, the first ones; 0 for all.

    Raises:
        DatasetError: The labels do not relate to the classes of the network.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: ModelSpec,
        augmentation: AugmentationConfig,
        limit: int = 0,
    ) -> None:
        self.dataset = dataset
        self.spec = spec
        self.augmentation = augmentation
        self.length = min(len(dataset), limit or len(dataset))
        try:
            self._table = mapping(dataset.space, spec.labels)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def rendered(self) -> NDArray[np.int64]:
        """Indices of the frames that are taken."""
        return np.arange(self.length)

    def read(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Read frames; only modalities that all of them have are returned.

        Args:
            indices: Which frames.
            rng: Source of the changes; None changes nothing.

        Returns:
            The batch. Changed frames have labels at the size of their inputs, others at their
            own.

        Raises:
            DatasetError: A frame cannot be read or spoilt, or unchanged frames differ in size.
        """
        items = [self._prepare(self.dataset.read(int(index)), rng) for index in indices]
        sizes = {tuple(labels.shape) for _, labels in items}
        if len(sizes) > 1:
            raise DatasetError(f'frames {list(indices)} have labels of sizes {sorted(sizes)}')
        first = items[0][0]
        common = [name for name in first if all(name in inputs for inputs, _ in items)]
        inputs = {name: torch.stack([each[name] for each, _ in items]) for name in common}
        return Batch(inputs, torch.stack([labels for _, labels in items]).long())

    def _prepare(self, frame: LabelledFrame, rng: np.random.Generator | None) -> Prepared:
        size = self.spec.input_size
        cut = Cut(size)
        if rng is not None:
            frame = vary_camera(frame, self.augmentation, rng)
            try:
                frame = spoil_sensors(frame, self.augmentation, rng)
            except ValueError as error:
                raise DatasetError(f'{frame.name}: {error}') from error
            cut = draw_cut(self.augmentation, size, rng)
        prepared = prepare_frame(frame, self.spec.inputs, cut.size)
        inputs = {name: torch.from_numpy(image) for name, image in prepared.inputs.items()}
        labels = apply_mapping(frame.labels, self._table)
        if rng is None:
            return inputs, torch.from_numpy(labels)
        scaled = cv2.resize(
            labels, (cut.size[1], cut.size[0]), interpolation=cv2.INTER_NEAREST_EXACT
        )
        piece = self.augmentation.piece_of(size)
        return take_cut(inputs, torch.from_numpy(np.asarray(scaled, np.uint8)), cut, piece)
