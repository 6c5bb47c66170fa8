"""Stable codes of faults in `/diagnostics`, for programs that count them over a fleet.

Every entry whose level is not OK carries one as `fault_code`. Sentences may change from one
version to the next, codes do not. What is found in a sensor's data has finer codes of its own, see
`core.findings`; they are told in `semantic/status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

KEY = 'fault_code'
"""Key of the code among the values of a `diagnostic_msgs/DiagnosticStatus`."""

SENSOR_NOT_RECEIVED = 'sensor.not_received'
SENSOR_TIMEOUT = 'sensor.timeout'
SENSOR_UNREADABLE = 'sensor.unreadable'
SENSOR_LOSS = 'sensor.loss'
SENSOR_UNHEALTHY = 'sensor.unhealthy'
SENSOR_TIMING = 'sensor.timing'
NODE_PROBLEM = 'node.problem'
NODE_LOADING = 'node.loading'
NODE_INACTIVE = 'node.inactive'
OUTPUT_NO_REFERENCE = 'output.no_reference'
OUTPUT_DROPPED = 'output.dropped'
OUTPUT_DEGRADED = 'output.degraded'
NETWORK_UNUSABLE = 'network.unusable'

FAULT_CODES: Mapping[str, str] = MappingProxyType(
    {
        SENSOR_NOT_RECEIVED: 'No message of the sensor came since the node was started.',
        SENSOR_TIMEOUT: 'The sensor sent before, and is silent for longer than its timeout.',
        SENSOR_UNREADABLE: 'Messages of the sensor came that could not be read.',
        SENSOR_LOSS: 'Messages of the sensor were sent and did not arrive.',
        SENSOR_UNHEALTHY: 'Frames of the sensor were found unhealthy (black, frozen, noisy ...).',
        SENSOR_TIMING: 'Stamps of the sensor do not fit its rhythm, its arrival or the others.',
        NODE_PROBLEM: 'The node cannot run: no network could be loaded, or the GPU was lost.',
        NODE_LOADING: 'The node loads its networks.',
        NODE_INACTIVE: 'The life cycle state of the node is not active.',
        OUTPUT_NO_REFERENCE: 'No mask comes, because no sensor that may lead sends.',
        OUTPUT_DROPPED: 'Reference frames come, and no mask is made of them.',
        OUTPUT_DEGRADED: 'Masks come, made without a sensor, or of one with a shortcoming.',
        NETWORK_UNUSABLE: 'A network that was asked for cannot run; others do.',
    }
)
"""What each code means."""
