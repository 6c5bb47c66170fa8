"""`sam_ad demo`: what is driven, the nodes that drive it, and the command that runs it all.

`command.main` is the entry; `plan.DemoPlan` has the drive with its faults, `nodes.drive_nodes`
replays it through the nodes, in lockstep or live.
"""
