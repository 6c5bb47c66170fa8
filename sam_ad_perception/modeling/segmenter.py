"""Bundles in, masks out: the one entry point of node, bag tool, evaluation and benchmark."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.condition import ConditionEstimate, estimate_condition
from sam_ad_perception.core.depth import DepthConfig
from sam_ad_perception.core.health import HealthMonitor
from sam_ad_perception.core.health_config import HealthConfig
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.latency_book import LatencyBook
from sam_ad_perception.core.routing import (
    Choice,
    Expert,
    RouterState,
    RoutingConfig,
    Situation,
    route,
)
from sam_ad_perception.core.routing_table import RoutingTable
from sam_ad_perception.core.sensors import CameraModel, Modality, Segmentation, SensorBundle
from sam_ad_perception.core.thermal import ThermalRanges
from sam_ad_perception.modeling.backends import BackendConfig, Prediction, Tell
from sam_ad_perception.modeling.device_work import DeviceClock
from sam_ad_perception.modeling.encoder_pool import EncoderPool
from sam_ad_perception.modeling.expert_network import ExpertNetwork, load_expert
from sam_ad_perception.modeling.preprocessing import PreparedBundle, lidar_depth
from sam_ad_perception.modeling.zoo import load_zoo

MAX_VIEWS = 64
"""So many cameras keep their router's state."""

CONDITION_HOLDS_NS = 60_000_000_000
"""Without its camera a vehicle goes by the last look for so long."""


class SegmentationError(ValueError):
    """A bundle without a mask; the message says why."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is about to run for one bundle."""

    bundle: SensorBundle
    prepared: PreparedBundle
    choice: Choice
    reason: str
    missing: dict[Modality, str]
    early_s: dict[str, float]


@dataclass(frozen=True)
class _View:
    """What one camera's view has come to."""

    state: RouterState = field(default_factory=RouterState)
    condition: ConditionEstimate = field(default_factory=ConditionEstimate)
    seen_ns: int = 0


