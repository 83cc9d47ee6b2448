"""ONNX: the model of a case, and the runtimes that execute it."""
