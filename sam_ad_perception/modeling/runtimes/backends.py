"""How a network runs: by torch, compiled by torch, by ONNX Runtime or OpenVINO; the same mask.

All take tensors, on the host or where the network runs, and leave what they make where they made
it: nothing waits for a GPU here. torch runs any set of sensors and any batch at any time. The
others are built for one set of sensors, take one image at a time, and, once `prepare` was called,
leave a set that it did not name to torch: no frame of a drive waits for a compiler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_ad_perception.modeling.devices import is_lost
from sam_ad_perception.modeling.network import SegmentationNetwork

BACKENDS = ('torch', 'compile', 'onnx', 'openvino', 'auto')
PROVIDERS = ('auto', 'cpu', 'cuda', 'tensorrt')

MAX_COMPILED = 256
"""torch compiles a function again for so many sets of sensors; by itself it gives up after 8."""

Images = Mapping[str, Tensor]
OnProgress = Callable[[str], object]
Runner = Callable[[Images], tuple[Tensor, Tensor | None]]


class BackendError(RuntimeError):
    """A backend that cannot be built here; the message says why."""


@dataclass(frozen=True)
class BackendConfig:
    """Which backend runs the networks.

    Attributes:
        name: One of `BACKENDS`.
        providers: Of ONNX Runtime, in the order of preference, each of `PROVIDERS`; `auto` takes
            CUDA where the network is to run on a GPU, else the CPU.
        half: Half precision, where the backend has it: bfloat16 under torch and OpenVINO, float16
            with TensorRT.
        cache: Folder of exported graphs and built engines; None for one of the user's.

    Raises:
        ValueError: An unknown name.
    """

    name: str = 'torch'
    providers: tuple[str, ...] = ('auto',)
    half: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.name not in BACKENDS:
            raise ValueError(f'backend must be one of {BACKENDS}, got {self.name!r}')
        unknown = [name for name in self.providers if name not in PROVIDERS]
        if unknown or not self.providers:
            raise ValueError(
                f'providers must be some of {PROVIDERS}, got {list(self.providers) or "none"}'
            )


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network made of a batch, on the device where it was made.

    Attributes:
        logits: (B, classes, h, w) float32, whose grid spans the input.
        gate: (L, B, M) float32 weights of the M modalities at L levels, sum 1 over M; None
            without a gate.
        modalities: The M modalities that entered the network, in the order of `gate`.
    """

    logits: Tensor
    gate: Tensor | None
    modalities: tuple[str, ...]


class Backend(Protocol):
    """Runs one network."""

    def prepare(self, sets: Sequence[Sequence[str]], on_progress: OnProgress) -> None:
        """Build what it needs for these sets of sensors, before the first frame.

        Args:
            sets: Sets of modalities, each in the order of the zoo entry.
            on_progress: Told in words what happens now.

        Raises:
            BackendError: It cannot be built here.
        """

    def run(self, inputs: Images) -> Prediction:
        """Run the network on a batch.

        Args:
            inputs: (B, C, H, W) float32 of each present modality, in the order of the zoo entry;
                on the host or where the network runs.

        Returns:
            The network's logits and weights.

        Raises:
            BackendError: It cannot be built for these sensors.
        """


