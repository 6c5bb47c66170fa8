"""What executes a network: torch, compiled torch, ONNX Runtime, OpenVINO; export to ONNX.

`backends.BackendConfig` chooses a `backends.Backend`; `fastest` measures which of them is it;
`onnx_export.export_sensor_sets` writes files.
"""
