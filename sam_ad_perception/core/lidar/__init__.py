"""Lidar sweeps: motion compensation, projection, hidden points, depth images.

`depth_image.render_depth` shows a sweep in a camera, `depth_image.project_depth` bare points;
`deskew.deskew_points` and `ego_motion.EgoMotion` move points to the reference time.
"""
