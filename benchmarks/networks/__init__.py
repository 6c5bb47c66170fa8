"""Encoders, networks and backends.

`zoo` measures each entry, `backends` what runs one, `encoders` those of SAM beside the official
ones, `scale` pixels, points and cameras, `stability` the flicker of masks over time, `gpu` all of
it on a GPU.
"""
