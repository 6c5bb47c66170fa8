"""Encoders, networks and backends.

`zoo` measures each entry, `backends` what runs one, `encoders` those of SAM beside the official
ones, `scale` pixels, points and cameras, `gpu` the same where there is one.
"""
