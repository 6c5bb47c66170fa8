"""The networks that zoo entries may name: those of the package, and those of installed packages.

A network of another package is one `NetworkKind` under the entry points of
`sam_ad_perception.networks`; its zoo file states inputs, sizes and licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.core.registry import Reference, Registry

GROUP = 'sam_ad_perception.networks'


@dataclass(frozen=True)
class NetworkKind:
    """A network that can be built from a zoo entry.

    Attributes:
        arguments: Frozen dataclass of what it is built from: `arguments` of its zoo entries.
        build: `(zoo entry, pool of frozen encoders) -> SegmentationNetwork`, with fresh weights;
            see `modeling.zoo.entries.ModelSpec`.
        pretrained: `(network, zoo entry, file of the entry's backbone) -> None`: loads official
            weights before training; None for a network that starts from none.
        zoo: The zoo file of the package that brings it; weights may lie beside it. None for the
            networks of this package, whose zoo is `models/zoo.yaml`.
    """

    arguments: type
    build: Reference
    pretrained: Reference | None = None
    zoo: Path | None = None


_HERE = 'sam_ad_perception.modeling.networks.builders'
NETWORKS: Registry[NetworkKind] = Registry(
    GROUP,
    'network',
    NetworkKind,
    {
        'mle_sam': f'{_HERE}:MLE_SAM',
        'ad_sam': f'{_HERE}:AD_SAM',
        'fusion_sam': f'{_HERE}:FUSION_SAM',
    },
)
"""The networks by the name that zoo entries have as `builder`."""
