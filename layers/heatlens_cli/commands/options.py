"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[Path],
    typer.Argument(help="Image files, folders with their subfolders, 'patterns/**/*.png', or - for standard input."),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the heatmaps; created if missing.")]
ColormapName = Annotated[str, typer.Option(help="jet, hot, viridis, turbo, …; coolwarm or seismic show both signs.")]
AlphaWeight = Annotated[float, typer.Option(help="Weight of the heatmap in the overlay, 0.1 to 0.9.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object for each file.")]
ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="Model folder; HEATLENS_MODEL_DIR or the demo by default.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(help="Class label, index or top-3; by default the predicted class. Repeat it for several."),
]
Contrast = Annotated[str | None, typer.Option(help="Class whose logit is subtracted from the target's.")]
Method = Annotated[
    str | None, typer.Option(help="gradcam, gradcam++, layercam, eigencam, ablationcam, …; by default the model's.")
]
Layer = Annotated[str | None, typer.Option(help="Layer from the model card; by default the first.")]
Scale = Annotated[str, typer.Option(help="image: full heat is each map's maximum. absolute: the same in all.")]
Included = Annotated[
    str, typer.Option(help="What to write, separated by commas: overlay, heatmap, map, regions, faithfulness.")
]
Threshold = Annotated[float, typer.Option(help="Heat at which regions begin, 0.01 to 1.")]
DicomObjects = Annotated[
    str | None,
    typer.Option(help="DICOM objects to write too, separated by commas: sc, seg, heat, pm, sr. Images are DICOM."),
]
FormatName = Annotated[str, typer.Option("--format", help="png, jpeg or webp.")]
FrameNumber = Annotated[int | None, typer.Option("--frame", help="Frame of DICOM files, from 1; the first by default.")]
Window = Annotated[
    str | None, typer.Option(help="center,width for DICOM and high-bit-depth grayscale, such as 40,400.")
]
