"""`sam_ad export`; libraries are imported when it runs, not to show its help."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam_ad_perception.commands.options.model import CHECKPOINT_ADVICE, ZOO_ADVICE
from sam_ad_perception.core.console.command_line import existing_file, existing_folder
from sam_ad_perception.core.console.install_advice import install_advice
from sam_ad_perception.core.console.outputs import new_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sam_ad export` to its parser."""
    parser.add_argument('model', help='entry of the zoo')
    parser.add_argument('--out', type=new_folder(), required=True, help='folder of the files')
    parser.add_argument(
        '--sensors',
        action='append',
        type=lambda text: tuple(text.split(',')),
        metavar='NAME,NAME',
        help='only this set of sensors; may be given several times',
    )
    parser.add_argument(
        '--zoo', type=existing_file(ZOO_ADVICE), help='zoo file, default: the one of the package'
    )
    parser.add_argument(
        '--checkpoints', type=existing_folder(CHECKPOINT_ADVICE), help='folder of checkpoints'
    )


def run(options: argparse.Namespace, zoo_path: Path, checkpoint_dir: Path) -> int:
    """Run `sam_ad export`.

    Args:
        options: As `add_arguments` defines them.
        zoo_path: `zoo.yaml`.
        checkpoint_dir: Folder of the checkpoint files.

    Returns:
        Exit status 0.

    Raises:
        ValueError: No such entry, no or a wrong checkpoint, a set of sensors that the network
            does not take, or a library is not installed.
        OSError: A file cannot be read or written.
    """
    from sam_ad_perception.modeling.runtimes.onnx_export import export_sensor_sets
    from sam_ad_perception.modeling.zoo.checkpoints import load_checkpoint
    from sam_ad_perception.modeling.zoo.entries import (
        build_model,
        check_key,
        load_zoo,
        sensor_sets,
    )

    zoo = load_zoo(zoo_path)
    check_key(zoo, options.model, zoo_path)
    spec = zoo[options.model]
    network = build_model(spec)
    load_checkpoint(network, spec.checkpoint, checkpoint_dir)
    try:
        sets = options.sensors or sensor_sets(spec)
        for file in export_sensor_sets(network, spec, sets, options.out):
            print(
                f'{file.path}: {file.agreement:.2%} of the pixels get the same class under '
                f'ONNX Runtime, relative error {file.error:.1e}',
                flush=True,
            )
    except ImportError as error:
        raise ValueError(f'{error}: {install_advice("export")}') from error
    return 0
