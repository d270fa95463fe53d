"""An ONNX file as a network of torch: read it, understand its input and its end, run its operators."""
