"""Options that say which network runs on what, checked before a recording is opened."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from sam_ad_perception.core.console.command_line import (
    existing_file,
    existing_folder,
    whole_number,
)

if TYPE_CHECKING:
    from sam_ad_perception.nodes.ros.configuration import ModelConfig

PARAMS_ADVICE = 'sam_ad check BAG --write FILE makes one'
CHECKPOINT_ADVICE = 'it holds the files that `sam_ad models` names'
ZOO_ADVICE = 'leave --zoo out for the one of the package'


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--zoo`, `--checkpoints` and `--device`."""
    parser.add_argument(
        '--model', help='entry of the zoo, or a file or folder that `sam_ad export` wrote'
    )
    parser.add_argument('--zoo', type=existing_file(ZOO_ADVICE), help='zoo file')
    parser.add_argument(
        '--checkpoints',
        type=existing_folder(CHECKPOINT_ADVICE),
        help='folder of checkpoints',
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:N')


def add_params_option(parser: argparse.ArgumentParser) -> None:
    """Add `--params`."""
    parser.add_argument(
        '--params',
        type=existing_file(PARAMS_ADVICE),
        help='parameter file of the segmentation node',
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument(
        '--threads', type=whole_number(0), help='of the network on a CPU; 0: all of them'
    )


def override_model(config: ModelConfig, options: argparse.Namespace) -> ModelConfig:
    """Put what the command line says over what the parameter file says.

    Args:
        config: Of the parameter file.
        options: Of `add_model_options`, and `threads` and `backend` where the command has them.

    Returns:
        The parameters of the network.
    """
    said = {
        'key': options.model,
        'zoo': str(options.zoo) if options.zoo else None,
        'checkpoint_dir': str(options.checkpoints) if options.checkpoints else None,
        'device': options.device,
        'threads': getattr(options, 'threads', None),
        'backend': getattr(options, 'backend', None),
    }
    return replace(config, **{name: value for name, value in said.items() if value is not None})
