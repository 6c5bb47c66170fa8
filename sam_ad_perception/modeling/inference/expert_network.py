"""One network of the zoo with its weights: prepares inputs, runs, decodes masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.labels import LabelSpace, mapping
from sam_ad_perception.core.routing.router import ExpertSpec
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    SensorBundle,
    SensorFrame,
    remove_sensors,
)
from sam_ad_perception.modeling.encoders.lora import merge_lora
from sam_ad_perception.modeling.inference.familiarity import (
    Familiarity,
    familiarity_file,
    load_familiarity,
)
from sam_ad_perception.modeling.inference.masks import decode_there, mask_from_logits
from sam_ad_perception.modeling.inputs.on_device import take_raw
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle, prepare_bundle
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.runtimes.backends import (
    Backend,
    BackendConfig,
    BackendError,
    CompiledBackend,
    Images,
    OnProgress,
    Prediction,
    TorchBackend,
)
from sam_ad_perception.modeling.zoo.checkpoints import load_checkpoint
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, check_key, sensor_sets
from sam_ad_perception.modeling.zoo.temperatures import find_temperature

if TYPE_CHECKING:
    from sam_ad_perception.modeling.encoders.pool import EncoderPool
    from sam_ad_perception.modeling.runtimes.exported_graphs import GraphBackend


log = logging.getLogger(__name__)

NOT_USED = 'not used now'


class ExpertNetwork:
    """Runs one network.

    Args:
        spec: The zoo entry.
        network: Its network with trained weights; it is switched to inference and its adapters
            are merged.
        device: Where it runs.
        backend: How it runs. Where that cannot be, torch runs it, and the log says why.
        familiarity: Frames like those of its training; None where nothing is known of them.

    Attributes:
        spec: The zoo entry.
        network: The network.
        device: Where it runs.
        backend: What runs it.
        role: What the router needs to know of it.
        on_device: Whether images and points are drawn, and masks made, where torch runs the
            network, which pays on a GPU: what goes there and comes back is small.
        familiarity: Frames like those of its training, where they are known.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: SegmentationNetwork,
        device: torch.device | str = 'cpu',
        backend: BackendConfig | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        self.spec = spec
        self.familiarity = familiarity
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False)
        merge_lora(self.network)
        config = backend or BackendConfig()
        self._eager = TorchBackend(
            self.network, self.device, mean=spec.mean_of_heads, half=config.half
        )
        self.backend: Backend = self._eager
        self._on_progress: OnProgress = log.warning
        try:
            self.backend = make_backend(config, spec, self._eager)
        except BackendError as err:
            self._fall_back(err)
        self.role = ExpertSpec(spec.key, tuple(spec.inputs), spec.required)
        self.on_device = self.device.type == 'cuda'
        self._ids: NDArray[np.uint8] | None = None
        self._ids_there: Tensor | None = None

    def set_label_space(self, labels: LabelSpace) -> None:
        """Give masks in another label space than the network's own.

        Args:
            labels: The space.

        Raises:
            ValueError: No table relates the two spaces.
        """
        own = self.spec.labels
        self._ids = None if labels == own else mapping(own, labels)
        self._ids_there = None if self._ids is None else torch.tensor(self._ids).to(self.device)

    def prepare(
        self, bundle: SensorBundle, subset: Sequence[str], ranges: ThermalRanges
    ) -> PreparedBundle:
        """Render some sensors of a bundle as the network sees them.

        Args:
            bundle: The bundle.
            subset: Sensors that are to be used.
            ranges: Running ranges of the thermal streams.

        Returns:
            The inputs, and which of the subset could not be used.
        """
        forms = {name: form for name, form in self.spec.inputs.items() if name in subset}
        # A sensor that the network could see and is not to see does not place the others either.
        unused = {m: NOT_USED for m in bundle.frames if m in self.spec.inputs and m not in subset}
        bundle = remove_sensors(bundle, unused)
        by_torch = isinstance(self.backend, TorchBackend | CompiledBackend)
        take = take_raw if self.on_device and by_torch else None
        return prepare_bundle(bundle, forms, self.spec.input_size, ranges, take)

    def build(self, on_progress: OnProgress) -> None:
        """Build what the backend needs for every set of sensors, so that no frame waits for it.

        Args:
            on_progress: Told what happens now, and if torch has to run the network instead.
        """
        self._on_progress = on_progress
        try:
            self.backend.prepare(sensor_sets(self.spec)[::-1], on_progress)
        except BackendError as err:
            self._fall_back(err)

    def run(self, items: Sequence[PreparedBundle]) -> tuple[Prediction, Tensor]:
        """Run the network on a batch; a GPU is not waited for.

        Args:
            items: Bundles with the same sensors.

        Returns:
            What the network made, and its (B, classes, h, w) float32 logits, where it ran.
        """
        usable = items[0].usable
        inputs: Images = {
            name: self._batch(name, items) for name in self.spec.inputs if name in usable
        }
        try:
            prediction = self.backend.run(inputs)
        except BackendError as err:
            self._fall_back(err)
            prediction = self.backend.run(inputs)
        return prediction, prediction.logits

    def _batch(self, name: str, items: Sequence[PreparedBundle]) -> Tensor:
        """The images of one modality; one that is on the host, alone, is not copied."""
        if all(name in item.inputs for item in items):
            images = [item.inputs[name] for item in items]
            return torch.from_numpy(images[0][None] if len(images) == 1 else np.stack(images))
        with torch.inference_mode():  # as what the backend uploads, or it is compiled again
            return torch.stack(
                [
                    item.raw[name].finish(self.device)
                    if name in item.raw
                    else torch.from_numpy(item.inputs[name]).to(self.device)
                    for item in items
                ]
            )

    def _fall_back(self, err: BackendError) -> None:
        self.backend = self._eager
        self._on_progress(f'torch runs {self.spec.key}, because the backend cannot: {err}')

    def decode(
        self,
        logits: Tensor,
        camera: CameraModel,
        *,
        confident: bool = True,
        temperature: float = 1.0,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Make a mask of logits; the one moment of a frame that waits for a GPU.

        Args:
            logits: (classes, h, w) float32.
            camera: The view.
            confident: Whether the confidence is wanted.
            temperature: Of the confidence, see `temperature`.

        Returns:
            (H, W) uint8 label ids of the output's label space; (H, W) uint8 confidence, or
            (0, 0) where it is not wanted.
        """
        if self.on_device and logits.device.type == self.device.type:
            return decode_there(
                logits,
                camera.size,
                self._ids_there,
                confident=confident,
                temperature=temperature,
            )
        mask, confidence = mask_from_logits(
            logits.cpu().numpy(), camera, confident=confident, temperature=temperature
        )
        return (mask if self._ids is None else self._ids[mask]), confidence

    def temperature(self, subset: Sequence[str], condition: str = '') -> float:
        """Temperature at which the confidence comes true.

        Args:
            subset: Sensors that the network is given.
            condition: `day` or `night`, as the camera sees it; empty where that is not known.

        Returns:
            As the entry has it; 1 where it has none.
        """
        return find_temperature(self.spec.temperatures, subset, condition)

    def unlike_training(self, subset: Sequence[str], logits: Tensor) -> float | None:
        """How unlike the frames of its training one looks to the network.

        Args:
            subset: Sensors that it was given.
            logits: (classes, h, w) float32 of the frame.

        Returns:
            Above 1 where the frame lies further out than 95 of 100 like those of the training;
            None where no statistics of this set of sensors lie beside the weights.
        """
        if self.familiarity is None:
            return None
        return self.familiarity.unlike(subset, logits.cpu().numpy())

    def warm_up(self, camera: CameraModel) -> None:
        """Run once with every modality, so that the first frame is not the slowest.

        Args:
            camera: A view of the size that will come.
        """
        black = np.zeros((*camera.size, 3), np.uint8)
        frame = SensorFrame(Modality.CAMERA, 0, camera.frame_id, black, camera)
        bundle = SensorBundle(0, Modality.CAMERA, camera, {Modality.CAMERA: frame})
        raw = self.prepare(bundle, tuple(self.spec.inputs), ThermalRanges()).raw
        inputs = {
            name: np.zeros((channels, *self.spec.input_size), np.float32)
            for name, channels in self.spec.channels.items()
            if name not in raw
        }
        _, logits = self.run([PreparedBundle(inputs, {}, raw=raw)])
        for confident in (True, False):
            self.decode(logits[0], camera, confident=confident)


def make_backend(config: BackendConfig, spec: ModelSpec, plain: TorchBackend) -> Backend:
    """Make the backend that a configuration asks for.

    Args:
        config: Which.
        spec: The zoo entry.
        plain: torch with the network.

    Returns:
        The backend; nothing is built yet.

    Raises:
        BackendError: It cannot run here.
    """
    if config.name == 'torch':
        return plain
    if config.name == 'compile':
        return CompiledBackend(plain, spec.channels, spec.input_size)
    # imported only here: what they need may not be installed
    from sam_ad_perception.modeling.runtimes.exported_graphs import default_cache

    cache = config.cache or default_cache()
    if config.name != 'auto':
        return _make_graph_backend(config, spec, plain, cache)
    from sam_ad_perception.modeling.runtimes.fastest import RECORD, FastestBackend

    others = {}
    for name in ('onnx', 'openvino'):
        try:
            others[name] = _make_graph_backend(replace(config, name=name), spec, plain, cache)
        except BackendError as err:
            log.info('without %s: %s', name, err)
    folder = next((backend.folder for backend in others.values()), cache / spec.key)
    return FastestBackend(plain, spec, others, folder / RECORD)


def _make_graph_backend(
    config: BackendConfig, spec: ModelSpec, plain: TorchBackend, cache: Path
) -> GraphBackend:
    """Make a runtime of exported graphs."""
    if config.name == 'openvino':
        from sam_ad_perception.modeling.runtimes.openvino_runtime import OpenVinoBackend

        return OpenVinoBackend(plain, spec, cache, half=config.half)
    from sam_ad_perception.modeling.runtimes.onnx_providers import choose_providers
    from sam_ad_perception.modeling.runtimes.onnx_runtime import OnnxBackend

    providers = choose_providers(config.providers, plain.device)
    return OnnxBackend(plain, spec, providers, cache, half=config.half)


def load_expert(
    zoo: Mapping[str, ModelSpec],
    key: str,
    checkpoint_dir: Path,
    device: torch.device | str = 'cpu',
    pool: EncoderPool | None = None,
    backend: BackendConfig | None = None,
) -> ExpertNetwork:
    """Build a network of the zoo and load its checkpoint.

    Args:
        zoo: The entries.
        key: Which one.
        checkpoint_dir: Folder of the checkpoint files.
        device: Where it runs.
        pool: Frozen SAM encoders that several networks share; None builds its own.
        backend: How it runs, see `ExpertNetwork`.

    Returns:
        The network.

    Raises:
        ValueError: No such entry, an entry that cannot be built, or a wrong checkpoint.
        OSError: The checkpoint cannot be read.
    """
    check_key(zoo, key)
    network = build_model(zoo[key], pool)
    load_checkpoint(network, zoo[key].checkpoint, checkpoint_dir)
    sha256 = zoo[key].checkpoint.sha256
    known = load_familiarity(familiarity_file(checkpoint_dir, key), sha256) if sha256 else None
    return ExpertNetwork(zoo[key], network, device, backend, known)
