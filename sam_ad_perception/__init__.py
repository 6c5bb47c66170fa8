"""Semantic masks from camera, thermal, event camera and LiDAR, whatever sensor fails."""
