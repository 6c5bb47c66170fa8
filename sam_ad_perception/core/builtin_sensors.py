"""The sensors that the package knows: camera, thermal camera, event camera, lidar, depth sensor.

Everything that differs between them is here. Functions are named by where they are, since they
belong to other rooms and floors: `module:function`, imported when they are needed.
"""

from __future__ import annotations

from sam_ad_perception.core.sensor_kinds import (
    EVENTS,
    IMAGE_TYPES,
    POINTS,
    RANGING,
    VIEW,
    SensorKind,
    SimulatedSensor,
)

_PIXELS = 'sam_ad_perception.core.messages.image_encodings'
_CHECKS = 'sam_ad_perception.core.health'
_WATCHES = 'sam_ad_perception.core.fault_detection'
_PICTURES = 'sam_ad_perception.core.images.rendering'
_SAMPLES = 'sam_ad_perception.core.sample_data'
_INPUTS = 'sam_ad_perception.modeling.inputs'
_SOURCES = 'sam_ad_perception.simulation.drives.measurements'

CAMERA = SensorKind(
    name='camera',
    title='the camera',
    color='#3b82c4',
    topic='camera/image_rect',
    info_topic='camera/camera_info',
    leads=True,
    role=VIEW,
    reading={'rectified': 'auto'},
    encoding='rgb8',
    decode=f'{_PIXELS}:to_rgb',
    health=f'{_CHECKS}.camera_thresholds:CameraHealthConfig',
    judge=f'{_CHECKS}.judgement:check_camera',
    watch=f'{_WATCHES}.camera_watch:CameraWatch',
    picture=f'{_PICTURES}:picture_color',
    sample=f'{_SAMPLES}:sample_color',
    representations={'rgb': f'{_INPUTS}.representations:Rgb'},
    simulation=SimulatedSensor(
        f'{_SOURCES}:measure_color', 0.656, stream=0, position=(1.6, 0.0, 1.65), latency_s=0.012
    ),
)

THERMAL = SensorKind(
    name='thermal',
    title='the thermal camera',
    color='#e8743b',
    topic='thermal/image_rect',
    info_topic='thermal/camera_info',
    topic_words=frozenset({'thermal', 'ir', 'lwir', 'infrared', 'flir', 'boson'}),
    leads=True,
    encoding='mono16',
    decode=f'{_PIXELS}:to_thermal',
    health=f'{_CHECKS}.thermal_thresholds:ThermalHealthConfig',
    judge=f'{_CHECKS}.judgement:check_thermal',
    watch=f'{_WATCHES}.thermal_watch:ThermalWatch',
    picture=f'{_PICTURES}:picture_thermal',
    sample=f'{_SAMPLES}:sample_thermal',
    representations={
        'thermal_percentile': f'{_INPUTS}.thermal:ThermalPercentile',
        'thermal_running_percentile': f'{_INPUTS}.thermal:ThermalRunningPercentile',
        'thermal_fixed_range': f'{_INPUTS}.thermal:ThermalFixedRange',
    },
    simulation=SimulatedSensor(
        f'{_SOURCES}:measure_heat', 0.594, stream=1, position=(1.6, -0.12, 1.65), latency_s=0.015
    ),
)

EVENT = SensorKind(
    name='event',
    title='the event camera',
    color='#8e6bbf',
    form=EVENTS,
    topic='events',
    info_topic='events/camera_info',
    message_types=(
        'event_camera_msgs/msg/EventPacket',
        'dvs_msgs/msg/EventArray',
        'prophesee_event_msgs/msg/EventArray',
        *IMAGE_TYPES,
    ),
    topic_words=frozenset({'event', 'events', 'dvs', 'prophesee', 'davis'}),
    leads=True,
    synchronization={'min_reference_period_s': 0.05, 'queue_size': 2000},
    reading={'rectified': False},
    encoding='rgb8',
    decode=f'{_PIXELS}:to_rgb',
    health=f'{_CHECKS}.event_thresholds:EventHealthConfig',
    watch=f'{_WATCHES}.event_watch:EventWatch',
    picture=f'{_PICTURES}:picture_events',
    sample=f'{_SAMPLES}:sample_events',
    representations={
        'event_counts': f'{_INPUTS}.events:EventCounts',
        'event_image': f'{_INPUTS}.events:EventImage',
        'event_voxel_grid': f'{_INPUTS}.events:EventVoxelGrid',
        'event_time_surface': f'{_INPUTS}.events:EventTimeSurface',
    },
    simulation=SimulatedSensor(
        f'{_SOURCES}:measure_events', 0.625, stream=2, position=(1.6, 0.1, 1.65), latency_s=0.003
    ),
)

LIDAR = SensorKind(
    name='lidar',
    title='the lidar',
    color='#2f9e77',
    form=POINTS,
    topic='points',
    message_types=('sensor_msgs/msg/PointCloud2',),
    leads=True,
    role=RANGING,
    synchronization={'tolerance_s': 0.11},
    health=f'{_CHECKS}.lidar_thresholds:LidarHealthConfig',
    watch=f'{_WATCHES}.sweep_watch:SweepWatch',
    sample=f'{_SAMPLES}:sample_points',
    representations={'lidar_image': f'{_INPUTS}.representations:LidarImage'},
    simulation=SimulatedSensor(
        f'{_SOURCES}:measure_points', stream=3, position=(1.2, 0.0, 2.0), latency_s=0.008
    ),
)

DEPTH = SensorKind(
    name='depth',
    title='a depth sensor',
    color='#b59b00',
    topic='depth/image_rect',
    info_topic='depth/camera_info',
    topic_words=frozenset({'depth', 'disparity', 'compresseddepth'}),
    synchronization={'enabled': False},
    reading={'transport': 'raw'},
    encoding='32FC1',
    decode=f'{_PIXELS}:to_depth',
    health=f'{_CHECKS}.depth_thresholds:DepthHealthConfig',
    judge=f'{_CHECKS}.judgement:check_depth',
    representations={'depth_image': f'{_INPUTS}.depth:DepthImage'},
)
