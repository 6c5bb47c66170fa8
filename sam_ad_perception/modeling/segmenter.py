"""Bundles in, masks out: the one entry point of node, bag tool, evaluation and benchmark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_ad_perception.core.depth import DepthConfig
from sam_ad_perception.core.health import HealthMonitor
from sam_ad_perception.core.health_config import HealthConfig
from sam_ad_perception.core.sensors import CameraModel, Modality, Segmentation, SensorBundle
from sam_ad_perception.core.thermal import ThermalRanges
from sam_ad_perception.modeling.checkpoints import load_checkpoint
from sam_ad_perception.modeling.lora import merge_lora
from sam_ad_perception.modeling.networks import NetworkOutput, SegmentationNetwork
from sam_ad_perception.modeling.preprocessing import (
    PreparedBundle,
    lidar_depth,
    mask_from_logits,
    prepare_bundle,
)
from sam_ad_perception.modeling.zoo import ModelSpec, build_model, load_zoo

if TYPE_CHECKING:
    from sam_ad_perception.modeling.encoder_pool import EncoderPool


class SegmentationError(ValueError):
    """A bundle without a mask; the message says why."""


class Segmenter:
    """Runs one network of the zoo on bundles.

    Not thread-safe: one thread at a time may call `segment`.

    Args:
        spec: The zoo entry.
        network: Its network with trained weights; it is switched to inference and its adapters
            are merged.
        device: Where the network runs.
        health: How spoilt frames are told from good ones; the defaults where None.
        depth: How a sweep becomes a depth image; the defaults where None.

    Attributes:
        spec: The zoo entry.
        health: What checks the frames, and has counted what was wrong with them.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: SegmentationNetwork,
        device: torch.device | str = 'cpu',
        *,
        health: HealthConfig | None = None,
        depth: DepthConfig | None = None,
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        merge_lora(self.network)
        self.health = HealthMonitor(health)
        self._ranges = ThermalRanges()
        self._depth = depth

    @classmethod
    def from_zoo(
        cls,
        zoo_path: Path,
        key: str,
        checkpoint_dir: Path,
        device: torch.device | str = 'cpu',
        *,
        threads: int | None = None,
        health: HealthConfig | None = None,
        depth: DepthConfig | None = None,
        pool: EncoderPool | None = None,
    ) -> Segmenter:
        """Build a network of the zoo and load its checkpoint.

        Args:
            zoo_path: `zoo.yaml`.
            key: The entry.
            checkpoint_dir: Folder of the checkpoint files.
            device: Where the network runs.
            threads: Threads of the CPU operators of this process; None keeps torch's number.
            health: As of the class.
            depth: Likewise.
            pool: Frozen SAM encoders that several segmenters share; None builds its own.

        Returns:
            The segmenter.

        Raises:
            ValueError: No such entry, an entry that cannot be built, or a wrong checkpoint.
            OSError: The zoo cannot be read.
        """
        zoo = load_zoo(zoo_path)
        if key not in zoo:
            raise ValueError(f'{zoo_path} has no model {key!r}, expected one of {list(zoo)}')
        if threads is not None:
            if threads < 1:
                raise ValueError(f'threads must be 1 or more, got {threads}')
            torch.set_num_threads(threads)
        network = build_model(zoo[key], pool)
        load_checkpoint(network, zoo[key].checkpoint, checkpoint_dir)
        return cls(zoo[key], network, device, health=health, depth=depth)

    def segment(self, bundles: Sequence[SensorBundle]) -> list[Segmentation]:
        """Segment bundles; those with the same sensors run as one batch.

        Args:
            bundles: Any number of bundles, for example one per camera.

        Returns:
            One result per bundle, in order.

        Raises:
            SegmentationError: A bundle has no usable sensor, or lacks a required one.
        """
        healthy, prepared, early_s = [], [], []
        for bundle in bundles:
            start = time.perf_counter()
            healthy.append(self.health.check(bundle).bundle)
            checked = time.perf_counter()
            prepared.append(self._prepare(healthy[-1]))
            early_s.append({'health': checked - start, 'align': time.perf_counter() - checked})
        results: list[Segmentation | None] = [None] * len(bundles)
        subsets: dict[tuple[str, ...], list[int]] = {}
        for index, item in enumerate(prepared):
            subsets.setdefault(tuple(item.inputs), []).append(index)
        for indices in subsets.values():
            start = time.perf_counter()
            output, logits = self._run([prepared[i] for i in indices])
            network_s = time.perf_counter() - start
            for row, i in enumerate(indices):
                latency = {**early_s[i], 'network': network_s}
                results[i] = self._result(
                    healthy[i], prepared[i], output, logits[row], row, latency
                )
        return [result for result in results if result is not None]

    def reset(self) -> None:
        """Forget the streams: what is usual in them, and what was wrong with their frames."""
        self.health.reset()
        self._ranges = ThermalRanges()

    def warm_up(self, camera: CameraModel) -> None:
        """Run the network once with every modality, so that the first frame is not the slowest.

        Args:
            camera: A view of the size that will come.
        """
        size = self.spec.input_size
        inputs = {n: np.zeros((c, *size), np.float32) for n, c in self.spec.channels.items()}
        _, logits = self._run([PreparedBundle(inputs, {})])
        mask_from_logits(logits[0], camera)

    def _prepare(self, bundle: SensorBundle) -> PreparedBundle:
        prepared = prepare_bundle(bundle, self.spec.inputs, self.spec.input_size, self._ranges)
        absent = [name for name in self.spec.required if name not in prepared.inputs]
        absent += [str(m) for m in bundle.required if m in bundle.missing and m not in absent]
        if absent or not prepared.inputs:
            reasons = '; '.join(f'{name}: {why}' for name, why in prepared.missing.items())
            what = f'required {absent} missing' if absent else 'no usable sensor'
            raise SegmentationError(f'{self.spec.key}: {what} ({reasons})')
        return prepared

    @torch.inference_mode()
    def _run(self, items: Sequence[PreparedBundle]) -> tuple[NetworkOutput, NDArray[np.float32]]:
        inputs = {
            name: torch.from_numpy(np.stack([item.inputs[name] for item in items])).to(self.device)
            for name in items[0].inputs
        }
        mean = self.spec.mean_of_heads
        output: NetworkOutput = self.network(inputs, with_aux=mean)
        logits: Tensor = output.logits
        if mean:
            assert output.aux_logits is not None  # the entry's arguments made sure
            logits = 0.5 * (logits + output.aux_logits)
        return output, logits.float().cpu().numpy()

    def _result(
        self,
        bundle: SensorBundle,
        prepared: PreparedBundle,
        output: NetworkOutput,
        logits: NDArray[np.float32],
        row: int,
        latency_s: dict[str, float],
    ) -> Segmentation:
        start = time.perf_counter()
        mask, confidence = mask_from_logits(logits, bundle.camera)
        depth = lidar_depth(bundle, self._depth)
        latency_s['mask'] = time.perf_counter() - start
        used = tuple(Modality(name) for name in output.modalities)
        gate: dict[Modality, float] = {}
        if output.gate is not None:
            gate = dict(zip(used, output.gate[:, row].mean(dim=0).tolist(), strict=True))
        errors = bundle.time_error_ns
        return Segmentation(
            stamp_ns=bundle.stamp_ns,
            camera=bundle.camera,
            mask=mask,
            confidence=confidence,
            expert=self.spec.key,
            used=used,
            missing={Modality(name): why for name, why in prepared.missing.items()},
            depth=depth.depth if depth else None,
            depth_measured=depth.measured if depth else None,
            gate=gate,
            time_error_ns={m: errors[m] for m in used},
            latency_s=latency_s,
            notes={Modality(name): note for name, note in prepared.notes.items()},
        )
