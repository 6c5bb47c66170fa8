"""Solids, rays against them, and sun shadows.

`solids.Primitives` is a scene, `rays` casts into it; the rooms of `simulation` use both.
"""
