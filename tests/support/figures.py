"""Figures of an estimate of costs, as round numbers."""

from heatlens_cli.cost.figures import Bytes, Figures, Measured

FIGURES = Figures(
    architecture="x86_64",
    processors=2,
    image="scan.jpg",
    model="model 1, openvino in f32",
    peak_mib=600,
    upload_bytes=150_000,
    request=Measured(seconds=0.06, processor_seconds=0.1),
    staged=Measured(seconds=0.05, processor_seconds=0.08),
    answer_bytes=Bytes(png=1_400_000, jpeg=350_000),
    picture_bytes=Bytes(png=900_000, jpeg=150_000),
    other_bytes=5_000,
)
