"""How far the clock of one sensor runs ahead of another, from what both saw.

`motion_matching.estimate_lags` compares rotation rates that `image_motion.ImageMotion` and
`sweep_motion.SweepMotion` measure, `event_matching.EventMatching` events with images;
`stamp_timing.measure_timing` needs stamps and arrival times alone.
"""
