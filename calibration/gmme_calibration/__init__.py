import gmme_edge  # noqa: F401 - before ONNX Runtime, whose telemetry it turns off