class ExportWrapper(nn.Module):
    """A network as it drives: positional images in, the logits and, if it has one, the gate out.

    Args:
        network: The network.
        modalities: Order of the images.
        mean: Whether the logits are the mean of both heads', not the main one's.
    """

    def __init__(
        self, network: SegmentationNetwork, modalities: Sequence[str], *, mean: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.modalities = tuple(modalities)
        self.mean = mean

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, C, H, W) to logits (B, classes, h, w) and gate (L, B, M)."""
        inputs = dict(zip(self.modalities, images, strict=True))
        output = self.network(inputs, with_aux=self.mean)
        logits: Tensor = output.logits
        if self.mean:
            assert output.aux_logits is not None  # the entry's arguments made sure
            size = list(output.aux_logits.shape[-2:])
            if list(logits.shape[-2:]) != size:
                logits = F.interpolate(logits, size=size, mode='bilinear', align_corners=False)
            logits = 0.5 * (logits + output.aux_logits)
        return (logits,) if output.gate is None else (logits, output.gate)


class TorchBackend:
    """torch, operator by operator.

    Args:
        network: The network in inference mode; it is moved to the device.
        device: Where it runs.
        mean: See `ExportWrapper`.
        half: Whether operators that bear it run in bfloat16.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        device: torch.device,
        *,
        mean: bool = False,
        half: bool = False,
    ) -> None:
        self.network = network.to(device)
        self.device = device
        self.mean = mean
        self.half = half

    def prepare(self, sets: Sequence[Sequence[str]], on_progress: OnProgress) -> None:
        """Do nothing: every set of sensors runs as it is."""

    def run(self, inputs: Images) -> Prediction:
        """Run a batch; see `Backend.run`."""
        logits, gate = self.call(
            ExportWrapper(self.network, tuple(inputs), mean=self.mean), inputs
        )
        return Prediction(logits, gate, tuple(inputs))

    @torch.inference_mode()
    def call(
        self, form: Callable[..., tuple[Tensor, ...]], inputs: Images
    ) -> tuple[Tensor, Tensor | None]:
        """Bring a batch to the device, and run a form of the network there.

        Args:
            form: A `ExportWrapper`, or what was made of it.
            inputs: As of `run`.

        Returns:
            Logits and gate as of `Prediction`.
        """
        images = [
            # copied to a GPU from pinned memory while this thread goes on
            image.pin_memory() if self.device.type == 'cuda' and not image.is_cuda else image
            for image in inputs.values()
        ]
        images = [image.to(self.device, non_blocking=True) for image in images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            made = form(*images)
        logits, *gate = (each.float() for each in made)
        return logits, gate[0] if gate else None


class StaticBackend(ABC):
    """What is built once per set of sensors, for one image.

    Args:
        plain: torch, for sets that nobody prepared.
    """

    title = ''

    def __init__(self, plain: TorchBackend) -> None:
        self.plain = plain
        self._runners: dict[tuple[str, ...], Runner] = {}
        self._prepared = False

    @abstractmethod
    def build(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Build the network for one set of sensors.

        Args:
            names: The modalities.
            on_progress: Told in words what happens now.

        Returns:
            What runs a batch of one.

        Raises:
            BackendError: It cannot be built here.
        """

    def prepare(self, sets: Sequence[Sequence[str]], on_progress: OnProgress) -> None:
        """Build all of these sets; from now on others run under torch; see `Backend.prepare`."""
        for number, names in enumerate(map(tuple, sets), 1):
            on_progress(f'{self.title}: {"+".join(names)}, {number} of {len(sets)}')
            self.runner(names, on_progress)
        self._prepared = True

    def run(self, inputs: Images) -> Prediction:
        """Run a batch, image by image; see `Backend.run`."""
        names = tuple(inputs)
        if self._prepared and names not in self._runners:
            return self.plain.run(inputs)
        runner = self.runner(names, _keep_quiet)
        size = len(next(iter(inputs.values())))
        parts = [
            runner({name: images[row : row + 1] for name, images in inputs.items()})
            for row in range(size)
        ]
        if size == 1:
            return Prediction(*parts[0], names)
        gates = [gate for _, gate in parts if gate is not None]
        return Prediction(
            torch.cat([logits for logits, _ in parts]),
            torch.cat(gates, dim=1) if gates else None,
            names,
        )

    def runner(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """What runs one set of sensors, built where it was not yet; see `build`."""
        if names not in self._runners:
            self._runners[names] = self.build(names, on_progress)
        return self._runners[names]


class CompiledBackend(StaticBackend):
    """torch.compile: fused operators, and on a GPU one CUDA graph per set of sensors.

    Args:
        plain: torch with the network.
        channels: Channels of each modality's image.
        size: Network input size `(H, W)`, pixels.
    """

    title = 'compiling'

    def __init__(
        self, plain: TorchBackend, channels: Mapping[str, int], size: tuple[int, int]
    ) -> None:
        super().__init__(plain)
        self.channels = channels
        self.size = size

    def build(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Compile, and run twice: a CUDA graph is recorded in the second run."""
        plain = self.plain
        graphs = plain.device.type == 'cuda'
        torch._dynamo.config.recompile_limit = MAX_COMPILED
        form = torch.compile(
            ExportWrapper(plain.network, names, mean=plain.mean),
            dynamic=False,
            fullgraph=True,
            mode='reduce-overhead' if graphs else 'default',
        )

        def run(inputs: Images) -> tuple[Tensor, Tensor | None]:
            if not graphs:
                return plain.call(form, inputs)
            torch.compiler.cudagraph_mark_step_begin()
            logits, gate = plain.call(form, inputs)
            # the next run writes over what this one made
            return logits.clone(), None if gate is None else gate.clone()

        blank = {name: torch.zeros(1, self.channels[name], *self.size) for name in names}
        try:
            for _ in range(2):
                run(blank)
        except Exception as err:  # a compiler that is missing, or trips, raises all sorts
            if is_lost(err) or isinstance(err, torch.OutOfMemoryError):
                raise
            reason = (str(err).strip() or type(err).__name__).splitlines()[0]
            raise BackendError(f'torch.compile: {reason}') from err
        return run


def _keep_quiet(text: str) -> None:
    """Tell nobody."""
