"""The networks on a GPU: encoders beside the official modules, whole networks and whole frames.

python -m benchmarks.networks.gpu [--device cuda] [--repeats 20] [--only encoders networks frames]
Needs torch, numba, OpenCV, rich, sam2 with hydra-core, and segment-anything; no ROS, and no file
from elsewhere: weights are random, frames are simulated. The official modules run eagerly in
float32; ours in bfloat16, eagerly and compiled with CUDA graphs. `share` is what the operations
would take at the measured rate of bfloat16 matrix products over our time. GPU times are those of
CUDA events; a whole frame is wall time from bundle to mask on the host: image and points drawn and
the mask made on the GPU, beside all of that on the host. `agree` is the share of the pixels to
which both give the same class. Figures are saved after each row. On a CPU, tiny networks run and
nothing is saved: that shows only that the script works.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks.official import official_encoder
from benchmarks.result_files import compare, save_results
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
from sam_ad_perception.modeling.encoders.hiera import HIERA_SPECS, build_trunk
from sam_ad_perception.modeling.encoders.sam_vit import SamVit, resize_position
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.hardware_limits import measure_rates, wait
from sam_ad_perception.modeling.inference.segmenter import SegmentationError, Segmenter
from sam_ad_perception.modeling.runtimes.backends import BackendConfig
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.simulation.drives.drive import DriveConfig
from sam_ad_perception.simulation.drives.sample_frames import sample_frames

ZOO = Path(__file__).parents[2] / 'models' / 'zoo.yaml'
NETWORKS = {'ad_sam': (4, 1), 'mle_sam_hiera_base_plus': (4, 1), 'fusion_sam': (4,)}
TINY_NETWORKS = {'ad_sam_small': (4,), 'mle_sam_demo': (4, 1), 'fusion_sam_small': (4,)}
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
PARTS = ('encoders', 'networks', 'frames')


def median_ms(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call, milliseconds; of the GPU's work on one. The first ones warm up."""
    times, warm = [], 3 if device.type == 'cuda' else 1
    for number in range(repeats + warm):
        if device.type == 'cuda':
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            call()
            last.record()
            torch.cuda.synchronize(device)
            spent = first.elapsed_time(last)
        else:
            start = time.perf_counter()
            call()
            spent = 1e3 * (time.perf_counter() - start)
        if number >= warm:
            times.append(spent)
    return sorted(times)[len(times) // 2]


def official_vit(name: str, size: int) -> nn.Module:
    """The official ViT encoder at a size, with random weights."""
    spec = SAM_VIT_SPECS[name]
    encoder = official_encoder(spec)
    grid = (size // 16, size // 16)
    encoder.pos_embed = nn.Parameter(resize_position(encoder.pos_embed.detach(), grid))
    return encoder


def encoder_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """ViT and Hiera: official float32, ours in bfloat16, ours compiled."""
    device, size = arguments.device, arguments.size
    image = torch.randn(1, 3, size, size, device=device)
    vit, hiera = ('vit_b', 'micro') if arguments.tiny else ('vit_h', 'base_plus')
    hiera_of = partial(build_trunk, HIERA_SPECS[hiera])
    rates = measure_rates(device, half=True)
    yield {'what': 'bf16 matrix products', 'unit': 'TFLOP/s', 'ours': rates.operations / 1e12}
    yield {'what': 'memory', 'unit': 'GB/s', 'ours': rates.bytes / 1e9}
    for name, official, ours in (
        (
            f'SAM {vit} encoder',
            partial(official_vit, vit, size),
            partial(SamVit, SAM_VIT_SPECS[vit]),
        ),
        (f'Hiera {hiera} trunk', hiera_of, hiera_of),
    ):
        with torch.inference_mode():
            peer = official().to(device).eval()
            with FlopCounterMode(display=False) as counter:
                peer(image)
            peer_ms = median_ms(lambda m=peer: m(image), device, arguments.repeats)
            del peer
            module = ours().to(device, torch.bfloat16).eval()
            small = image.bfloat16()
            forms = {'eager': module}
            if not arguments.tiny:
                forms['CUDA graphs'] = torch.compile(module, mode='reduce-overhead')
            for form, run in forms.items():
                own_ms = median_ms(partial(run, small), device, arguments.repeats)
                limit_ms = 1e3 * counter.get_total_flops() / rates.operations
                row = compare(f'{name}, {form}', 'ms', own_ms, 'official float32', peer_ms)
                yield row | {'share': limit_ms / own_ms}
            del module, forms


def experts(arguments: argparse.Namespace) -> Iterator[tuple[str, ExpertNetwork]]:
    """The networks with random weights, as they drive: bfloat16, with and without graphs."""
    zoo = load_zoo(ZOO)
    for key in TINY_NETWORKS if arguments.tiny else NETWORKS:
        spec = zoo[key]
        if not arguments.tiny:
            spec = dataclasses.replace(spec, input_size=(arguments.size, arguments.size))
        for backend in ('torch',) if arguments.tiny else ('torch', 'compile'):
            torch.manual_seed(0)
            config = BackendConfig(backend, half=True)
            yield backend, ExpertNetwork(spec, build_model(spec), arguments.device, config)


def network_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """From inputs on the host to logits on the device."""
    (bundle,) = sample_frames(DriveConfig(duration_s=1.0), 1, SENSORS)
    counts = TINY_NETWORKS if arguments.tiny else NETWORKS
    for backend, expert in experts(arguments):
        for count in counts[expert.spec.key]:
            subset = list(expert.spec.inputs)[:count]
            expert.on_device = False
            item = expert.prepare(bundle, subset, ThermalRanges())
            run = partial(expert.run, [item])
            spent = median_ms(run, arguments.device, arguments.repeats)
            yield compare(f'{expert.spec.key}, {backend}, {"+".join(item.inputs)}', 'ms', spent)


def frame_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """From bundles to masks, 1080p camera and 131 thousand points, by stage."""
    size = (400, 640) if arguments.tiny else (1080, 1920)
    (bundle,) = sample_frames(DriveConfig(duration_s=1.0, size=size), 1, SENSORS, 131_072)
    counts = TINY_NETWORKS if arguments.tiny else NETWORKS
    for backend, expert in experts(arguments):
        for count in counts[expert.spec.key]:
            names = list(expert.spec.inputs)[:count]
            some = {m: frame for m, frame in bundle.frames.items() if m in names}
            seen = dataclasses.replace(bundle, frames=some)
            expert.on_device = False
            host_ms, host = median_frame(expert, seen, arguments)
            expert.on_device = True
            own_ms, own = median_frame(expert, seen, arguments)
            what = f'{expert.spec.key}, {backend}, frame, {"+".join(names)}'
            yield compare(what, 'ms', own_ms, 'drawn and decoded on the host', host_ms) | {
                'stages_ms': {stage: 1e3 * s for stage, s in own.latency_s.items()},
                'host_stages_ms': {stage: 1e3 * s for stage, s in host.latency_s.items()},
                'agree': float((own.mask == host.mask).mean()),
            }


def median_frame(
    expert: ExpertNetwork, bundle: SensorBundle, arguments: argparse.Namespace
) -> tuple[float, Segmentation]:
    """The frame of median time, without a depth image: milliseconds, and what came out."""
    segmenter, frames = Segmenter([expert]), []
    for _ in range(arguments.repeats + 3):
        segmenter.reset()
        wait(arguments.device)
        start = time.perf_counter()
        (result,) = segmenter.segment_each([bundle], depth=[False])
        if isinstance(result, SegmentationError):
            raise result
        frames.append((1e3 * (time.perf_counter() - start), result))
    return sorted(frames[3:], key=lambda frame: frame[0])[len(frames[3:]) // 2]


def main() -> None:
    """Measure part by part, and save after each row."""
    warnings.filterwarnings('ignore', module='torch')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--size', type=int, default=1024, help='side of the input, pixels')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    arguments.device = torch.device(arguments.device)
    arguments.tiny = arguments.device.type == 'cpu'
    if arguments.tiny:
        arguments.size, arguments.repeats = 64, 1
    parts = {'encoders': encoder_rows, 'networks': network_rows, 'frames': frame_rows}
    console, rows = Console(), []
    device = torch.cuda.get_device_name() if not arguments.tiny else 'CPU'
    for part in arguments.only:
        try:
            for row in parts[part](arguments):
                rows.append(row | {'device': device})
                console.print(row, highlight=False)
                if not arguments.tiny:
                    save_results('gpu', rows)
        except RuntimeError as err:  # the other parts have their say all the same
            console.print(f'{part}: {err}', markup=False)


if __name__ == '__main__':
    main()
