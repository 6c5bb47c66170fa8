"""The result of `Segmenter(...)` on arrays, with pictures for notebooks."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.rendering import colorize, overlay
from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle

_WIDTH = 640
"""Pictures in a notebook are at most this wide, pixels."""


@dataclass(frozen=True, eq=False)
class ImageSegmentation(Segmentation):
    """The mask of one set of arrays.

    Attributes:
        labels: Names and colours of the ids in `mask`.
        image: (H, W, 3) uint8 RGB, the camera image; None without one.
    """

    labels: LabelSpace = LABEL_SPACES['cityscapes']
    image: NDArray[np.uint8] | None = None

    @classmethod
    def of(
        cls, result: Segmentation, labels: LabelSpace, bundle: SensorBundle
    ) -> ImageSegmentation:
        """Add to a result what is needed to show it.

        Args:
            result: What the network made of `bundle`.
            labels: The classes of its mask.
            bundle: The sensors.
        """
        values = {each.name: getattr(result, each.name) for each in fields(Segmentation)}
        frame = bundle.frames.get(Modality.CAMERA)
        pixels = np.asarray(frame.data, np.uint8) if frame is not None else None
        return cls(**values, labels=labels, image=pixels)

    def overlay(self, alpha: float = 0.5) -> NDArray[np.uint8]:
        """Draw the mask in the colours of its classes over the camera image.

        Args:
            alpha: Weight of the colour, from 0 (image only) to 1 (colour only).

        Returns:
            (H, W, 3) uint8 RGB; without a camera image the coloured mask alone.

        Raises:
            ValueError: `alpha` is outside [0, 1].
        """
        if self.image is None:
            return colorize(self.mask, self.labels)
        return overlay(self.image, self.mask, self.labels, alpha)

    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class that occurs, the largest first, by its name."""
        ids, counts = np.unique(self.mask, return_counts=True)
        names = {UNLABELED: 'unlabeled'} | {each.id: each.name for each in self.labels.classes}
        order = np.argsort(-counts, kind='stable')
        return {names[int(ids[i])]: float(counts[i] / self.mask.size) for i in order}

    def _repr_html_(self) -> str:
        """The overlay, a legend of the classes that occur, and the sensors used."""
        picture = self.overlay()
        if picture.shape[1] > _WIDTH:
            height = round(picture.shape[0] * _WIDTH / picture.shape[1])
            picture = np.asarray(
                cv2.resize(picture, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8
            )
        _, png = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        data = base64.b64encode(png.tobytes()).decode()
        colors = {each.name: each.color for each in self.labels.classes}
        box = '<span style="white-space:nowrap"><b style="color:rgb{}">&#9632;</b> {} {}</span>'
        legend = ' '.join(
            box.format(colors.get(name, (0, 0, 0)), escape(name), f'{share:.1%}')
            for name, share in self.shares().items()
        )
        lines = [f'{self.expert}: {" + ".join(self.used)}']
        lines += [
            f'without {name}: {why}' for name, why in self.missing.items() if why != 'not given'
        ]
        lines += [f'{name}: {note}' for name, note in self.notes.items()]
        return (
            f'<img alt="mask over the camera image" style="max-width:100%" '
            f'src="data:image/png;base64,{data}"><div style="font-size:13px">{legend}<br>'
            f'{"<br>".join(escape(line) for line in lines)}</div>'
        )
