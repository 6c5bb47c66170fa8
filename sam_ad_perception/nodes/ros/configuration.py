"""Parameters of each node, composed of their owners' configurations. Knows nothing of ROS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.lidar.depth_image import DepthConfig
from sam_ad_perception.core.lidar.ground import GroundConfig
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.routing.router import RoutingConfig
from sam_ad_perception.core.selections.config import SelectionConfig, check_names
from sam_ad_perception.core.sensor_kinds import EVENTS, IMAGE
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameter_tables import (
    Tabled,
    complete_table,
    open_table,
    table,
)
from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.vehicle_sensors import VehicleSensorConfig, declared_sensors
from sam_ad_perception.core.stability.temporal_filter import StabilityConfig
from sam_ad_perception.core.synchronization.bundler import BundlerConfig
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig

FIXED_FRAME = (
    'Frame against which the vehicle moves: lidar points are moved to the reference time where '
    'TF connects the two.'
)
VIEW_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
CALIBRATION = 'File of transforms and camera geometry that no topic brings; empty for none.'


@dataclass(frozen=True)
class ImageConfig:
    """How one image topic is read."""

    transport: str = parameter(
        'auto',
        'raw reads <topic>, compressed reads <topic>/compressed, auto what is published: raw '
        'first, then compressed; the segmentation node then video, of <topic> or <topic>/ffmpeg.',
        choices=('auto', 'raw', 'compressed'),
    )
    rectified: str = parameter(
        'true',
        'Whether the images are rectified: geometry from P of camera_info, else from K and D. '
        'auto (of the camera only) begins with true and lets the images decide, once; '
        'visualization follows semantic/camera_info.',
        choices=('auto', 'true', 'false'),
    )
    own_centre: bool = parameter(
        False,
        'Whether the camera frame sits in its own centre although P of camera_info has an offset '
        '(the second camera of a stereo pair).',
    )

    @property
    def starts_rectified(self) -> bool:
        """Whether images are read as rectified until they tell otherwise."""
        return self.rectified != 'false'


@dataclass(frozen=True)
class EventConfig:
    """How the event topic is read."""

    rectified: bool = parameter(
        False,
        'Whether event coordinates are rectified: geometry from P of camera_info, else K, D.',
    )

    @property
    def starts_rectified(self) -> bool:
        """Whether coordinates are read as rectified."""
        return self.rectified


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the sensor topics."""

    reliability: str = parameter(
        'best_effort',
        'best_effort matches every publisher; reliable has lost messages sent again.',
        choices=('best_effort', 'reliable'),
    )
    depth: int = parameter(5, 'Messages held per sensor topic.', ge=1, le=1000)
    event_depth: int = parameter(
        1000, 'Packets held of the events: drivers send one per millisecond.', ge=1, le=100_000
    )


@dataclass(frozen=True)
class ModelConfig:
    """Which networks run, and where."""

    key: str = parameter(
        'mle_sam_demo',
        'Entry of the model zoo, or several separated by commas: the router chooses among them. '
        'Or a weight file, or folder, that sam_ad export wrote.',
    )
    zoo: str = parameter('', 'The zoo file; empty for the one that comes with the package.')
    checkpoint_dir: str = parameter(
        '',
        'Folder of checkpoints; empty for the one beside a zoo that is named, else for '
        'SAM_AD_CHECKPOINTS where set, else for the one that comes with the package.',
    )
    routing_table: str = parameter(
        '',
        'What was measured of the networks, as training.evaluate writes it; empty for none: then '
        'all sensors run, in the first network that can.',
    )
    device: str = parameter('cpu', 'Where the network runs, for example cpu or cuda:0.')
    threads: int = parameter(
        0, 'Threads of the network on a CPU; 0 for as many as torch chooses.', ge=0, le=256
    )
    backend: str = parameter(
        'torch',
        'What runs the network: torch as it is, torch.compile, ONNX Runtime, OpenVINO (CPU only), '
        'or auto, the fastest but torch.compile, measured when the network is first loaded. Where '
        'the others cannot, torch does, and the log says why.',
        choices=('torch', 'compile', 'onnx', 'openvino', 'auto'),
    )
    providers: tuple[str, ...] = parameter(
        ('auto',),
        'Execution providers of ONNX Runtime in the order of preference; auto is that of the '
        'device.',
        choices=('auto', 'cpu', 'cuda', 'tensorrt'),
    )
    half: bool = parameter(
        False,
        'Half precision: bfloat16 under torch and OpenVINO, float16 with the provider tensorrt.',
    )
    cache_dir: str = parameter(
        '',
        'Folder where the backends onnx, openvino and auto keep exported graphs and what they '
        "made and measured of them; empty for one in the user's cache directory.",
    )


