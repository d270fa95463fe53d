"""Cut a network at the target layer and export trunk and tail as ONNX graphs."""
