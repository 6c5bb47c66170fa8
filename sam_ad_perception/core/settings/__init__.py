"""Configuration: checked dataclasses, their tables and YAML files.

Enter at `parameters.parameter`, which declares a field with its bounds and its unit;
`thresholds.share` and its neighbours declare those of health checks and geometry;
`yaml_documents` reads files within limits, `yaml_records` makes dataclasses of them, and
`vehicle_sensors` reads the sensors that a vehicle has.
"""
