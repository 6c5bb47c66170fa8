"""Faults that show over time or in another look: one watch per sensor, asked by `core.health`.

`camera_watch`, `sweep_watch`, `thermal_watch` and `event_watch` are the entries, named in the
sensors' records.
"""
