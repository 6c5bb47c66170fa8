"""Sensor code without a network: synchronizing, alignment, depth, events, health, selections.

`health` damages simulated drives, `health_real` real recordings; `event_peers` is what `events`
compares with.
"""
