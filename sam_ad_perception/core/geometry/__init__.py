"""Rigid transforms, calibration files, camera models with lens distortion.

`cameras.project_points` and `cameras.unproject_pixels` go between points and pixels,
`transform_tree.TransformTree` knows where sensors sit, `calibration.load_calibration` reads both
from a file; `transforms` has the matrices. `projection_kernels` is for this room and `core.lidar`.
"""
