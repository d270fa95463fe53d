"""What becomes of instances that cannot be explained, and of a watcher that is stopped or wrongly set up."""

import os
import subprocess
from pathlib import Path

import pytest

from heatlens.settings import DEMO_MODEL
from tests.support.dicom import written
from tests.support.dicom_studies import PRIVATE_TEXT, phantom, radiograph, study
from tests.support.dicom_watch import RULE, Watch, watch_file, watching
from tests.support.orthanc import PASSWORD, Orthanc, eventually
from tests.support.paths import HEATLENS

FIRST = "1.2.826.0.1.3680043.2.2.1"


def command(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HEATLENS_PACS_PASSWORD": PASSWORD} | variables
    return subprocess.run(
        [HEATLENS, "dicom", *map(str, words)], capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def truncated() -> bytes:
    image = study(phantom())
    image.PixelData = image.PixelData[:1000]
    return written(image)


def test_an_image_that_cannot_be_read_fails_with_a_sentence_and_can_be_repeated(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    file = watch_file(tmp_path, orthanc)
    with watching(file) as watch:
        orthanc.stow(truncated())
        orthanc.stow(radiograph(number=2))
        watch.until_done(1)
        status = command("status", file)

        assert status.stdout.splitlines()[0] == "0 waiting, 1 failed, 1 done"
        assert status.stdout.splitlines()[1].startswith(f"{FIRST}  2")
        assert "the DICOM file is truncated" in status.stdout
        assert PRIVATE_TEXT not in status.stdout + watch.log

        put_back = command("retry", file, FIRST)
        assert (put_back.returncode, put_back.stdout) == (0, "1 of 1 wait again\n")
        eventually(lambda: watch.log.count(f"failed {FIRST}") == 2, watch.log)
        assert orthanc.count() == 2 + 1


def test_an_object_that_the_source_cannot_have_fails_and_nothing_is_stored(orthanc: Orthanc, tmp_path: Path) -> None:
    file = watch_file(tmp_path, orthanc, RULE + 'objects = ["sc", "pm"]\n')
    with watching(file) as watch:
        orthanc.stow(radiograph())
        eventually(lambda: watch.queue.count("failed") == 1, "it never failed")

        assert "a Parametric Map needs a place in the patient" in command("status", file).stdout
        assert orthanc.count() == 1


def test_retry_names_an_instance_that_has_not_failed(orthanc: Orthanc, tmp_path: Path) -> None:
    done = command("retry", watch_file(tmp_path, orthanc), "1.2.3")

    assert (done.returncode, done.stdout) == (1, "0 of 0 wait again\n")
    assert done.stderr.startswith("1.2.3: has not failed: heatlens dicom status ")


def test_an_instance_that_was_deleted_meanwhile_fails(orthanc: Orthanc, tmp_path: Path) -> None:
    file = watch_file(tmp_path, orthanc)
    watch = Watch(file)
    watch.start()
    assert watch.stop() == 0
    orthanc.stow(radiograph(), radiograph(number=2))
    # The queue is filled by a watcher that is killed before it has worked on all.
    watch.start()
    eventually(lambda: "queued " in watch.log, "nothing is queued")
    watch.kill()
    for identifier in orthanc.instances().values():
        orthanc.session.delete(f"{orthanc.url}/instances/{identifier}")
    watch.start()
    try:
        eventually(lambda: watch.queue.count("waiting") == 0, "some wait for ever")
        assert watch.queue.count("failed") + watch.queue.count("done") <= 2
        assert "Traceback" not in watch.log
    finally:
        watch.kill()


def test_a_terminated_watcher_ends_cleanly_and_continues(orthanc: Orthanc, tmp_path: Path) -> None:
    watch = Watch(watch_file(tmp_path, orthanc))
    watch.start()
    orthanc.stow(*(radiograph(number=number) for number in range(1, 9)))
    watch.until_done(1)
    assert watch.stop() == 0
    assert "stopped: " in watch.log.splitlines()[-1]

    watch.start()
    watch.until_done(8)
    assert watch.stop() == 0
    assert watch.log.splitlines()[-1].endswith("stopped: 0 instances wait")
    assert orthanc.count() == 16


def test_what_was_there_before_the_first_start_is_left_alone(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.stow(radiograph())
    with watching(watch_file(tmp_path, orthanc)) as watch:
        orthanc.stow(radiograph(number=2))
        watch.until_done(1)

        assert orthanc.count() == 3
        assert f"done {FIRST}:" not in watch.log


def test_a_watcher_that_starts_before_orthanc_waits_for_it(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.kill()
    with watching(watch_file(tmp_path, orthanc)) as watch:
        eventually(lambda: "the PACS does not answer (ConnectionError): all wait" in watch.log, "it does not wait")
        orthanc.start()
        eventually(lambda: "the PACS answers again" in watch.log, watch.log)
        orthanc.stow(radiograph())
        watch.until_done(1)

        assert orthanc.count() == 2


def test_wrong_credentials_are_named_and_lose_nothing(orthanc: Orthanc, tmp_path: Path) -> None:
    file = watch_file(tmp_path, orthanc)
    done = subprocess.Popen(
        [HEATLENS, "dicom", "watch", file],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HEATLENS_PACS_PASSWORD": "a-wrong-secret"},
    )
    assert done.stderr
    lines = [done.stderr.readline() for _ in range(2)]
    done.terminate()
    done.communicate(timeout=60)

    assert "the PACS answered 401: it does not accept these credentials: all wait" in lines[1]
    assert "a-wrong-secret" not in "".join(lines)
    assert done.returncode == 0


def test_two_watchers_cannot_share_a_queue(orthanc: Orthanc, tmp_path: Path) -> None:
    file = watch_file(tmp_path, orthanc)
    with watching(file):
        done = command("watch", file)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("heatlens-queue: another process works on this queue")


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (RULE + 'target = "LUNG"\n', "rule 1 (chest): "),
        (RULE.replace(str(DEMO_MODEL), "no-model"), "rule 1 (chest): "),
        (RULE + 'modalty = "CR"\n', "rule 1 (chest): modalty: unknown name; did you mean 'modality'?"),
    ],
)
def test_a_wrong_rule_is_refused_at_the_start(orthanc: Orthanc, tmp_path: Path, rules: str, reason: str) -> None:
    file = watch_file(tmp_path, orthanc, rules)
    done = command("watch", file)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{file}: {reason}")
    assert done.stderr.count("\n") == 1
