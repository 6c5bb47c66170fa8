"""A network as an ONNX file: one input per modality, one output, the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sam_ad_perception.modeling.deformable import onnx_translations

OPSET = 20
"""First opset with DeformConv, GELU and 5-D GridSample."""


class LogitsOnly(nn.Module):
    """A network with positional inputs and the logits as its only output.

    Args:
        network: The network, whose forward takes a mapping from modality to image.
        modalities: Order of the inputs.
    """

    def __init__(self, network: nn.Module, modalities: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.modalities = tuple(modalities)

    def forward(self, *images: Tensor) -> Tensor:
        """Map images (B, C, H, W), one per modality, to logits (B, classes, h, w)."""
        inputs = dict(zip(self.modalities, images, strict=True))
        logits: Tensor = self.network(inputs, with_aux=False).logits
        return logits


def export_onnx(
    network: nn.Module, inputs: Mapping[str, Tensor], path: Path, *, optimize: bool = True
) -> None:
    """Write a network for the shapes and the modalities of example inputs.

    The file's inputs are named by modality, its output `logits`. All sizes are fixed.

    Args:
        network: The network in inference mode, on the CPU.
        inputs: Example image (B, C, H, W) of each modality.
        path: File to write; weights are inside it.
        optimize: Whether to fold constants here; a runtime does it too, when it loads the file.

    Raises:
        ImportError: `onnxscript` is not installed.
        OSError: The file cannot be written.
    """
    with torch.no_grad():  # with gradients, attention is traced in a form that does not export
        program = torch.onnx.export(
            LogitsOnly(network, tuple(inputs)).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=['logits'],
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=dict(onnx_translations()),
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
