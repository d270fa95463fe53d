"""The contract, a row for each promise, and the tests that carry its mark."""

from collections.abc import Iterator

from tests.support.marks import Marked, marked

ROWS: dict[str, dict[str, str]] = {
    "The base": {
        "heatmap": "`POST /api/inference/heatmap`: field `file`, `colormap` (jet), `alpha` (0.4, 0.1 to 0.9)",
        "heatmap answer": "`success`, `filename`, `heatmap_base64`, `original_image_base64`, `processing_time_ms`",
        "batch": "`POST /api/inference/heatmap-batch`: field `files`, repeated; results in their order",
        "batch answer": "`success`, `results` with `filename`, `success`, images, `error`, time; the total time",
        "health": "`GET /api/inference/health`: `status`, `model_loaded`, `gpu_available`, `model_version`",
        "frozen schema": "a client that knows only the base reads every answer",
        "schema names": "the description keeps `HeatmapResponse`, `BatchHeatmapItem`, `BatchHeatmapResponse`",
        "base64": "bare base64, without a `data:` prefix",
        "alpha": "`alpha * heat + (1 - alpha) * original`",
        "filename": "a missing one is `unknown`; a client's is only echoed",
        "one bad file": "in a batch it fails alone, with what is wrong with it",
    },
    "Errors": {
        "400 image": "not an image, unsupported, unreadable, truncated, empty, bad base64",
        "400 files": "too many files",
        "413": "a body, file or pixel limit; in a batch, a limit of one file fails its item",
        "422": "an invalid or unknown value, no file field; `errors[]` with `loc`, `msg`, `type`",
        "415": "neither multipart, JSON nor an image",
        "503": "no model: the server starts, health is `unhealthy` with the reason; `Retry-After`",
        "500": "a safe sentence, the cause only in the log",
        "problem": "RFC 9457 with `code` and `request_id`; never a traceback, a path or a library's message",
        "every error": "every error is documented and provoked",
        "gateway": '401, 403, 429, 503, 504 and too large bodies may be the gateway\'s `{"message"}`: documented',
    },
    "Explanations": {
        "logit": "the map explains a logit, never a probability",
        "predicted": "by default that of the predicted class",
        "one logit": "a one-logit model's negative class is explained by the negated logit",
        "empty": "a map without positive evidence is returned as such",
        "one pixel": "a 1x1 image is an image",
        "geometry": "heat is drawn only where the model looked; the response has the box",
        "image scale": "`relu(s) / max`, nothing subtracted",
        "quality": "`ok`, `weak`, `empty` by share and the peaks of the explained class",
        "familiarity": "percentile of the distance from the calibration set; beyond the 99.9th `unfamiliar`",
        "map": "`shape`, `dtype`, `order`, `data_base64`, `box`",
    },
    "Options": {
        "target": "label, index or `top-k`, repeated; one pass of the trunk",
        "contrast": "a class whose logit is subtracted from the target's",
        "method": "every method by its name, `++` escaped or not",
        "layer": "every layer of the card",
        "smoothing": "`eigen_smooth`, `aug_smooth`",
        "options in bodies": "top-level keys of JSON named as the query's; the query wins",
        "include": "`overlay`, `original`, `heatmap` (the colored map alone), `map`",
        "format": "`png`, `jpeg`, `webp` for derived images",
        "colormaps": "jet, hot, viridis, turbo, inferno, magma, cividis, gray; coolwarm and seismic for signed maps",
        "original option": "`auto`, or `png` always",
        "strip_original": "removes metadata from a passed-through original",
        "window": "`center,width` in place of an image's own",
        "regions": "boxes and contours at a threshold, of the heat as drawn",
        "faithfulness": "deletion, insertion and ROAD within a time budget",
        "absolute scale": "colors mean the same in two images",
        "model option": "several models side by side, chosen by name",
        "JSON": "`image_base64`, and `images` of a batch",
        "body": "an image may be the body",
        "accept": "`Accept: image/png`, `jpeg` or `webp` answers the overlay itself",
        "DICOM objects": "`dicom`, `format=dicom`, `Accept: application/dicom`: the command line's bytes",
        "original": "the upload unchanged where it is an upright 8-bit PNG or JPEG, else a PNG of what the model saw",
    },
    "Answers": {
        "prediction": "label, index, probability, logit, margin",
        "explained": "the class that a heatmap explains, and the one it is contrasted with",
        "explanations": "one for each of several targets",
        "model": "name, version, digest, layer, method, engine, precision",
        "facts": "`media_type`, `original_media_type`, `width`, `height`, `timings_ms`, `request_id`",
        "counts": "in a batch `succeeded`, `failed`",
    },
    "Other endpoints": {
        "models": "`GET /api/inference/models`: cards",
        "predict": "`POST /api/inference/predict` and `predict-batch`: scores only",
        "ready": "`GET /api/inference/ready`",
        "openapi": "`/openapi.json` with examples that are executed and one shape of errors",
        "docs": "`/docs` loads nothing from other origins",
        "page": "a page at `/`",
        "fuzz": "generated requests: no 5xx, every answer as described",
    },
    "Inputs": {
        "PNG": "1, 2, 4, 8, 16 bit, palette, alpha",
        "JPEG": "gray, RGB, CMYK, EXIF orientation",
        "other types": "WebP, BMP, GIF, AVIF, JPEG 2000, TIFF (first frame), HEIC (extra)",
        "DICOM": "rescale, VOI, MONOCHROME1, 16 bit, compressed transfer syntaxes",
        "bytes win": "the type is decided from the bytes",
        "16 bit": "grayscale is mapped linearly from its minimum to its maximum; a constant image becomes 0",
        "alpha on black": "alpha is composed on black",
        "metadata": "derived outputs carry none of the input's",
    },
    "Limits": {
        "limits": "each at exactly its number, with its status and message",
        "limit numbers": "the numbers of each deployment",
        "while reading": "enforced while reading",
        "303": "a response over the limit: 303 to the same bytes for 15 minutes",
        "redirected clients": "their requirements are documented: `Authorization`, `follow_redirects=True`, CORS",
        "413 ways out": "without a bucket 413, naming the ways out",
        "deadline": "a batch out of time: finished items are returned, the others have the code `deadline`",
    },
    "Entry points": {
        "same bytes": "one image, the same bytes from every entry point on one machine",
        "elsewhere": "on another engine, as on another processor: the same class, the overlay within 1 of 255 (2 "
        "in one of 10,000 values, where a level of heat is rounded the other way and has another color)",
        "HTTP API": "API Gateway HTTP API v2",
        "REST API": "API Gateway REST v1",
        "ALB": "Application Load Balancer",
        "function URL": "Lambda function URL",
        "VPC Lattice": "VPC Lattice, event version 2",
        "SQS": "SQS carrying S3 events",
        "S3": "S3 events",
        "EventBridge": "EventBridge S3 events",
        "SageMaker": "`GET /ping`, `POST /invocations`",
        "KServe": "KServe v1 `:explain` and `:predict`",
        "KServe V2": "the Open Inference Protocol: health, metadata, `infer` with maps as output tensors",
        "uvicorn": "the plain server",
        "CLI": "the command line",
    },
    "Staged batches": {
        "POST batches": "declares a batch: 201 with `batch_id`",
        "POST files": "declares files; a PUT is signed for each, with size, type, checksum and if-none-match",
        "POST links": "signs new links for missing files",
        "POST close": "undelivered ones become `MISSING`",
        "GET batch": "state, counts, rate, time left; `Retry-After`",
        "GET results": "pages of 100, 200 at most; label, probability, quality, code, links of 15 minutes",
        "DELETE batch": "stops what has not started; `?purge=true` erases objects of all versions and rows",
        "retry_of": "repeats the failed files of a finished batch",
        "drop": "objects under `drop/` are processed with default options",
        "upload links": "live 60 minutes",
        "owner": "a batch belongs to the principal that declared it; everyone else gets 404",
        "terminal": "a terminal item never changes",
        "digests": "a committed item names objects whose sha256 equals the recorded one",
        "recounts": "counts are recounts",
        "after the deadline": "no item is open",
        "manifest": "lists exactly the terminal items",
    },
    "Privacy": {
        "names": "file names only in the table and the manifest",
        "words of a file": "no name and no value of a file is logged",
        "burnt in": "text burnt into the pixels stays there, which is documented",
        "audit": "one line for each access: who, action, batch, items, outcome, request id",
        "provenance": "sha256 of input and model, image digest, engine, precision, code version",
        "no original": "staged results never copy it",
        "reply keys": "keys of stored answers carry no names",
    },
}
HEAD = """# Conformance

Each promise of the contract, and the tests that prove it. `make tables` writes this file from
`tests/contract/rows.py` and the marks of the tests; a test fails if it is not current, or a promise has no test.
"""


def names() -> Iterator[str]:
    """Return the name of every row."""
    for rows in ROWS.values():
        yield from rows


def written() -> str:
    """Return the page as it should be."""
    tests = marked("contract")
    parts = [HEAD]
    for title, rows in ROWS.items():
        lines = [f"| {name} | {promise} | {_tests(tests.get(name, []))} |" for name, promise in rows.items()]
        parts.append("\n".join([f"## {title}\n", "| row | promise | proved by |", "|---|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def _tests(tests: list[Marked]) -> str:
    return "<br>".join(f"`{test.id}`" for test in tests)
