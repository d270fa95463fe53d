"""`heatlens explain` and `heatlens predict`."""

from pathlib import Path
from typing import Annotated

import typer

from heatlens.options import OptionArguments
from heatlens_cli.clear_errors import clear_errors
from heatlens_cli.commands.options import (
    AlphaWeight,
    AsJson,
    ColormapName,
    Contrast,
    DicomObjects,
    Force,
    FormatName,
    FrameNumber,
    Images,
    Included,
    Layer,
    Method,
    ModelFolder,
    OutFolder,
    Scale,
    Targets,
    Threshold,
    Window,
)
from heatlens_cli.console import complain, say


@clear_errors()
def explain(
    images: Images,
    folder: OutFolder = Path("out"),
    model: ModelFolder = None,
    colormap: ColormapName = "jet",
    alpha: AlphaWeight = 0.4,
    *,
    target: Targets = None,
    contrast: Contrast = None,
    method: Method = None,
    layer: Layer = None,
    scale: Scale = "image",
    include: Included = "overlay",
    threshold: Threshold = 0.5,
    dicom: DicomObjects = None,
    form: FormatName = "png",
    window: Window = None,
    frame: FrameNumber = None,
    eigen_smooth: Annotated[
        bool, typer.Option("--eigen-smooth", help="Reduce a map to its first principal component.")
    ] = False,
    aug_smooth: Annotated[
        bool, typer.Option("--aug-smooth", help="Average the maps of six views: six times the work.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the pictures as contact sheets: PNG, 36 pictures in each.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write one HTML file of all pictures, to be sorted by class or quality.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Write a heatmap for each image, without a server: IMAGE.heatmap.png, in the images' own subfolders."""
    from heatlens.dicom_out import read_kinds
    from heatlens_cli.explain import CoreExplainer, check_report_names, read_include
    from heatlens_cli.explain_files import Output, explain_files
    from heatlens_cli.explain_report import JsonLines, Report, Reports, Table, options_shown

    options: OptionArguments = {"colormap": colormap, "alpha": alpha, "target": target or (), "contrast": contrast}
    options |= {"method": method, "layer": layer, "scale": scale, "threshold": threshold}
    options |= {"eigen_smooth": eigen_smooth, "aug_smooth": aug_smooth}
    check_report_names(sheet, report)
    included = read_include(include, pictures_for=sheet or report)
    kinds = () if dicom is None else read_kinds(dicom)
    read = options | {"format": form, "window": window, "frame": frame}
    explainer = CoreExplainer(model, read, included, kinds)
    announce = complain if as_json else say  # nothing but JSON on standard output
    reports: list[Report] = [JsonLines() if as_json else Table(explainer.notice, folder)]
    if sheet:
        from heatlens_cli.contact_sheet import ContactSheet

        reports.append(ContactSheet(sheet, force=force, announce=announce))
    if report:
        from heatlens_cli.html_report import HtmlReport, Subject
        from heatlens_cli.report_file import ReportFile

        subject = Subject(explainer.card, explainer.sha256, options_shown(options))
        reports.append(HtmlReport(ReportFile(report, "--report", force), subject, announce))
    output = Output(folder, explainer.suffixes, several=explainer.several, force=force)
    raise typer.Exit(
        explain_files(
            images,
            explainer,
            output,
            max_bytes=explainer.file_bytes,
            together=explainer.images,
            report=Reports(*reports),
        )
    )


@clear_errors()
def predict(
    images: Images,
    model: ModelFolder = None,
    top: Annotated[int, typer.Option(help="How many classes to print.", min=1)] = 1,
    window: Window = None,
    frame: FrameNumber = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the predicted class of each image, without a heatmap."""
    from heatlens_cli.predict_files import Predictor, predict_files

    raise typer.Exit(predict_files(images, Predictor(model, window, frame), top=top, as_json=as_json))
