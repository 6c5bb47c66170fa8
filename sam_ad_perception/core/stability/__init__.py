"""How steady masks are from frame to frame, and what makes them steadier.

`mask_stability.MaskStability` measures; `temporal_filter.TemporalFilter` is what the segmenter
may run; both carry along the motion of `picture_motion.estimate_motion` and `measure_motion`.
"""
