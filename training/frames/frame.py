"""Labelled frames: the sensors of one moment and the labels in the camera view."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    SensorBundle,
    SensorFrame,
    keep_sensors,
)
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    RenderContext,
    Representation,
)
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle, prepare_bundle
from sam_ad_perception.modeling.zoo.entries import ModelSpec

VIEW_FRAME = 'camera'
"""Frame of the camera in datasets that name none."""


class DatasetError(ValueError):
    """A folder that is not the dataset, or a file of it that cannot be used."""


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One labelled moment of a dataset: raw measurements, as a vehicle delivers them.

    Attributes:
        name: Unique within its split.
        bundle: The sensors, in the camera's view.
        labels: (H, W) uint8 ids of the dataset's label space at the size of the view; 255 is
            unlabeled.
        condition: Light or weather in the dataset's words; '' where it names none.
        case: Sensor failure likewise.
        pictures: Images in the camera's view that no sensor of a vehicle delivers, by the name
            of the network's input: (H, W, 3) uint8, uint16 or float32.
        pseudo: Whether the labels are predictions of a network, not truth.

    Raises:
        ValueError: The labels are not uint8, or of another size than the view.
    """

    name: str
    bundle: SensorBundle
    labels: NDArray[np.uint8]
    condition: str = ''
    case: str = ''
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pseudo: bool = False

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.shape != self.bundle.camera.size:
            raise ValueError(
                f'{self.name}: labels must be {self.bundle.camera.size} uint8 like the view, got '
                f'{self.labels.shape} {self.labels.dtype}'
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a network may see of it."""
        return (*map(str, self.bundle.frames), *self.pictures)


class Dataset(Protocol):
    """A published split, or recordings of one's own."""

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""

    def __len__(self) -> int:
        """The number of frames."""

    def read(self, index: int) -> LabelledFrame:
        """Read one frame; raises `DatasetError`, which names the file, where that fails."""


@dataclass(frozen=True)
class Batch:
    """Frames with the sensors that each of them has.

    Attributes:
        inputs: (B, C, H, W) float32 of each modality that some of them have; 0 in frames that
            lack it.
        labels: (B, H, W) int64 ids.
        present: (B,) bool of each modality that some frames lack.
        refusals: Of such a modality, why frames lack it: their place in the batch to words.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    present: Mapping[str, Tensor] = field(default_factory=dict)
    refusals: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def to(self, device: str) -> Batch:
        """The batch on a device, as torch names it."""
        inputs = {name: image.to(device) for name, image in self.inputs.items()}
        return Batch(inputs, self.labels.to(device), self.present, self.refusals)

    def sensors_of(self, place: int) -> tuple[str, ...]:
        """The sensors that one frame has.

        Args:
            place: Of the frame in the batch.

        Returns:
            Their names.
        """
        return tuple(n for n in self.inputs if n not in self.present or self.present[n][place])

    def keep(self, names: Sequence[str]) -> Batch:
        """The batch with some of its sensors; a frame that has none of them keeps its own.

        Args:
            names: Sensors of the batch.

        Returns:
            A new batch.
        """
        own = [set(self.sensors_of(place)) for place in range(len(self.labels))]
        kept = [each & set(names) or each for each in own]
        left = [n for n in self.inputs if n in names or any(n in each for each in kept)]
        present = {}
        for name in left:
            there = torch.tensor([name in each for each in kept])
            if not there.all():
                present[name] = there
        refusals = {n: r for n, r in self.refusals.items() if n in left}
        return Batch({n: self.inputs[n] for n in left}, self.labels, present, refusals)

    def groups(self) -> list[Batch]:
        """The frames by the sensors that they have, so that a network sees no stand-ins.

        Returns:
            Batches whose frames have all of their sensors; one where all frames do.
        """
        if not self.present:
            return [self]
        places: dict[tuple[str, ...], list[int]] = {}
        for place in range(len(self.labels)):
            places.setdefault(self.sensors_of(place), []).append(place)
        return [
            Batch({n: self.inputs[n][chosen] for n in names}, self.labels[chosen])
            for names, chosen in places.items()
            if names
        ]


class FrameSource(Protocol):
    """Where training takes its batches from.

    Attributes:
        spec: Zoo entry, whose preprocessing makes the inputs.
        length: Frames that there will be when all can be read.
    """

    spec: ModelSpec
    length: int

    def rendered(self) -> NDArray[np.int64]:
        """Indices of the frames that can be read now."""

    def read(
        self,
        indices: Sequence[int],
        rng: np.random.Generator | None = None,
        kept: Sequence[Collection[str]] | None = None,
    ) -> Batch:
        """Read frames, changed at random where `rng` is given and the source varies frames.

        Where `kept` is given, each frame is read as if it had those sensors only; DatasetError
        where the source cannot.
        """

    def name_of(self, index: int) -> str:
        """What a frame is called, for messages."""


def nominal_camera(size: tuple[int, int]) -> CameraModel:
    """A view for pictures whose geometry nobody published: 53 degrees wide, no distortion.

    Nothing but the pictures' own place depends on it, for all of them lie in this view.

    Args:
        size: `(H, W)`, pixels.

    Returns:
        The view.
    """
    height, width = size
    K = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]])
    return CameraModel(width, height, K.astype(np.float64), frame_id=VIEW_FRAME)


def bundle_in_view(
    images: Mapping[Modality, NDArray[Any]], camera: CameraModel | None = None
) -> SensorBundle:
    """Bundle images that a dataset has already aligned with its camera.

    Args:
        images: (H, W) or (H, W, C) by modality, each as its sensor delivers it; a size of its
            own means the same view on another grid.
        camera: The view; where None, a nominal one of the size of the camera's image.

    Returns:
        The bundle, with identity transforms.
    """
    view = camera or nominal_camera(images[Modality.CAMERA].shape[:2])
    frames = {
        modality: SensorFrame(
            modality, 0, VIEW_FRAME, image, scale_camera(view, (image.shape[0], image.shape[1]))
        )
        for modality, image in images.items()
    }
    others: dict[Modality, NDArray[np.float64]]
    others = {m: np.eye(4) for m in frames if m is not Modality.CAMERA}
    return SensorBundle(0, Modality.CAMERA, view, frames, T_camera=others)


def keep_inputs(frame: LabelledFrame, kept: Iterable[str], reason: str) -> LabelledFrame:
    """Take all out of a frame that a network may see, but some.

    Args:
        frame: The frame.
        kept: Names of the sensors and pictures that stay.
        reason: Why the others are missing, in words.

    Returns:
        The frame without the others: nothing that is made of it depends on them.
    """
    names = set(kept)
    return replace(
        frame,
        bundle=keep_sensors(frame.bundle, names, reason),
        pictures={name: picture for name, picture in frame.pictures.items() if name in names},
    )


def prepare_frame(
    frame: LabelledFrame, forms: Mapping[str, Representation], size: tuple[int, int]
) -> PreparedBundle:
    """Make a network's inputs of a frame, by the code that drives.

    Args:
        frame: The frame.
        forms: The form in which the network sees each of its inputs.
        size: `(H, W)` of the inputs, pixels.

    Returns:
        The inputs, and why others are missing.
    """
    prepared = prepare_bundle(frame.bundle, forms, size)
    inputs, missing = dict(prepared.inputs), dict(prepared.missing)
    view = scale_camera(frame.bundle.camera, size)
    for name, picture in frame.pictures.items():
        if name not in forms:
            missing[name] = 'the network has no input for it'
            continue
        shown = SensorFrame(Modality.CAMERA, 0, VIEW_FRAME, picture, frame.bundle.camera)
        try:
            inputs[name] = forms[name].render(shown, view, None, RenderContext(frame.bundle, view))
            missing.pop(name, None)
        except BadFrameError as error:
            missing[name] = str(error)
    ordered = {name: inputs[name] for name in forms if name in inputs}
    return PreparedBundle(ordered, missing, prepared.notes)
