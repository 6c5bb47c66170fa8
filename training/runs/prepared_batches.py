"""Batches of a dataset on disk: read, changed at random, prepared as on the vehicle."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.labels import apply_mapping, mapping
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from sam_ad_perception.modeling.zoo.entries import ModelSpec
from training.augmentation.crops import crop_frame, draw_cut, place_piece
from training.augmentation.frames import spoil_sensors, vary_camera
from training.configuration.augmentation import AugmentationConfig
from training.frames.frame import (
    Batch,
    Dataset,
    DatasetError,
    LabelledFrame,
    keep_inputs,
    prepare_frame,
)

REMOVED = 'dropped for training'
Prepared = tuple[dict[str, torch.Tensor], torch.Tensor, dict[str, str]]


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

    def read(
        self,
        indices: Sequence[int],
        rng: np.random.Generator | None = None,
        kept: Sequence[Collection[str]] | None = None,
    ) -> Batch:
        """Read frames; of a sensor that some of them lack, the batch says which have it.

        Args:
            indices: Which frames.
            rng: Source of the changes; None changes nothing.
            kept: For each of them, the sensors that it has; None for all.

        Returns:
            The batch. Changed frames have labels at the size of their inputs, others at their
            own.

        Raises:
            DatasetError: A frame cannot be read or spoilt, or unchanged frames differ in size.
        """
        frames = [self.dataset.read(int(index)) for index in indices]
        if kept is not None:
            frames = [keep_inputs(f, k, REMOVED) for f, k in zip(frames, kept, strict=True)]
        items = [self._prepare(frame, rng) for frame in frames]
        sizes = {tuple(labels.shape) for _, labels, _ in items}
        if len(sizes) > 1:
            raise DatasetError(f'frames {list(indices)} have labels of sizes {sorted(sizes)}')
        names = [n for n in self.spec.inputs if any(n in inputs for inputs, _, _ in items)]
        inputs, present, refusals = {}, {}, {}
        for name in names:
            images = [inputs.get(name) for inputs, _, _ in items]
            there = torch.tensor([image is not None for image in images])
            shown = [image for image in images if image is not None]
            if not there.all():
                present[name] = there
                blank = torch.zeros_like(shown[0])
                shown = [blank if image is None else image for image in images]
            inputs[name] = torch.stack(shown)
        for name in self.spec.inputs:
            why = {p: missing[name] for p, (_, _, missing) in enumerate(items) if name in missing}
            if why:
                refusals[name] = why
        labels = torch.stack([labels for _, labels, _ in items]).long()
        return Batch(inputs, labels, present, refusals)

    def check_sensors(self, without: Sequence[str] = (), sample: int = 8) -> None:
        """Refuse frames of which none has a sensor that the network registers.

        Args:
            without: Sensors that they may lack.
            sample: Frames that are looked at, evenly among all.

        Raises:
            DatasetError: A sensor is in none of them, with the reason, or `without` names one that
                the network does not register.
        """
        stray = sorted(set(without) - set(self.spec.inputs))
        if stray:
            raise DatasetError(
                f'data.without names {stray}, {self.spec.key} has {list(self.spec.inputs)}'
            )
        lacking = {name: 'no frame has it' for name in self.spec.inputs if name not in without}
        looked = False
        for index in np.unique(np.linspace(0, self.length - 1, sample).astype(int)):
            try:
                batch = self.read([int(index)])
            except DatasetError:
                continue  # what is damaged is named elsewhere
            looked = True
            lacking = {
                name: batch.refusals.get(name, {}).get(0, why)
                for name, why in lacking.items()
                if name not in batch.inputs
            }
        if looked and lacking:
            why = '; '.join(f'{name}: {reason}' for name, reason in lacking.items())
            names = ', '.join(lacking)
            raise DatasetError(
                f'{self.spec.key} would be trained without {names} ({why}); '
                f'data.without=[{names}] does so, sensors=[...] makes a network without, or '
                'choose an entry whose representations these data have'
            )

    def name_of(self, index: int) -> str:
        """What a frame is called.

        Args:
            index: Which frame.

        Returns:
            Its name, where the dataset tells it without reading, else its number.
        """
        frames = getattr(self.dataset, 'frames', None)
        return f'{frames[index].name} (frame {index})' if frames else f'frame {index}'

    def _prepare(self, frame: LabelledFrame, rng: np.random.Generator | None) -> Prepared:
        size = self.spec.input_size
        if rng is None:
            prepared = prepare_frame(frame, self.spec.inputs, size)
            inputs, labels = self._tensors(prepared, frame)
            return inputs, labels, self._missing(prepared, frame)
        try:
            frame = spoil_sensors(frame, self.augmentation, rng)
        except ValueError as error:
            raise DatasetError(f'{frame.name}: {error}') from error
        cut = draw_cut(self.augmentation, size, rng, frame.labels.shape[:2])
        piece = self.augmentation.piece_of(size)
        part = vary_camera(crop_frame(frame, cut, piece), self.augmentation, rng)
        prepared = prepare_frame(part, self.spec.inputs, part.bundle.camera.size)
        inputs, labels = place_piece(*self._tensors(prepared, part), cut, piece)
        return inputs, labels, self._missing(prepared, frame)

    def _tensors(
        self, prepared: PreparedBundle, frame: LabelledFrame
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        inputs = {name: torch.from_numpy(image) for name, image in prepared.inputs.items()}
        return inputs, torch.from_numpy(apply_mapping(frame.labels, self._table))

    @staticmethod
    def _missing(prepared: PreparedBundle, frame: LabelledFrame) -> dict[str, str]:
        return {n: why for n, why in prepared.missing.items() if n in frame.inputs}