@dataclass(frozen=True)
class InsideConfig:
    """Visualization made by the segmentation node itself, without images over DDS in between."""

    enabled: bool = parameter(
        False,
        'Publish semantic/color, semantic/overlay and semantic/points from this node, in place of '
        'a visualization node.',
    )
    alpha: float = parameter(
        0.5, 'Weight of the colour, from 0 (image only) to 1 (colour only).', ge=0.0, le=1.0
    )


@dataclass(frozen=True)
class SegmentationConfig(Tabled):
    """Parameters of `segmentation_node`."""

    views: tuple[str, ...] = parameter(
        ('',),
        'Cameras that one process serves, each a name in front of its topics; one empty name for '
        'a single camera.',
    )
    max_mask_age_s: float = parameter(
        1.0,
        'A mask that is older when it is done, counted from the arrival of its reference frame, '
        'is dropped; 0 for no limit.',
        ge=0.0,
        le=60.0,
        unit='s',
    )
    autostart: bool = parameter(
        True, 'Configure and activate at once; else the lifecycle services do.'
    )
    bond_heartbeat_period: float = parameter(
        0.0,
        'Interval at which a lifecycle manager, as that of nav2, is told that the active node '
        'lives (nav2 takes 0.1); needs bondpy; 0 for no bond.',
        ge=0.0,
        le=2.0,
        unit='s',
    )
    calibration: str = parameter('', CALIBRATION)
    compressed: bool = parameter(
        True,
        'Offer mask and confidence also as PNG, made where somebody listens; false where '
        'image_transport republishes them.',
    )
    diagnostics_period_s: float = parameter(
        1.0, 'Interval of /diagnostics.', ge=0.05, le=60.0, unit='s'
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    qos: QosConfig = field(default_factory=QosConfig)
    sensors: Mapping[str, VehicleSensorConfig] = table(declared_sensors, named=True)
    inputs: Mapping[Modality, ImageConfig | EventConfig] = table(lambda: _sensor_inputs())
    bundler: BundlerConfig = field(default_factory=BundlerConfig)
    plausibility: PlausibilityConfig = field(default_factory=PlausibilityConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    lidar_depth: DepthConfig = field(default_factory=DepthConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    visualization: InsideConfig = field(default_factory=InsideConfig)
    selections: Mapping[str, SelectionConfig] = open_table(SelectionConfig)

    def __post_init__(self) -> None:
        for name in self.views:
            if not VIEW_NAME.fullmatch(name) and self.views != ('',):
                raise ValueError(
                    f'views must be names of letters, digits and underscores, or one empty name, '
                    f'got {list(self.views)}'
                )
        if len(set(self.views)) < len(self.views):
            raise ValueError(f'views must differ, got {list(self.views)}')
        check_names(self.selections)
        complete_table(self, 'sensors', declared_sensors())
        complete_table(self, 'inputs', _sensor_inputs())
        for sensor, each in self.inputs.items():
            if each.rectified == 'auto' and sensor != Modality.CAMERA:
                raise ValueError(
                    f'{sensor}.rectified must be true or false, got auto: only images of the '
                    'camera tell whether they are rectified'
                )


def _sensor_inputs() -> dict[Modality, ImageConfig | EventConfig]:
    """How the topic of each sensor is read where nobody says otherwise; sweeps need nothing."""
    forms = {IMAGE: ImageConfig, EVENTS: EventConfig}
    return {
        m: forms[m.record.form](**m.record.reading) for m in Modality if m.record.form in forms
    }


@dataclass(frozen=True)
class DepthProjectionConfig:
    """Parameters of `depth_projection_node`."""

    calibration: str = parameter('', CALIBRATION)
    rectified: bool = parameter(
        True,
        'Whether the camera image is rectified: geometry from P of camera_info, else K and D. '
        'This node sees no image, and so cannot tell.',
    )
    own_centre: bool = parameter(
        False,
        'Whether the camera frame sits in its own centre although P of camera_info has an offset '
        '(the second camera of a stereo pair).',
    )
    depth: DepthConfig = field(default_factory=DepthConfig)
    fixed_frame: str = parameter('odom', FIXED_FRAME)
    exposure_age_s: float = parameter(
        0.2,
        'A depth image shows the time of the latest camera_info, if the sweep is no further from '
        'it than this; else, and with 0, the stamp of the sweep.',
        ge=0.0,
        le=1.0,
        unit='s',
    )
    diagnostics_period_s: float = parameter(
        1.0, 'Interval of /diagnostics.', ge=0.05, le=60.0, unit='s'
    )
    qos: QosConfig = field(default_factory=QosConfig)


@dataclass(frozen=True)
class OverlayConfig:
    """How the mask is laid over the image."""

    alpha: float = parameter(
        0.5, 'Weight of the colour, from 0 (image only) to 1 (colour only).', ge=0.0, le=1.0
    )


@dataclass(frozen=True)
class PaintConfig:
    """How lidar points get their labels."""

    tolerance_m: float = parameter(
        0.3,
        'A point this far behind the depth image is hidden and gets no label.',
        ge=0.0,
        unit='m',
    )
    relative_tolerance: float = parameter(
        0.02, 'Part of that tolerance that grows with depth.', ge=0.0, le=1.0
    )
    occlusion: OcclusionConfig = field(default_factory=OcclusionConfig)
    max_age_s: float = parameter(
        0.11, 'A sweep farther than this from the mask is not painted.', ge=0.0, le=5.0, unit='s'
    )
    fixed_frame: str = parameter('odom', FIXED_FRAME)


@dataclass(frozen=True)
class VisualizationConfig:
    """Parameters of `visualization_node`."""

    calibration: str = parameter('', CALIBRATION)
    label_space: str = parameter(
        'auto', 'Gives the colours; auto takes the one that semantic/label_info names.'
    )
    history_s: float = parameter(
        3.0, 'Images and sweeps wait so long for their mask.', ge=0.1, le=60.0, unit='s'
    )
    history_mb: int = parameter(
        256, 'Images and sweeps that wait hold at most this.', ge=1, le=65536, unit='MB'
    )
    diagnostics_period_s: float = parameter(
        1.0, 'Interval of /diagnostics.', ge=0.05, le=60.0, unit='s'
    )
    qos: QosConfig = field(default_factory=QosConfig)
    camera: ImageConfig = field(default_factory=lambda: ImageConfig(rectified='auto'))
    overlay: OverlayConfig = field(default_factory=OverlayConfig)
    points: PaintConfig = field(default_factory=PaintConfig)


@dataclass(frozen=True)
class TransportConfig:
    """How one image topic is read and republished."""

    transport: str = parameter(
        'raw',
        'raw reads <topic>, compressed reads <topic>/compressed.',
        choices=('raw', 'compressed'),
    )


@dataclass(frozen=True)
class ApproximateConfig:
    """The policy `approximate`."""

    queue_size: int = parameter(10, 'Messages held per sensor.', ge=1, le=1000)
    slop_s: float = parameter(
        0.05, 'Stamps of one set lie within this.', ge=0.0, le=10.0, unit='s'
    )


@dataclass(frozen=True)
class SynchronizerNodeConfig(Tabled):
    """Parameters of `synchronizer_node`."""

    policy: str = parameter(
        'deadline',
        'deadline gives out what there is in time; approximate is that of message_filters, where '
        'it is installed: it gives out complete sets only.',
        choices=('deadline', 'approximate'),
    )
    diagnostics_period_s: float = parameter(
        1.0, 'Interval of /diagnostics.', ge=0.05, le=60.0, unit='s'
    )
    qos: QosConfig = field(default_factory=QosConfig)
    sensors: Mapping[str, VehicleSensorConfig] = table(declared_sensors, named=True)
    inputs: Mapping[Modality, TransportConfig] = table(lambda: _republished())
    sync: SynchronizerConfig = field(
        default_factory=lambda: SynchronizerConfig(
            sensors={m: SensorConfig(enabled=False) for m in Modality if m.record.form == EVENTS}
        )
    )
    approximate: ApproximateConfig = field(default_factory=ApproximateConfig)

    def __post_init__(self) -> None:
        complete_table(self, 'sensors', declared_sensors())
        complete_table(self, 'inputs', _republished())
        streams = [m for m in Modality if m.record.form == EVENTS]
        for name in (m for m in streams if self.sync.sensors[m].enabled):
            raise ValueError(
                f'sync.{name}.enabled must be false, got true: packets are a stream, of which a '
                'consumer takes the window that ends at the stamp of a set'
            )


def _republished() -> dict[Modality, TransportConfig]:
    """How each image that takes part is read; those off by default are not republished."""
    images = [m for m in Modality if m.record.form == IMAGE]
    return {m: TransportConfig() for m in images if m.record.synchronization.get('enabled', True)}


NODE_CONFIGS: tuple[type, ...] = (
    SegmentationConfig,
    DepthProjectionConfig,
    VisualizationConfig,
    SynchronizerNodeConfig,
)
"""Of the nodes that one launch starts together, perhaps with one parameter file."""
