"""OpenVINO as a backend: Intel's runtime for networks on a CPU, in float32 or bfloat16."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam_ad_perception.core.console.install_advice import install_advice
from sam_ad_perception.modeling.runtimes.backends import (
    BackendError,
    Images,
    OnProgress,
    Runner,
    TorchBackend,
)
from sam_ad_perception.modeling.runtimes.exported_graphs import GRAPH, GraphBackend
from sam_ad_perception.modeling.zoo.entries import ModelSpec

COMPILED = {False: 'openvino_f32', True: 'openvino_bf16'}
"""Folders beside a graph in which OpenVINO keeps what it compiled for this processor, by half
precision. In one folder it would take rounded weights for those of float32: the precision is not
in the name of what it keeps."""


class OpenVinoBackend(GraphBackend):
    """OpenVINO on the CPU.

    Its ONNX reader has no rule for deformable convolution (opset 19), which its own operators
    have: `_deformable_convolution` is that rule.

    Args:
        plain: As of `GraphBackend`, as `spec` and `cache`.
        spec: Likewise.
        cache: Likewise.
        half: Whether operators that bear it run in bfloat16.

    Raises:
        BackendError: It is not installed, does not load, or cannot do what is asked here.
    """

    runtime = 'OpenVINO'
    title = 'preparing OpenVINO'

    def __init__(
        self, plain: TorchBackend, spec: ModelSpec, cache: Path, *, half: bool = False
    ) -> None:
        problem = find_problem(half=half)
        if not problem and plain.device.type != 'cpu':
            problem = f'runs networks on the CPU only, and model.device is {plain.device}'
        if problem:
            raise BackendError(f'OpenVINO {problem}')
        super().__init__(plain, spec, cache, half=half)

    def load(self, folder: Path, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Compile a graph for this processor, or take what was compiled before."""
        return compile_graph(folder, half=self.half, threads=torch.get_num_threads())


def compile_graph(folder: Path, *, half: bool, threads: int) -> Runner:
    """Make an ONNX graph ready to run on the CPU.

    Args:
        folder: Where it lies as `GRAPH`; what is compiled of it is kept in `COMPILED` there.
        half: Whether operators that bear it run in bfloat16.
        threads: Of the operators.

    Returns:
        What runs it: images by the names of its inputs in, its first output and, if it has one,
        its second out.

    Raises:
        BackendError: It cannot be read, or not be compiled.
    """
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    core = openvino.Core()
    core.set_property({'CACHE_DIR': str(folder / COMPILED[half])})
    core.add_extension(ConversionExtension('DeformConv', _deformable_convolution))
    options = {
        'INFERENCE_PRECISION_HINT': 'bf16' if half else 'f32',
        'INFERENCE_NUM_THREADS': threads,
        'PERFORMANCE_HINT': 'LATENCY',
        'NUM_STREAMS': 1,
        # Threads bound to cores would keep those from the nodes beside.
        'ENABLE_CPU_PINNING': False,
    }
    try:
        model = core.compile_model(core.read_model(folder / GRAPH), 'CPU', options)
        request = model.create_infer_request()
    except Exception as err:  # RuntimeErrors of many lines, of which the last says most
        reason = [line.strip() for line in str(err).splitlines() if line.strip()]
        raise BackendError(f'OpenVINO: {reason[-1] if reason else type(err).__name__}') from err

    def run(inputs: Images) -> tuple[Tensor, Tensor | None]:
        images = {name: image.numpy() for name, image in inputs.items()}
        made = request.infer(images, share_inputs=True)
        logits, *gate = (torch.from_numpy(made[port]) for port in model.outputs)
        return logits, gate[0] if gate else None

    return run


def find_problem(*, half: bool = False) -> str:
    """Find out why OpenVINO cannot run networks here.

    Args:
        half: Whether it is to run them in bfloat16.

    Returns:
        The reason as what follows its name in a sentence; empty where it can.
    """
    if importlib.util.find_spec('openvino') is None:
        return f'is not installed: {install_advice("openvino")}'
    try:
        import openvino

        able = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    except (ImportError, OSError, RuntimeError) as err:
        reason = (str(err).strip() or type(err).__name__).splitlines()[0]
        return f'does not load: {reason}'
    if half and 'BF16' not in able:
        return 'finds no bfloat16 in this processor: set model.half to false'
    return ''


def _deformable_convolution(node: Any) -> list[Any]:
    """Translate ONNX's DeformConv (X, W, offset, B, mask) to OpenVINO's DeformableConvolution-8.

    Samples beyond the edge are interpolated with zeros there, as ONNX and torchvision do.
    """
    from openvino import opset8

    x, weight, offset, *rest = (node.get_input(i) for i in range(node.get_input_size()))
    pads = node.get_attribute('pads', [0, 0, 0, 0])
    # without a mask every sample counts whole
    mask = {'mask': rest[1]} if len(rest) > 1 else {}
    out = opset8.deformable_convolution(
        x,
        offset,
        weight,
        node.get_attribute('strides', [1, 1]),
        pads[:2],
        pads[2:],
        node.get_attribute('dilations', [1, 1]),
        auto_pad='EXPLICIT',
        group=node.get_attribute('group', 1),
        deformable_group=node.get_attribute('offset_group', 1),
        bilinear_interpolation_pad=True,
        **mask,
    )
    if rest:
        bias = opset8.reshape(rest[0], np.array([1, -1, 1, 1]), special_zero=False)
        out = opset8.add(out, bias)
    return [out.output(0)]
