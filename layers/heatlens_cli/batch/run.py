"""Run a folder of images as staged batches on a server, and resume an interrupted run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heatlens.client import Client, NoConnection
from heatlens.client.batch_records import BatchLimits
from heatlens_cli.batch.client import BatchClient
from heatlens_cli.batch.download import written_suffixes
from heatlens_cli.batch.fetch import Fetch, FileOutcome, wait
from heatlens_cli.batch.journal import BatchFailed, DeclaredFile, Part, Run, begin
from heatlens_cli.batch.names import JOURNAL, check_free, split_by_name, split_by_size
from heatlens_cli.batch.progress_lines import open_bars
from heatlens_cli.batch.send import Sender, give_up
from heatlens_cli.console import say
from heatlens_cli.sources import MEDIA_TYPES, Image, source_at

LOST = {"MISSING", "CANCELLED"}  # in a batch that ended before all was uploaded
REPEATED = LOST | {"FAILED"}  # of a finished run
PROBES = 2  # tries of the first request: a wrong address is reported at once


def run_batch(
    address: str,
    folder: Path,
    *,
    url: str,
    headers: dict[str, str],
    options: dict[str, Any],
    iam: bool = False,
    force: bool = False,
) -> int:
    """Run a folder of images as one batch, or as several if the server's limits require it.

    Args:
        address: A folder, searched with its subfolders, or `s3://BUCKET/PREFIX`.
        folder: Folder for the heatmaps and `results.jsonl`.
        url: URL of the server.
        headers: Headers of every call to the server, but not of uploads.
        options: Options of the batch, as JSON values.
        iam: Whether requests are signed for IAM.
        force: Whether files that another run or the user has written are overwritten.

    Returns:
        The exit status: 0 if every file succeeded, else 1.

    Raises:
        HeatlensError: There are no images, or the server refuses or does not respond.
    """
    source = source_at(address, results=folder)
    url = url.rstrip("/")
    run = begin(folder, Run(source=source.address, server=url, options=options), anew=force)
    files = list(source.images())
    if not files and not run.parts:
        raise BatchFailed(f"{address} has no images ({', '.join(MEDIA_TYPES)})")
    suffixes = written_suffixes(options)
    if not force:
        known = {file.name for part in run.parts for file in part.files}
        unknown = (file.name for file in files if file.name not in known)
        check_free(folder, unknown, fresh=not (run.parts or run.finished), suffixes=suffixes)
    limits = _probe(url, headers, iam=iam)
    run.save(folder)
    one_case = (folder / JOURNAL.upper()).exists()
    images, refused = split_by_name(files, one_case=one_case, suffixes=suffixes)
    bars = open_bars()
    try:
        with Client(url, headers=headers, auth="iam" if iam else None) as http, bars.live:
            sender = Sender(BatchClient(http), limits, source, folder, run, bars, {each.name: each for each in refused})
            _send(sender, images)
            wait(sender.client, run.parts, bars)
            outcome = Fetch(sender.client, run, folder, bars)(sender.failures)
    except NoConnection as error:
        raise BatchFailed(f"{error}: run the same command again to continue") from error
    _report(run, folder, outcome)
    return int(outcome.failed + outcome.unfetched > 0)


def _probe(url: str, headers: dict[str, str], *, iam: bool) -> BatchLimits:
    """Check that a Heatlens server answers, before any file is read, and return its limits."""
    try:
        with Client(url, headers=headers, auth="iam" if iam else None, tries=PROBES) as client:
            return BatchClient(client).limits()
    except NoConnection as error:
        raise BatchFailed(f"{error}: check --url, or run the same command again to continue") from error


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Parse headers of the form `Name: value`.

    Raises:
        BatchFailed: One has no colon, or characters that a header cannot have.
    """
    wrong = [line for line in lines if ":" not in line or not (line.isascii() and line.isprintable())]
    if wrong:
        raise BatchFailed(f"{wrong[0]!r} is not a header: write it as Name: value")
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _send(sender: Sender, images: Sequence[Image]) -> None:
    """Upload the files that an interrupted run has declared, then send the others in further batches."""
    run = sender.run
    _take_up(sender, {image.name: image for image in images})
    for part in run.parts:
        if part.sent:
            sender.bars.expect("upload", len(part.files))
            sender.bars.advance("upload", len(part.files))
        else:
            sender.upload(part)
    noted = {each.name for part in run.parts for each in part.files}
    if rest := [image for image in images if image.name not in noted]:
        _send_in_batches(sender, rest)


def _send_in_batches(sender: Sender, images: Sequence[Image]) -> None:
    """Send images in as many batches as the server's limits need."""
    limits = sender.limits
    images, over = split_by_size(images, limits.file_bytes)
    sender.failures.update({each.name: each for each in over})
    for start in range(0, len(images), limits.batch_files):
        batch_images = images[start : start + limits.batch_files]
        if made := sender.declare(batch_images, call_files=limits.call_files):
            sender.upload(made)


def _take_up(sender: Sender, images: dict[str, Image]) -> None:
    """Keep the valid parts of an interrupted run; files that changed or were not declared are sent again.

    A file that was removed meanwhile stays in its batch, and succeeds if it was uploaded.
    """
    run = sender.run
    for part in list(run.parts):
        status = sender.client.find(part.batch_id) if part.files else None
        if status is None:
            give_up(sender.client, run, part)
            continue
        say(f"resuming batch {part.batch_id}")
        standing = [each for each in part.files if _stands(each, images, sender.failures)]
        if status.state != "open" and (run.finished or not part.sent):
            sender.client.close(part.batch_id)  # the run may have been interrupted before closing it
            repeated = REPEATED if run.finished else LOST
            standing, part.sent = _arrived(sender.client, part, standing, images, repeated), True
        if changed := len(part.files) - len(standing):
            why = "have changed, or failed" if run.finished else "have changed, or it ended without them"
            say(f"{changed} of its files {why}: they go into another batch")
        part.files = standing
    run.parts = [part for part in run.parts if part.files]
    run.finished = False
    run.save(sender.folder)


def _stands(file: DeclaredFile, images: dict[str, Image], refused: dict[str, Any]) -> bool:
    return images[file.name].stamp == file.stamp if file.name in images else file.name not in refused


def _arrived(
    client: BatchClient, part: Part, files: Sequence[DeclaredFile], images: dict[str, Image], repeated: set[str]
) -> list[DeclaredFile]:
    """Keep the files of a closed batch that are not repeated, or that do not exist any more."""
    states = {each.number: each.state for page in client.results(part.batch_id) for each in page}
    return [each for each in files if states.get(each.number) not in repeated or each.name not in images]


def _report(run: Run, folder: Path, outcome: FileOutcome) -> None:
    """Print the outcome, and remove the journal unless running again can do more."""
    batches = ", ".join(part.batch_id for part in run.parts) or "none was needed"
    say(f"{outcome.done} heatmaps in {folder}, {outcome.failed} failed (batch: {batches})")
    if outcome.unfetched:
        say(f"{outcome.unfetched} heatmaps were not downloaded: run the same command again to download them")
    elif outcome.failed:
        say("run the same command again to repeat those that failed")
        run.finished = True
        run.save(folder)
    else:
        (folder / JOURNAL).unlink(missing_ok=True)
