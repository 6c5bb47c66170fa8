"""Is a frame usable: thresholds, statistics, findings, one monitor per sensor.

`monitor.HealthMonitor` is the entry; `config.HealthConfig` holds the thresholds of
all sensors, which `camera_thresholds` and its neighbours declare, one file per sensor.
`fault_costs.leave_out_costly` takes out a camera that costs a mask more than its absence.
"""
