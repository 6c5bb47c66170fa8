"""A network as ONNX files: one input per modality; the logits and, if it has one, the gate.

A graph has its sensors written into it, so each set of sensors has a file of its own, in which
absent ones cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.label_files import label_space_values
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.runtimes.backends import ExportWrapper
from sam_ad_perception.modeling.zoo.entries import ModelSpec, sensor_sets

OPSET = 20
"""First opset with DeformConv, GELU and 5-D GridSample."""

ONE_FILE_BYTES = 1_500_000_000
"""An ONNX file ends at 2 GiB; the weights of larger networks lie beside it."""


@dataclass(frozen=True)
class OnnxFile:
    """A network for one set of sensors.

    Attributes:
        path: The file.
        modalities: Names of its inputs.
        agreement: Share of the pixels of a random input that get the same class under ONNX
            Runtime as under torch, 0..1.
        error: Largest difference of the logits over their largest value.
    """

    path: Path
    modalities: tuple[str, ...]
    agreement: float
    error: float


def export_onnx(
    network: SegmentationNetwork,
    inputs: Mapping[str, Tensor],
    path: Path,
    *,
    mean: bool = False,
    optimize: bool = True,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a network for the shapes and the modalities of example inputs.

    The file's inputs are named by modality, its outputs `logits` and, where the network has one,
    `gate`. All sizes are fixed. The weights are inside it, or beside it (`.onnx.data`) where one
    file could not hold them.

    Args:
        network: The network in inference mode.
        inputs: Example image (B, C, H, W) of each modality, on the network's device.
        path: File to write.
        mean: Whether the logits are the mean of both heads', not the main one's.
        optimize: Whether to fold constants here; a runtime does it too, when it loads the file.
        facts: What the file carries as metadata.

    Raises:
        ImportError: `onnxscript` is not installed.
        OSError: The file cannot be written.
    """
    # imported only here: torchvision takes two seconds, and only an export needs onnxscript
    from sam_ad_perception.modeling.networks.deformable import onnx_translations

    deployed = ExportWrapper(network, tuple(inputs), mean=mean).eval()
    with torch.no_grad():  # with gradients, attention is traced in a form that does not export
        outputs = deployed(*inputs.values())
        program = torch.onnx.export(
            deployed,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=['logits', 'gate'][: len(outputs)],
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=dict(onnx_translations()),
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(facts or {})
    held = sum(p.numel() * p.element_size() for p in network.parameters())
    program.save(path, external_data=held > ONE_FILE_BYTES)


def export_sensor_sets(
    network: SegmentationNetwork, spec: ModelSpec, sets: Sequence[Sequence[str]], folder: Path
) -> Iterator[OnnxFile]:
    """Write one file per set of sensors, and run each under ONNX Runtime beside the network.

    Args:
        network: The entry's network, on the CPU.
        spec: The entry.
        sets: Sets of its modalities.
        folder: Where `KEY.SENSOR+SENSOR.onnx` are written; made if it is not there.

    Yields:
        Each file when it is written.

    Raises:
        ValueError: A set that the network does not take.
        ImportError: `onnxscript` or `onnxruntime` is not installed.
        OSError: A file cannot be written.
    """
    allowed = {frozenset(s): s for s in sensor_sets(spec)}
    for names in sets:
        if frozenset(names) not in allowed:
            strange = next((name for name in names if name not in spec.inputs), '')
            raise ValueError(
                f'{spec.key} does not take the sensors {list(names)}, expected some of '
                f'{list(spec.inputs)} with {list(spec.required) or "at least one"}'
                f'{did_you_mean(strange, spec.inputs) if strange else ""}'
            )
    folder.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    for names in (allowed[frozenset(names)] for names in sets):
        generator = torch.Generator().manual_seed(0)
        shapes = {name: (1, spec.channels[name], *spec.input_size) for name in names}
        inputs = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
        path = folder / f'{spec.key}.{"+".join(names)}.onnx'
        facts = {'label_space': json.dumps(label_space_values(spec.labels))}
        if spec.checkpoint.sha256:
            facts['weights_sha256'] = spec.checkpoint.sha256
        export_onnx(network, inputs, path, mean=spec.mean_of_heads, facts=facts)
        shares = compare_onnx(network, inputs, path, mean=spec.mean_of_heads)
        yield OnnxFile(path, names, *shares)


def compare_onnx(
    network: SegmentationNetwork, inputs: Mapping[str, Tensor], path: Path, *, mean: bool = False
) -> tuple[float, float]:
    """Run a file under ONNX Runtime, on the CPU, beside the network it was made from.

    Args:
        network: The network in inference mode, on the CPU.
        inputs: Image (B, C, H, W) of each modality, of the file's shapes.
        path: The file.
        mean: As of `export_onnx`.

    Returns:
        `agreement` and `error` as of `OnnxFile`.

    Raises:
        ImportError: `onnxruntime` is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every constant that it does not fold
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    (made,) = session.run(['logits'], {name: image.numpy() for name, image in inputs.items()})
    with torch.inference_mode():
        expected = ExportWrapper(network, tuple(inputs), mean=mean)(*inputs.values())[0]
    got = torch.from_numpy(made)
    agreement = (got.argmax(1) == expected.argmax(1)).float().mean()
    return float(agreement), float((got - expected).abs().max() / expected.abs().max())
