"""Compare a compiled model with pytorch-grad-cam, and measure what its card reports."""