class Segmenter:
    """Checks the sensors, lets the router choose a network, runs it, makes the mask.

    Not thread-safe: one thread at a time may call it.

    Args:
        experts: The networks that may run, in the order of preference where nothing was measured;
            all give masks in the label space of the first.
        health: How spoilt frames are told from good ones; the defaults where None.
        depth: How a sweep becomes a depth image; the defaults where None.
        routing: How a network is chosen; where None, what is best at the moment runs.
        table: What was measured of the networks; None for nothing.
        unusable: Networks that were wanted but cannot run, with the reason of each.

    Attributes:
        experts: The networks by key.
        health: What checks the frames, and has counted what was wrong with them.
        routing: How a network is chosen; may be replaced at any time.
        table: What was measured.

    Raises:
        ValueError: There is no network.
    """

    def __init__(
        self,
        experts: Sequence[ExpertNetwork],
        *,
        health: HealthConfig | None = None,
        depth: DepthConfig | None = None,
        routing: RoutingConfig | None = None,
        table: RoutingTable | None = None,
        unusable: Sequence[Expert] = (),
    ) -> None:
        if not experts:
            raise ValueError('a segmenter needs at least one network, got none')
        self.experts = {expert.spec.key: expert for expert in experts}
        self.health = HealthMonitor(health)
        self.routing = routing or RoutingConfig(recovery_frames=1)
        self.table = table
        self._depth = depth
        self._ranges = ThermalRanges()
        self._latencies = LatencyBook()
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._roles = [expert.role for expert in experts] + list(unusable)
        for expert in experts:
            try:
                expert.speak(self.labels)
            except ValueError as err:
                index = self._roles.index(expert.role)
                self._roles[index] = replace(expert.role, unusable=str(err))

    @classmethod
    def from_zoo(
        cls,
        zoo_path: Path,
        keys: str | Sequence[str],
        checkpoint_dir: Path,
        device: torch.device | str = 'cpu',
        *,
        threads: int | None = None,
        health: HealthConfig | None = None,
        depth: DepthConfig | None = None,
        routing: RoutingConfig | None = None,
        table: RoutingTable | None = None,
        pool: EncoderPool | None = None,
        backend: BackendConfig | None = None,
    ) -> Segmenter:
        """Build networks of the zoo and load their checkpoints.

        Args:
            zoo_path: `zoo.yaml`.
            keys: One entry, or several; of several, those that do not load are left to the router
                as unusable.
            checkpoint_dir: Folder of the checkpoint files.
            device: Where the networks run.
            threads: Threads of the CPU operators of this process; None keeps torch's number.
            health: As of the class.
            depth: Likewise.
            routing: Likewise.
            table: Likewise.
            pool: Frozen SAM encoders that several segmenters share; None makes one for the
                networks here.
            backend: How the networks run; torch where None.

        Returns:
            The segmenter.

        Raises:
            ValueError: No such entry, or no entry that loads: the reason of each.
            OSError: The zoo cannot be read.
        """
        zoo = load_zoo(zoo_path)
        names = [keys] if isinstance(keys, str) else list(keys)
        for name in names:
            if name not in zoo:
                raise ValueError(f'{zoo_path} has no model {name!r}, expected one of {list(zoo)}')
        if threads is not None:
            if threads < 1:
                raise ValueError(f'threads must be 1 or more, got {threads}')
            torch.set_num_threads(threads)
        pool = pool or EncoderPool()
        experts: list[ExpertNetwork] = []
        unusable: list[Expert] = []
        for name in names:
            try:
                experts.append(load_expert(zoo, name, checkpoint_dir, device, pool, backend))
            except (ValueError, OSError) as err:
                if len(names) == 1:
                    raise
                spec = zoo[name]
                unusable.append(Expert(name, tuple(spec.inputs), spec.required, str(err)))
        if not experts:
            raise ValueError('; '.join(f'{role.key}: {role.unusable}' for role in unusable))
        return cls(
            experts, health=health, depth=depth, routing=routing, table=table, unusable=unusable
        )

    @property
    def labels(self) -> LabelSpace:
        """The classes of the masks."""
        return LABEL_SPACES[next(iter(self.experts.values())).spec.label_space]

    @property
    def unusable(self) -> dict[str, str]:
        """Networks that cannot run, with the reason of each."""
        return {role.key: role.unusable for role in self._roles if role.unusable}

    def segment(self, bundles: Sequence[SensorBundle]) -> list[Segmentation]:
        """Segment bundles; those with the same network and sensors run as one batch.

        Args:
            bundles: Any number of bundles, for example one per camera.

        Returns:
            One result per bundle, in order.

        Raises:
            SegmentationError: A bundle for which no network can run.
        """
        results = []
        for result in self.segment_each(bundles):
            if isinstance(result, SegmentationError):
                raise result
            results.append(result)
        return results

    def segment_each(
        self,
        bundles: Sequence[SensorBundle],
        depth: Sequence[bool] | None = None,
        confidence: Sequence[bool] | None = None,
    ) -> list[Segmentation | SegmentationError]:
        """Segment bundles, so that one without a mask does not spoil the others.

        Args:
            bundles: Any number of bundles, for example one per camera.
            depth: For each, whether its depth image is wanted; all are where None.
            confidence: Likewise for the confidence of its mask.

        Returns:
            For each bundle, in order, its result or the error that says why there is none.
        """
        results: list[Segmentation | SegmentationError | None] = [None] * len(bundles)
        wanted = [True] * len(bundles) if depth is None else depth
        confident = [True] * len(bundles) if confidence is None else confidence
        plans: dict[int, _Plan] = {}
        batches: dict[Choice, list[int]] = {}
        for index, bundle in enumerate(bundles):
            try:
                plan = plans[index] = self._plan(bundle)
            except SegmentationError as err:
                results[index] = err
            else:
                batches.setdefault(plan.choice, []).append(index)
        for choice, indices in batches.items():
            expert = self.experts[choice.expert]
            clock = DeviceClock(expert.device)
            output, logits = expert.run([plans[i].prepared for i in indices])
            clock.mark()
            made = []
            for row, i in enumerate(indices):
                camera = plans[i].bundle.camera
                made.append(expert.decode(logits[row], camera, confident=confident[i]))
                clock.mark()
            network_s, *mask_s = clock.steps_s()
            self._latencies.note(choice, network_s, time.monotonic())
            for row, i in enumerate(indices):
                result = self._result(plans[i], output, made[row], row, network_s, mask_s[row])
                results[i] = self._with_depth(result, plans[i]) if wanted[i] else result
        return [result for result in results if result is not None]

    def build(self, tell: Tell) -> None:
        """Build what the backends need, for every set of sensors that may come.

        A drive does it before its first frame; without it, each set is built when it first comes.

        Args:
            tell: Told in words what happens now.
        """
        for expert in self.experts.values():
            expert.build(tell)

    def warm_up(self, camera: CameraModel) -> None:
        """Run every network once, so that the first frame is not the slowest.

        Args:
            camera: A view of the size that will come.
        """
        for expert in self.experts.values():
            expert.warm_up(camera)

    def reset(self) -> None:
        """Forget what the sensors showed and what ran: another recording begins."""
        self.health.reset()
        self._ranges = ThermalRanges()
        self._views.clear()

    def _plan(self, bundle: SensorBundle) -> _Plan:
        """Health, routing and alignment of one bundle."""
        start = time.perf_counter()
        healthy = self.health.check(bundle).bundle
        checked = time.perf_counter()
        view = self._look(healthy)
        missing = dict(healthy.missing)
        lacking = {str(m): missing[m] for m in bundle.required if m in missing}
        if lacking:
            why = '; '.join(f'{name}: {reason}' for name, reason in lacking.items())
            raise SegmentationError(f'required {", ".join(lacking)} missing ({why})')
        while True:
            present = frozenset(str(m) for m in healthy.frames if m not in missing)
            latency_ms = self._latencies.medians_ms(time.monotonic())
            reasons = {str(m): why for m, why in missing.items()}
            seems = view.condition
            situation = Situation(present, reasons, seems.name, seems.confidence, latency_ms)
            decision, state = route(situation, view.state, self._roles, self.table, self.routing)
            self._keep(bundle.camera.frame_id, replace(view, state=state))
            choice = decision.choice
            if choice is None:
                raise SegmentationError(decision.reason)
            expert = self.experts[choice.expert]
            prepared = expert.prepare(healthy, choice.subset, self._ranges)
            spoilt = [name for name in choice.subset if name not in prepared.usable]
            if not spoilt:
                break
            # It was there and healthy, and still cannot be shown in this view.
            missing |= {Modality(name): prepared.missing[name] for name in spoilt}
        early_s = {'health': checked - start, 'align': time.perf_counter() - checked}
        return _Plan(healthy, prepared, choice, decision.reason, missing, early_s)

    def _look(self, bundle: SensorBundle) -> _View:
        """Tell the condition of a view, where anything depends on it."""
        view = self._views.get(bundle.camera.frame_id, _View())
        if self.table is None or not any(row.conditions for row in self.table.rows):
            return view
        frame = bundle.frames.get(Modality.CAMERA)
        pixels = np.asarray(frame.data) if frame is not None else np.empty(0)
        if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and pixels.size:
            seems = estimate_condition(np.asarray(pixels, np.uint8))
            return replace(view, condition=seems, seen_ns=bundle.stamp_ns)
        if abs(bundle.stamp_ns - view.seen_ns) > CONDITION_HOLDS_NS:
            return replace(view, condition=ConditionEstimate())
        return view

    def _keep(self, name: str, view: _View) -> None:
        self._views[name] = view
        self._views.move_to_end(name)
        while len(self._views) > MAX_VIEWS:
            self._views.popitem(last=False)

    def _result(
        self,
        plan: _Plan,
        output: Prediction,
        made: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        row: int,
        network_s: float,
        mask_s: float,
    ) -> Segmentation:
        bundle, prepared = plan.bundle, plan.prepared
        mask, confidence = made
        latency_s = {**plan.early_s, 'network': network_s, 'mask': mask_s}
        used = tuple(Modality(name) for name in output.modalities)
        gate: dict[Modality, float] = {}
        if output.gate is not None:
            weights = output.gate[:, row].cpu().numpy().mean(axis=0)
            gate = dict(zip(used, weights.tolist(), strict=True))
        errors = bundle.time_error_ns
        return Segmentation(
            stamp_ns=bundle.stamp_ns,
            camera=bundle.camera,
            mask=mask,
            confidence=confidence,
            expert=plan.choice.expert,
            reason=plan.reason,
            used=used,
            missing=plan.missing,
            gate=gate,
            time_error_ns={m: errors[m] for m in used},
            latency_s=latency_s,
            notes={Modality(n): note for n, note in prepared.notes.items() if n in used},
        )

    def _with_depth(self, result: Segmentation, plan: _Plan) -> Segmentation:
        """Add the depth image of the bundle's sweep."""
        start = time.perf_counter()
        depth = lidar_depth(plan.bundle, self._depth)
        if depth is None:
            return result
        latency_s = {**result.latency_s, 'depth': time.perf_counter() - start}
        return replace(
            result, depth=depth.depth, depth_measured=depth.measured, latency_s=latency_s
        )
