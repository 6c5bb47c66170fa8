"""The plan of an evaluation: systems, sets of sensors, noise and faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.routing.table import RoutingTable
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.runtimes.backends import BackendConfig
from sam_ad_perception.modeling.zoo.entries import ModelSpec, sensor_sets
from training.configuration.fault_cases import fault_cases
from training.evaluation.data import EvaluationData, standard_subsets
from training.evaluation.failure_protocol import failure_settings
from training.evaluation.measurement import Setting, System
from training.evaluation.noise import KINDS
from training.evaluation.selection import TrainedNetwork
from training.evaluation.systems import NetworkSystem, SeveralScales, VehicleSystem

SUBSETS = ('all', 'standard', 'full')
ROUTED = 'routed vehicle'


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        subsets: `all` for every set of sensors, `standard` for all sensors, each removed and each
            alone, `full` for all sensors only.
        noise: Whether to measure noise on each sensor.
        failures: Whether to measure missing and noisy sensors by EMM, RMM and NM.
        faults: One of `sensor_faults.SELECTIONS`.
        scales: Input sizes of a mean over several, as shares of the network's; empty for none.
        mirror: Whether the mean also goes over mirrored frames.
    """

    subsets: str = 'all'
    noise: bool = False
    failures: bool = False
    faults: str = 'none'
    scales: tuple[float, ...] = ()
    mirror: bool = False


def network_settings(spec: ModelSpec, sensors: Sequence[str], extent: Extent) -> list[Setting]:
    """List what a network is measured in.

    Args:
        spec: Its entry.
        sensors: What the data set has.
        extent: How much.

    Returns:
        The settings, all sensors first.

    Raises:
        ValueError: The data set lacks a sensor that the network needs, or has none of its own.
    """
    have = tuple(name for name in spec.inputs if name in sensors)
    lacking = sorted(set(spec.required) - set(have))
    if lacking or not have:
        raise ValueError(
            f'{spec.key} needs {lacking or list(spec.inputs)}, the data set has {list(sensors)}'
        )
    sets = [s for s in reversed(sensor_sets(spec)) if set(s) <= set(have)]
    if extent.subsets != 'all' and not extent.failures:
        wanted = standard_subsets(have) if extent.subsets == 'standard' else [have]
        sets = [s for s in wanted if s in sets]
    settings = [Setting(subset) for subset in sets]
    if extent.noise:
        settings += [Setting(have, noise=f'{name}:{kind}') for kind in KINDS for name in have]
    if extent.failures:
        settings += failure_settings(have)
    return settings + [Setting(have, case) for case in fault_cases(have, extent.faults)]


def vehicle_settings(sensors: Sequence[str], extent: Extent) -> list[Setting]:
    """List what a vehicle with its health checks is measured in.

    Args:
        sensors: What the data set has.
        extent: How much.

    Returns:
        All sensors, each one removed, and the faults.
    """
    have = tuple(sensors)
    removed = [tuple(s for s in have if s != gone) for gone in have] if len(have) > 1 else []
    faults = [Setting(have, case, checked=True) for case in fault_cases(have, extent.faults)]
    return [Setting(s, checked=True) for s in (have, *removed)] + faults


def make_plan(
    networks: Sequence[TrainedNetwork],
    data: EvaluationData,
    extent: Extent,
    *,
    table: RoutingTable | None = None,
    device: str = 'cpu',
    backend: BackendConfig | None = None,
) -> list[tuple[System, list[Setting]]]:
    """Decide what is measured in which settings.

    Args:
        networks: The networks.
        data: The data set.
        extent: How much.
        table: Where given, a vehicle that routes by it is measured too.
        device: Where the networks run.
        backend: What runs them; torch where None.

    Returns:
        Each network; with faults, also each behind the vehicle's health checks; with scales, also
        the mean over them; and the vehicle.

    Raises:
        ValueError: A network cannot be measured on this data set, or two have one entry.
    """
    keys = [each.spec.key for each in networks]
    if len(set(keys)) < len(keys):
        raise ValueError(f'networks must be of different entries, got {keys}')
    plan: list[tuple[System, list[Setting]]] = []
    experts = [ExpertNetwork(each.spec, each.network, device, backend) for each in networks]
    checked = vehicle_settings(data.sensors, extent)
    for expert in experts:
        if extent.faults != 'none':
            one = Segmenter([expert], health=HealthConfig())
            name = f'{expert.spec.key}, checked'
            plan.append((VehicleSystem(name, one, data.space), checked))
        settings = network_settings(expert.spec, data.sensors, extent)
        plan.append((NetworkSystem(expert, data.space), settings))
        if extent.scales or extent.mirror:
            scales = extent.scales or (1.0,)
            several = SeveralScales(expert, data.space, scales, mirror=extent.mirror)
            plan.append((several, settings[:1]))
    if table is not None:
        vehicle = Segmenter(experts, health=HealthConfig(), table=table)
        plan.append((VehicleSystem(ROUTED, vehicle, data.space), checked))
    return plan
