"""ONNX Runtime's execution providers: what runs a graph, and why one of them cannot here."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

EXECUTION_PROVIDERS = {
    'cpu': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}
"""The names of `backends.PROVIDERS` as ONNX Runtime has them."""


@dataclass(frozen=True)
class ProviderReport:
    """An execution provider on this machine.

    Attributes:
        name: `cpu`, `cuda` or `tensorrt`.
        problem: Why it does not load; empty where it does.
    """

    name: str
    problem: str


def report_providers() -> tuple[ProviderReport, ...]:
    """Look at every provider that a network may run on.

    Returns:
        One report per provider.
    """
    return tuple(ProviderReport(name, find_problem(name)) for name in EXECUTION_PROVIDERS)


def find_problem(name: str) -> str:
    """Find out why a provider does not load.

    Args:
        name: A key of `EXECUTION_PROVIDERS`.

    Returns:
        The reason in words; empty where it loads.
    """
    if importlib.util.find_spec('onnxruntime') is None:
        return 'onnxruntime is not installed'
    try:
        import onnxruntime
    except (ImportError, OSError) as err:
        return f'onnxruntime does not load: {err}'
    if EXECUTION_PROVIDERS[name] not in onnxruntime.get_available_providers():
        return (
            f'onnxruntime {onnxruntime.__version__} is built without it (onnxruntime-gpu has it)'
        )
    if name == 'cpu':
        return ''
    # ONNX Runtime itself writes the reason to its log and goes on with another provider.
    folder = Path(onnxruntime.__file__).parent / 'capi'
    for library in ('shared', name):
        try:
            ctypes.CDLL(str(folder / f'libonnxruntime_providers_{library}.so'), ctypes.RTLD_GLOBAL)
        except OSError as err:
            return str(err)
    return '' if torch.cuda.is_available() else 'there is no GPU that CUDA can use'


def choose_providers(names: Sequence[str], device: torch.device) -> tuple[str, ...]:
    """Say which providers are meant.

    Args:
        names: As of `BackendConfig.providers`.
        device: Where the network is to run.

    Returns:
        Keys of `EXECUTION_PROVIDERS`, each once, in order.
    """
    own = 'cuda' if device.type == 'cuda' else 'cpu'
    return tuple(dict.fromkeys(own if name == 'auto' else name for name in names))


def provider_options(
    names: Sequence[str], device: torch.device, folder: Path, half: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Write providers with their options as ONNX Runtime takes them.

    Args:
        names: Keys of `EXECUTION_PROVIDERS`.
        device: Where the network is to run; its index is that of the GPU.
        folder: Where TensorRT keeps its engines and what it timed.
        half: Whether TensorRT may use float16.

    Returns:
        Name and options of each.
    """
    index = {'device_id': device.index or 0}
    options: dict[str, dict[str, Any]] = {
        'cpu': {},
        'cuda': index,
        'tensorrt': {
            **index,
            'trt_fp16_enable': half,
            'trt_engine_cache_enable': True,
            'trt_engine_cache_path': str(folder),
            'trt_timing_cache_enable': True,
            'trt_timing_cache_path': str(folder),
        },
    }
    return [(EXECUTION_PROVIDERS[name], options[name]) for name in names]
