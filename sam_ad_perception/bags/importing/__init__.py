"""Recordings of other formats as rosbag2: KITTI, nuScenes, folders of files, ROS 1 bags.

`kitti.plan_kitti`, `nuscenes.plan_nuscenes` and `folder.plan_folder` say what is written, and
`plan.write_plan` writes it; `rosbag1.import_rosbag1` converts a bag.
"""
