"""Masks written into recordings: one, many, or many at once with Ray.

`recording.label_bag` labels one recording, `fleet` a folder, with `ray_fleet` at the same time.
"""
