"""The segmentation node with a network that fails on command.

Commands: `raise`, `lose` (as a GPU that is gone does), `sleep SECONDS`, `clear`.

    python -m benchmarks.vehicle.faulty_network [ROS arguments]

Commands come on standard input, one per line; everything else is the node as it is.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from sam_ad_perception.modeling.networks.mle_sam import MleSam
from sam_ad_perception.nodes.segmentation_node import main


class Commands:
    """The last command, read in a thread of its own."""

    def __init__(self) -> None:
        self.line = ''
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.line = line.strip()


def plant_fault(commands: Commands) -> None:
    """Let every pass through the network heed the commands."""
    forward = MleSam.forward

    def faulty(network: MleSam, *arguments: Any, **options: Any) -> Any:
        word, _, value = commands.line.partition(' ')
        if word == 'raise':
            raise RuntimeError('planted: the network fails')
        if word == 'lose':
            raise RuntimeError('CUDA error: planted: the device is gone')
        if word == 'sleep':
            time.sleep(float(value))
        return forward(network, *arguments, **options)

    MleSam.forward = faulty  # type: ignore[assignment,method-assign]


if __name__ == '__main__':
    plant_fault(Commands())
    sys.exit(main())
