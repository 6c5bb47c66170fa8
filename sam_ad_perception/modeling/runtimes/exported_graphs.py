"""Networks as ONNX graphs: exported when first needed, kept on disk, held against torch."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam_ad_perception.modeling.runtimes.backends import (
    BackendError,
    OnProgress,
    Runner,
    StaticBackend,
    TorchBackend,
)
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx
from sam_ad_perception.modeling.zoo.entries import ModelSpec

TOLERANCE = 0.01
"""Share of the pixels of a random input that may get another class than under torch."""

HALF_TOLERANCE = 0.05
"""The same in half precision; torch's own bfloat16 gives up to 0.025 of them another one."""

GRAPH = 'network.onnx'


class GraphBackend(StaticBackend):
    """A runtime with one exported graph per set of sensors.

    Each graph is held against torch when it is loaded: what makes another mask does not drive.

    Args:
        plain: torch with the network, which is exported, and runs sets that nobody prepared.
        spec: The zoo entry.
        cache: Folder of the graphs; made where it is not there.
        half: Whether the runtime may use half precision.
    """

    runtime = ''

    def __init__(
        self, plain: TorchBackend, spec: ModelSpec, cache: Path, *, half: bool = False
    ) -> None:
        super().__init__(plain)
        self.spec = spec
        self.half = half
        self.folder = cache / f'{spec.key}-{fingerprint(plain, spec)[:16]}'

    @abstractmethod
    def load(self, folder: Path, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Load a graph.

        Args:
            folder: Where it lies as `GRAPH`; the runtime may keep its own files there.
            names: Its inputs.
            on_progress: Told in words what happens now.

        Returns:
            What runs a batch of one.

        Raises:
            BackendError: It does not load.
        """

    def build(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Load the graph of one set of sensors, exported before where it is not there."""
        folder = self.folder / '+'.join(names)
        if not (folder / GRAPH).exists():
            on_progress(f'exporting {self.spec.key} for {"+".join(names)}')
            self._export(names, folder)
        run = self.load(folder, names, on_progress)
        self._compare(run, names)
        return run

    def _example(self, names: Sequence[str]) -> dict[str, Tensor]:
        rng = np.random.default_rng(0)
        shapes = {name: (1, self.spec.channels[name], *self.spec.input_size) for name in names}
        return {
            name: torch.from_numpy(rng.standard_normal(shape, np.float32))
            for name, shape in shapes.items()
        }

    def _export(self, names: Sequence[str], folder: Path) -> None:
        """Write a graph; it appears all at once, also to another process."""
        plain = self.plain
        images = {name: image.to(plain.device) for name, image in self._example(names).items()}
        make_private(self.folder.parent)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix='.export-', dir=folder.parent))
        try:
            # the runtime folds constants when it loads the graph
            export_onnx(plain.network, images, made / GRAPH, mean=plain.mean, optimize=False)
            if not folder.exists():
                os.replace(made, folder)
        except OSError:
            if not folder.exists():
                raise
        except Exception as err:  # an exporter that trips raises all sorts of things
            reason = (str(err).strip() or type(err).__name__).splitlines()[0]
            raise BackendError(f'export to ONNX: {reason}') from err
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _compare(self, run: Runner, names: Sequence[str]) -> None:
        """Hold a graph against torch in float32; this also warms the graph up."""
        plain = self.plain
        exact = TorchBackend(plain.network, plain.device, mean=plain.mean)
        images = self._example(names)
        got, expected = run(images)[0], exact.run(images).logits.cpu()
        other = float((got.argmax(1) != expected.argmax(1)).float().mean())
        if not got.isfinite().all():
            raise BackendError(f'{self.runtime} gives logits that are not finite')
        if not other <= (HALF_TOLERANCE if self.half else TOLERANCE):
            raise BackendError(
                f'{self.runtime} gives {other:.1%} of the pixels another class than torch with '
                f'{"+".join(names)}'
            )


def fingerprint(plain: TorchBackend, spec: ModelSpec) -> str:
    """Name a network by all that its graph depends on: weights, shape, code and versions.

    Args:
        plain: torch with the network.
        spec: Its entry.

    Returns:
        Hexadecimal SHA-256.
    """
    digest = hashlib.sha256()
    shape = (spec.key, spec.arguments, spec.channels, spec.input_size, plain.mean)
    digest.update(repr(shape).encode())
    for package in ('torch', 'onnxscript', 'onnxruntime', 'sam2', 'segment-anything'):
        try:
            digest.update(version(package).encode())
        except PackageNotFoundError:
            digest.update(b'none')
    for file in sorted(Path(__file__).parents[1].rglob('*.py')):
        digest.update(file.read_bytes())
    for name, value in plain.network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def default_cache() -> Path:
    """The user's folder of exported graphs: `sam_ad_perception` in the XDG cache directory."""
    base = os.environ.get('XDG_CACHE_HOME', '')
    return (Path(base) if base else Path.home() / '.cache') / 'sam_ad_perception'


def make_private(cache: Path) -> None:
    """Make a cache folder that only its owner can read and write: what lies in it is run.

    Args:
        cache: The folder.

    Raises:
        BackendError: It belongs to somebody else, or others may write into it.
    """
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = cache.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise BackendError(
            f'{cache} may be written by others (mode {status.st_mode & 0o777:o}), '
            'expected a folder of your own: chmod 700, or name another cache'
        )
