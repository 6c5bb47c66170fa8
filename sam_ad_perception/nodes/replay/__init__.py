"""Parts of the replay node: what is published when, the playback, the summary.

`schedule.plan_routes` decides, `playback.Replay` publishes, by the node's `deadline`.
"""
