"""A procedural street, seen by camera, thermal camera, event camera and lidar at once.

`drives.drive.Drive` is the entry: one `drives.configuration.DriveConfig` with a seed is one drive,
whose sensors can be asked for any time in any order. `drives.recording.record` makes ROS messages
of it, `drives.gallery` one picture.

All sensors look at the same solids (`raycasting`) standing on flat ground whose kind depends on
the distance from a curved centre line (`street.road`). `street.layout` draws the street of a seed,
`street.scene` moves what is in it. What a hit looks like, how warm it is and how it echoes is
decided in `sensors`; `weather` says what light and weather are, `faults` what goes wrong.
`drives.renderer` puts all of that together, `drives.delivery` delays it on its way.

Frames: `odom` is the world; `base_link` lies on the ground (x forward, y left, z up); optical
frames follow REP 103; images have no distortion. Labels are Cityscapes train ids. Lengths are
metres, times integer nanoseconds, colours linear until the camera develops them, temperatures
kelvin above the air until the thermal camera counts them (10 mK per count from absolute zero).

Numba keeps compiled kernels per file. After a change of a kernel that kernels of other files
call, their stored copies are stale: delete the cache.
"""
