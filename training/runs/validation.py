"""Validation of the averaged weights on frames that the run does not learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.core.images.rendering import colorize
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.runtimes.backends import ExportWrapper
from training.configuration.data import DataConfig
from training.configuration.run import SIMULATED, TrainConfig
from training.frames.frame import Batch, DatasetError, FrameSource
from training.networks.checkpoint import BestWeights
from training.runs.folder import RunFolder
from training.runs.trainer import Trainer


def validation_data(config: TrainConfig) -> DataConfig:
    """The frames that a run is measured on.

    Args:
        config: The experiment.

    Returns:
        Those of the training, but of other drives or another split.

    Raises:
        ValueError: Some of the drives are trained on too.
    """
    if config.dataset != SIMULATED:
        split = config.validation.split
        return replace(config.data, split=split, limit=0, pseudo_labels=False)
    held, used = config.validation.seeds, config.data.seeds
    if held[0] < used[1] and used[0] < held[1]:
        raise ValueError(f'validation.seeds {held} and data.seeds {used} have drives in common')
    return replace(config.data, seeds=held, split=config.validation.split)


class Validator:
    """Measures and draws a run on the same frames each time, with all their sensors.

    Args:
        trainer: The run.
        source: The frames.
        folder: Where figures and pictures go.
    """

    def __init__(self, trainer: Trainer, source: FrameSource, folder: RunFolder) -> None:
        self.trainer = trainer
        self.source = source
        self.folder = folder
        self._damaged: set[str] = set()
        self.space = trainer.spec.labels
        self.best = BestWeights(trainer.output / 'best', trainer.config.validation.best)

    def measure(self) -> float:
        """Measure the averaged weights, draw some frames, and keep the weights if they are good.

        Returns:
            mIoU in [0, 1], at the size of the labels.

        Raises:
            DatasetError: A frame cannot be read.
            OSError: A file cannot be written.
        """
        step, config = self.trainer.step, self.trainer.config
        matrix = ConfusionMatrix(len(self.space))
        for index, batch in enumerate(self._frames()):
            prediction = self._predict(batch)
            truth = batch.labels[0].numpy().astype(np.uint8)
            matrix.update(prediction, truth)
            if index < config.validation.pictures:
                shown = [picture_input(batch.inputs, truth.shape)]
                shown += [colorize(mask, self.space) for mask in (truth, prediction)]
                self.folder.draw(f'frame_{index}', shown, step)
        miou = matrix.miou()
        classes = dict(zip(self.space.names, matrix.iou().tolist(), strict=True))
        self.folder.log('validation', {'miou': miou, **classes}, step)
        state = self.trainer.average.network.state_dict()
        self.best.offer(state, miou, step, half=config.half, metadata=self.trainer.metadata)
        return miou

    def _frames(self) -> Iterator[Batch]:
        there = self.source.rendered()
        picks = np.linspace(0, len(there) - 1, min(len(there), self._most), dtype=np.int64)
        for index in np.unique(picks):
            try:
                batch = self.source.read([int(there[index])])
            except DatasetError as error:
                if not self.trainer.config.data.skip_damaged:
                    raise
                if str(error) not in self._damaged:
                    self._damaged.add(str(error))
                    self.trainer.console.print(
                        f'validation: left out: {error}', markup=False, soft_wrap=True
                    )
                continue
            batch = batch.keep(batch.sensors_of(0))
            if batch.inputs and all(n in batch.inputs for n in self.source.spec.required):
                yield batch

    @property
    def _most(self) -> int:
        return self.trainer.config.validation.frames

    @torch.no_grad()
    def _predict(self, batch: Batch) -> NDArray[np.uint8]:
        fabric, network = self.trainer.fabric, self.trainer.average.network.eval()
        assert isinstance(network, SegmentationNetwork)
        batch = batch.to(str(fabric.device))
        mean = self.trainer.spec.mean_of_heads  # what drives is what is measured
        form = ExportWrapper(network, tuple(batch.inputs), mean=mean)
        with fabric.autocast():
            logits: Tensor = form(*batch.inputs.values())[0]
        size = (batch.labels.shape[-2], batch.labels.shape[-1])
        logits = F.interpolate(logits.float(), size=size, mode='bilinear', align_corners=False)
        return logits.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)


def picture_input(inputs: dict[str, Tensor], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Show what the network sees: the camera, or the first sensor there is.

    Args:
        inputs: (1, C, H, W) per modality.
        size: `(H, W)` wanted, pixels.

    Returns:
        (H, W, 3) uint8 RGB from the darkest to the brightest value.
    """
    image = inputs.get('camera', next(iter(inputs.values())))[0].cpu().numpy()
    image = image if image.shape[0] == 3 else np.repeat(image[:1], 3, axis=0)
    low, high = float(image.min()), float(image.max())
    grey = (255 / max(high - low, 1e-6)) * (image - low)
    pixels = np.ascontiguousarray(grey.transpose(1, 2, 0)).astype(np.uint8)
    shown = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(shown, np.uint8)
