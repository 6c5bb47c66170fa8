"""Bundles in, masks out: the one entry point of node, bag tool, evaluation and benchmark."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.fault_costs import leave_out_costly
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.lidar.depth_image import DepthConfig
from sam_ad_perception.core.lidar.ground import GroundConfig
from sam_ad_perception.core.messages.from_arrays import bundle_from_arrays
from sam_ad_perception.core.routing.router import (
    ExpertSpec,
    LatencyTracker,
    Route,
    RoutingConfig,
    RoutingInput,
    route,
)
from sam_ad_perception.core.routing.table import RoutingTable
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    Segmentation,
    SensorBundle,
)
from sam_ad_perception.core.settings.vehicle_sensors import (
    VehicleSensorConfig,
    declared_sensors,
    feed_inputs,
    order_feeds,
)
from sam_ad_perception.core.stability.temporal_filter import StabilityConfig, TemporalFilter
from sam_ad_perception.modeling.device_work import DeviceClock
from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.ground_check import hold_against_ground
from sam_ad_perception.modeling.inference.image_result import ImageSegmentation
from sam_ad_perception.modeling.inference.loading import find_entries, load_experts
from sam_ad_perception.modeling.inference.masks import LogitsError
from sam_ad_perception.modeling.inference.view_states import ViewStates, camera_picture
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle, lidar_depth
from sam_ad_perception.modeling.runtimes.backends import BackendConfig, OnProgress, Prediction

MAX_FAILURES = 3
"""So many masks on end that a network fails to make, and it counts as unusable."""


class SegmentationError(ValueError):
    """A bundle without a mask; the message says why."""


_Mask = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is about to run for one bundle."""

    bundle: SensorBundle
    prepared: PreparedBundle
    choice: Route
    reason: str
    missing: dict[Modality, str]
    early_s: dict[str, float]
    condition: str


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
        ground: How lidar returns above the ground are held against the mask; the defaults where
            None.
        sensors: The vehicle's sensors that are not named as their kind, which say what input of a
            network they feed; those that were declared in this process where None.
        stability: Whether masks of a stream are steadied over time; they are not where None.

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
        unusable: Sequence[ExpertSpec] = (),
        ground: GroundConfig | None = None,
        sensors: Mapping[str, VehicleSensorConfig] | None = None,
        stability: StabilityConfig | None = None,
    ) -> None:
        if not experts:
            raise ValueError('a segmenter needs at least one network, got none')
        self.experts = {expert.spec.key: expert for expert in experts}
        self.health = HealthMonitor(health)
        self.routing = routing or RoutingConfig(recovery_frames=1)
        self.table = table
        self._depth = depth
        self._ground = ground or GroundConfig()
        self._feeds = order_feeds(declared_sensors() if sensors is None else sensors)
        self._ranges = ThermalRanges()
        self._filter = TemporalFilter(stability)
        self._latencies = LatencyTracker()
        self._views = ViewStates()
        self._failures: dict[str, int] = {}
        self._roles = [expert.role for expert in experts] + list(unusable)
        for expert in experts:
            try:
                expert.set_label_space(self.labels)
            except ValueError as err:
                index = self._roles.index(expert.role)
                self._roles[index] = replace(expert.role, unusable=str(err))

    @classmethod
    def from_zoo(
        cls,
        zoo_path: str | Path,
        keys: str | Sequence[str],
        checkpoint_dir: str | Path,
        device: torch.device | str = 'cpu',
        *,
        threads: int | None = None,
        health: HealthConfig | None = None,
        depth: DepthConfig | None = None,
        routing: RoutingConfig | None = None,
        table: RoutingTable | None = None,
        pool: EncoderPool | None = None,
        backend: BackendConfig | None = None,
        ground: GroundConfig | None = None,
        sensors: Mapping[str, VehicleSensorConfig] | None = None,
        stability: StabilityConfig | None = None,
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
            ground: As of the class.
            sensors: As of the class.
            stability: As of the class.

        Returns:
            The segmenter.

        Raises:
            ValueError: No such entry, or no entry that loads: the reason of each.
            OSError: The zoo cannot be read.
        """
        experts, unusable = load_experts(
            Path(zoo_path), keys, Path(checkpoint_dir), device, threads, pool, backend
        )
        return cls(
            experts,
            health=health,
            depth=depth,
            routing=routing,
            table=table,
            unusable=unusable,
            ground=ground,
            sensors=sensors,
            stability=stability,
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: torch.device | str = 'cpu',
        checkpoint_dir: str | Path = '',
        threads: int | None = None,
        backend: BackendConfig | None = None,
    ) -> Segmenter:
        """Load a network by its name, or what `training.export` wrote.

        Args:
            source: Key of an entry of the package's zoo (`sam_ad models` lists them), several
                separated by commas; or a weight file that `sam_ad export` wrote; or a zoo file,
                or the folder that holds `zoo.yaml` and `checkpoints/`, of which all entries are
                taken.
            device: Where the networks run, for example `cpu` or `cuda:0`.
            checkpoint_dir: Folder of the checkpoint files; empty for the one beside a zoo that is
                named, else for `SAM_AD_CHECKPOINTS` or the package's own.
            threads: Threads of the CPU operators of this process; None keeps torch's number.
            backend: How the networks run; torch where None.

        Returns:
            The segmenter.

        Raises:
            ValueError: No such entry, or no entry that loads: the reason of each.
            OSError: The zoo or a checkpoint cannot be read.
        """
        zoo, folder, keys = find_entries(source, checkpoint_dir)
        return cls.from_zoo(zoo, keys, folder, device, threads=threads, backend=backend)

    @property
    def labels(self) -> LabelSpace:
        """The classes of the masks."""
        return next(iter(self.experts.values())).spec.labels

    @property
    def unusable(self) -> dict[str, str]:
        """Networks that cannot run, with the reason of each."""
        return {role.key: role.unusable for role in self._roles if role.unusable}

    def __call__(
        self,
        bundle: SensorBundle | None = None,
        *,
        camera: ArrayLike | None = None,
        thermal: ArrayLike | None = None,
        event: Events | None = None,
        lidar: ArrayLike | PointCloud | None = None,
        depth: ArrayLike | None = None,
        calibration: Calibration | str | Path | None = None,
    ) -> ImageSegmentation:
        """Segment one bundle of a stream, or arrays that belong to no stream.

        Arrays are judged by themselves: health checks that compare a frame with earlier ones
        (frozen, darker than usual ...) are off, and nothing of them is remembered.

        Args:
            bundle: The next bundle of a stream, instead of arrays.
            camera: See `core.messages.from_arrays.bundle_from_arrays`, as all below.
            thermal: Likewise.
            event: Likewise.
            lidar: Likewise.
            depth: Likewise.
            calibration: Likewise.

        Returns:
            The mask in the view and at the size of the camera image, with its confidence, labels,
            and pictures.

        Raises:
            ValueError: An argument cannot be used.
            SegmentationError: No network can run with these sensors; says why.
        """
        arrays = (camera, thermal, event, lidar, depth)
        if bundle is not None:
            if calibration is not None or any(each is not None for each in arrays):
                raise ValueError('give a bundle or arrays, not both')
            return ImageSegmentation.of(self.segment([bundle])[0], self.labels, bundle)
        made = bundle_from_arrays(
            camera=camera,
            thermal=thermal,
            event=event,
            lidar=lidar,
            depth=depth,
            calibration=calibration,
        )
        still = replace(self.health.config, frozen_repeats=0, recovery_frames=1)
        alone = Segmenter(
            list(self.experts.values()),
            health=still,
            depth=self._depth,
            routing=replace(self.routing, recovery_frames=1),
            table=self.table,
            unusable=[role for role in self._roles if role.unusable],
            ground=self._ground,
        )
        alone._feeds = self._feeds
        return ImageSegmentation.of(alone.segment([made])[0], self.labels, made)

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
        # Health, routing and rendering of each bundle by itself.
        plans: dict[int, _Plan] = {}
        batches: dict[Route, list[int]] = {}
        for index, bundle in enumerate(bundles):
            try:
                plan = plans[index] = self._plan(bundle)
            except SegmentationError as err:
                results[index] = err
            else:
                batches.setdefault(plan.choice, []).append(index)
        # One pass of a network for all bundles that it sees with the same sensors.
        for choice, indices in batches.items():
            batch = [plans[i] for i in indices]
            made = self._run(choice, batch, [confident[i] for i in indices])
            for i, plan, result in zip(indices, batch, made, strict=True):
                if isinstance(result, Segmentation) and (wanted[i] or self._ground.overrule):
                    results[i] = self._with_depth(result, plan)
                else:
                    results[i] = result
        return [result for result in results if result is not None]

    def _run(
        self, choice: Route, plans: Sequence[_Plan], confident: Sequence[bool]
    ) -> list[Segmentation | SegmentationError]:
        """Run one network on bundles with the same sensors, and make their masks."""
        expert = self.experts[choice.expert]
        clock = DeviceClock(expert.device)
        output, logits = expert.run([plan.prepared for plan in plans])
        clock.mark()
        made: list[_Mask | SegmentationError] = []
        for row, plan in enumerate(plans):
            temperature = expert.temperature(choice.subset, plan.condition)
            try:
                mask = expert.decode(
                    self._steady(logits[row], plan),
                    plan.bundle.camera,
                    confident=confident[row],
                    temperature=temperature,
                )
            except LogitsError as err:
                made.append(SegmentationError(f'{choice.expert}: {err}'))
            else:
                made.append(mask)
            clock.mark()
        # A GPU is waited for once, here; then its times are known.
        network_s, *mask_s = clock.steps_s()
        self._latencies.record(choice, network_s, time.monotonic())
        self._count_failures(choice.expert, made)
        results: list[Segmentation | SegmentationError] = []
        for row, (plan, each) in enumerate(zip(plans, made, strict=True)):
            if isinstance(each, SegmentationError):
                results.append(each)
                continue
            result = self._result(plan, output, each, row, network_s, mask_s[row])
            unlike = expert.unlike_training(output.modalities, logits[row])
            results.append(replace(result, unlike_training=unlike))
        return results

    def _steady(self, logits: Tensor, plan: _Plan) -> Tensor:
        """Average the logits with those of the frames before, where that is wanted."""
        if not self._filter.config.filter:
            return logits
        grid, bundle = logits.cpu().numpy(), plan.bundle
        picture = camera_picture(bundle)
        name, stamp_ns = bundle.camera.frame_id, bundle.stamp_ns
        steadied = self._filter.steady(name, grid, picture, stamp_ns, plan.choice)
        return torch.from_numpy(steadied)

    def _count_failures(self, name: str, made: Sequence[_Mask | SegmentationError]) -> None:
        """Rule a network out that gives no numbers several times on end."""
        for mask in made:
            if not isinstance(mask, SegmentationError):
                self._failures.pop(name, None)
                continue
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] == MAX_FAILURES:
                why = f'{MAX_FAILURES} times on end {mask}'
                self._roles = [
                    replace(role, unusable=why) if role.key == name else role
                    for role in self._roles
                ]

    def build(self, on_progress: OnProgress) -> None:
        """Build what the backends need, for every set of sensors that may come.

        A drive does it before its first frame; without it, each set is built when it first comes.

        Args:
            on_progress: Told in words what happens now.
        """
        for expert in self.experts.values():
            expert.build(on_progress)

    def warm_up(self, camera: CameraModel) -> None:
        """Run every network once, so that the first frame is not the slowest.

        Args:
            camera: A view of the size that will come.
        """
        for expert in self.experts.values():
            expert.warm_up(camera)

    def fresh(self) -> Segmenter:
        """Make another segmenter of the same networks, which has seen nothing.

        Returns:
            A segmenter for another camera view of a recording: what it makes of a frame does
            not depend on frames of other views.
        """
        other = copy.copy(self)
        other.health = HealthMonitor(self.health.config)
        other._views = ViewStates()
        other._ranges = ThermalRanges()
        other._filter = TemporalFilter(self._filter.config)
        return other

    def reset(self) -> None:
        """Forget what the sensors showed and what ran: another recording begins."""
        self.health.reset()
        self._ranges = ThermalRanges()
        self._filter = TemporalFilter(self._filter.config)
        self._views = ViewStates()

    def _plan(self, bundle: SensorBundle) -> _Plan:
        """Health, routing and alignment of one bundle."""
        # Sensors: spoilt frames go, and each instance feeds the input that is meant for it.
        start = time.perf_counter()
        seen = leave_out_costly(self.health.check(bundle), self._runs_with)
        healthy = feed_inputs(seen.bundle, self._feeds)
        checked = time.perf_counter()
        # Is it day or night, and is a sensor missing without which no mask is wanted?
        view = self._views.look(healthy, self.table)
        missing = dict(healthy.missing)
        lacking = {str(m): missing[m] for m in bundle.required if m in missing}
        if lacking:
            why = '; '.join(f'{name}: {reason}' for name, reason in lacking.items())
            raise SegmentationError(f'required {", ".join(lacking)} missing ({why})')
        # The router chooses; what cannot be rendered for its choice is missing: it chooses anew.
        while True:
            present = frozenset(str(m) for m in healthy.frames if m not in missing)
            latency_ms = self._latencies.medians_ms(time.monotonic())
            reasons = {str(m): why for m, why in missing.items()}
            seems = view.condition
            routing_input = RoutingInput(
                present, reasons, seems.name, seems.confidence, latency_ms
            )
            decision, state = route(
                routing_input, view.state, self._roles, self.table, self.routing
            )
            self._views.keep(bundle.camera.frame_id, replace(view, state=state))
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
        sure = seems.confidence >= self.routing.min_condition_confidence
        condition = seems.name if sure else ''
        return _Plan(healthy, prepared, choice, decision.reason, missing, early_s, condition)

    def _runs_with(self, sensors: frozenset[str]) -> bool:
        """Whether any network can run with exactly these sensors."""
        stand_ins = self._feeds.items()
        fed = sensors | {str(m) for m, feeding in stand_ins if sensors & set(map(str, feeding))}
        return any(
            not role.unusable and fed >= set(role.required) and not fed.isdisjoint(role.modalities)
            for role in self._roles
        )

    def _result(
        self,
        plan: _Plan,
        output: Prediction,
        made: _Mask,
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
        result = hold_against_ground(result, plan.bundle, depth.returns, self.labels, self._ground)
        latency_s = {**result.latency_s, 'depth': time.perf_counter() - start}
        return replace(
            result,
            depth=depth.depth,
            depth_measured=depth.measured,
            projected=depth.projected,
            latency_s=latency_s,
        )
