"""Can it be right? Clocks, values and geometry of each sensor, for node, recordings and doctor.

Enter at `monitor`, whose docstring is the guide: one monitor per recording or view takes
messages and gives findings. The other files hold one kind of look each: `clock`,
`clock_judgement` and `stamps`, `pixels`, `clouds`, `point_times`, `events`, `geometry`,
`sensor_height`, `thermal_look`, `lens_reading` with `reading_watch`; limits are in `config`.
"""
