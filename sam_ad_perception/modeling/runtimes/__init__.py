"""What executes a network: torch, compiled torch, ONNX Runtime, OpenVINO; export to ONNX.

`backends.BackendConfig` chooses a `backends.Backend`; `onnx_export.export_sensor_sets` writes
files.
"""
