"""Healthy recordings, faults that befall them, and what the health checks say: by sensor.

`suites.SUITES` names each sensor's recordings and faults; `scoring` runs and counts. A sensor
plugs in with a module of recordings, one of faults, and its line in `suites`.
"""
