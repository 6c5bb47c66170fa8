"""Configuration: checked dataclasses, their tables and YAML files.

Enter at `parameters.parameter`, which declares a field with its bounds and its unit;
`thresholds.share` and its neighbours declare those of health checks and geometry;
`parameter_files.load` reads a parameter file, `yaml_documents` any YAML file within limits;
`yaml_records` makes dataclasses of one, and `vehicle_sensors` reads the sensors of a vehicle.
"""
