"""What `sam_ad demo` drives: the simulated drive, its faults, the networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RAIN_SHARE = 0.58
"""When the rain begins, as a share of the drive: while the vehicle is still in the tunnel."""
FAULT_SHARES = (
    ('lidar', 'dropout', 0.13, 0.26),
    ('camera', 'black', 0.45, 0.56),
    ('thermal', 'dropout', 0.71, 0.81),
    ('event', 'event_burst', 0.87, 0.95),
)
"""Sensor, kind, start and end as shares of the drive: a lidar unplugged by day, a camera black in
the tunnel, a thermal camera that stops and an event camera that bursts in the rain."""


@dataclass(frozen=True)
class DemoPlan:
    """What the demo drives.

    Attributes:
        out: Folder of everything that it writes.
        seed: Of the simulated drive; the networks were not trained on seeds below 1000.
        duration_s: Length of the drive, seconds.
        models: Keys in the zoo, separated by commas; empty for all that were measured.
        threads: Threads of the networks on the CPU.
    """

    out: Path
    seed: int = 7
    duration_s: float = 14.0
    models: str = ''
    threads: int = 2

    @property
    def drive(self) -> Path:
        """The simulated bag."""
        return self.out / 'drive'

    @property
    def labelled(self) -> Path:
        """What the nodes published."""
        return self.out / 'labelled'

    @property
    def live(self) -> Path:
        """The statuses of the live run."""
        return self.out / 'live'

    @property
    def conditions(self) -> tuple[str, ...]:
        """Light and weather, as `sam_ad simulate --condition` takes them."""
        return 'day', f'{RAIN_SHARE * self.duration_s:.2f}:rain'

    @property
    def faults(self) -> tuple[str, ...]:
        """What goes wrong when, as `sam_ad simulate --fault` takes it."""
        return tuple(
            f'{sensor}:{kind}:{start * self.duration_s:.2f}:{end * self.duration_s:.2f}'
            for sensor, kind, start, end in FAULT_SHARES
        )

    @property
    def simulation(self) -> tuple[str, ...]:
        """The options of `sam_ad simulate`."""
        return (
            '--scene=tunnel', f'--seed={self.seed}', f'--duration={self.duration_s}',
            *(f'--condition={each}' for each in self.conditions),
            *(f'--fault={each}' for each in self.faults),
        )  # fmt: skip


def routing_table() -> Path:
    """What was measured of the small networks, on simulated drives."""
    from sam_ad_perception.core.console.installation import share_folder

    return share_folder('models') / 'routing' / 'simulated.yaml'


def measured_networks() -> list[str]:
    """The networks of the routing table; those without weights are left out by the nodes."""
    from sam_ad_perception.core.routing.table import load_routing_table

    return list(dict.fromkeys(row.expert for row in load_routing_table(routing_table()).rows))
