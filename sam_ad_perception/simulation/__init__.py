"""A procedural street, seen by camera, thermal camera, event camera and lidar at once.

`drive.Drive` is the entry: one `configuration.DriveConfig` with a seed is one drive, whose sensors
can be asked for any time in any order. `recording.record` makes ROS messages of it, rendered by
one or several processes (`render_pool`), `gallery` one picture; `command` holds the options of
`sam_ad simulate`.

All sensors look at the same solids (`primitives`, cast by `raycast`) standing on flat ground whose
kind depends on the distance from a curved centre line (`road`). `layout` draws the street of a
seed, `assemblies` builds its objects, `scene` moves them. What a hit looks like is decided by
`materials` with `camera` and `shadows`, how warm it is by `thermal`, how it echoes by `lidar`;
`events` compares renderings 10 ms apart. `renderer` puts all of that together for the sensors of a
`rig`. `conditions` say what light and weather are; what they do stands in `lamps`, `atmosphere`,
`optics`, `thermal`, `lidar_weather` and `events`. `faults` say what goes wrong, and do it to data;
`delivery` does it to times.

Frames: `odom` is the world; `base_link` lies on the ground (x forward, y left, z up); optical
frames follow REP 103; images have no distortion. Labels are Cityscapes train ids. Lengths are
metres, times integer nanoseconds, colours linear until the camera develops them, temperatures
kelvin above the air until the thermal camera counts them (10 mK per count from absolute zero).

Numba keeps compiled kernels per file. After a change of a kernel that kernels of other files
call, their stored copies are stale: delete the cache.
"""
