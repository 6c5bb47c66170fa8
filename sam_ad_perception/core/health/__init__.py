"""Is a frame usable: thresholds, statistics, findings, one monitor per sensor.

`monitor.HealthMonitor` is the entry; `config.HealthConfig` holds its thresholds.
"""
