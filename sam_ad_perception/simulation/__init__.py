"""A procedural street, seen by camera, thermal camera, event camera and lidar at once."""
