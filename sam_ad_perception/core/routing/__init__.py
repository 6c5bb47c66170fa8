"""Which network runs on the sensors that are there: measured table, router, day or night.

`router.route` decides for one frame, from a `table.RoutingTable` and
`day_or_night.estimate_condition`.
"""
