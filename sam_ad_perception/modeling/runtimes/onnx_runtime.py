"""ONNX Runtime as a backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam_ad_perception.modeling.runtimes.backends import (
    BackendError,
    Images,
    OnProgress,
    Runner,
    TorchBackend,
)
from sam_ad_perception.modeling.runtimes.exported_graphs import GRAPH, GraphBackend
from sam_ad_perception.modeling.runtimes.onnx_providers import (
    EXECUTION_PROVIDERS,
    find_problem,
    provider_options,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec


class OnnxBackend(GraphBackend):
    """ONNX Runtime on one or more of its execution providers.

    Args:
        plain: As of `GraphBackend`, as `spec` and `cache`.
        spec: Likewise.
        providers: Keys of `EXECUTION_PROVIDERS`, in the order of preference.
        cache: Likewise.
        half: Whether TensorRT may use float16.

    Raises:
        BackendError: One of the providers does not load.
    """

    runtime = 'ONNX Runtime'
    title = 'preparing ONNX Runtime'

    def __init__(
        self,
        plain: TorchBackend,
        spec: ModelSpec,
        providers: Sequence[str],
        cache: Path,
        *,
        half: bool = False,
    ) -> None:
        for name in providers:
            problem = find_problem(name)
            if problem:
                raise BackendError(f'ONNX Runtime, provider {name}: {problem}')
        super().__init__(plain, spec, cache, half=half)
        self.providers = tuple(providers)

    def load(self, folder: Path, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Make a session; TensorRT builds an engine the first time, which takes minutes."""
        if 'tensorrt' in self.providers:
            on_progress(f'TensorRT builds an engine for {"+".join(names)} where {folder} has none')
        session = self._start(folder)

        def run(inputs: Images) -> tuple[Tensor, Tensor | None]:
            images = {name: image.numpy() for name, image in inputs.items()}
            logits, *gate = (torch.from_numpy(each) for each in session.run(None, images))
            return logits, gate[0] if gate else None

        return run

    def _start(self, folder: Path) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of every constant that it does not fold
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin between two operators take the cores from the nodes beside.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        engines = folder / ('float16' if self.half else 'float32')
        engines.mkdir(exist_ok=True)
        chosen = provider_options(self.providers, self.plain.device, engines, self.half)
        try:
            session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=chosen)
        except Exception as err:  # its exceptions have no public base
            reason = (str(err).strip() or type(err).__name__).splitlines()[0]
            raise BackendError(f'ONNX Runtime: {reason}') from err
        running = session.get_providers()
        for name in self.providers:
            if EXECUTION_PROVIDERS[name] not in running:
                raise BackendError(f'ONNX Runtime left {name} out, it runs on {running}')
        return session
