"""`heatlens verify` of the documents of a real batch, unchanged and altered."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from heatlens.model import Model
from heatlens_aws.object_keys import Lane, attempt_prefix, manifest_key, results_key, upload_key
from heatlens_aws.records import batch_key
from heatlens_cli.verify.manifest import Manifest, NoManifest
from heatlens_cli.verify.run import faults, verify_manifest
from heatlens_web.batches.service import BatchService
from tests.chaos.hooks import Wires
from tests.support.aws import ID, Account
from tests.support.denials import Denies, HidesMissing
from tests.support.staged import Staged, desk, picture

Json = dict[str, Any]
Tamper = Callable[[Json], Any]
OPTIONS = {"colormap": "hot", "alpha": 0.5, "include": ["overlay"]}


@pytest.fixture
def staged(aws: Account, tiny_model: Model) -> Staged:
    """A finished batch: one file that succeeded, one that failed, one that never came."""
    made = desk(aws, tiny_model)
    files = [picture(1), b"no image", picture(2)]
    made.batch(*files, options=OPTIONS)
    aws.clients.dynamodb.update_item(
        TableName=aws.settings.table,
        Key=batch_key(ID),
        UpdateExpression="SET model = :model",
        ExpressionAttributeValues={":model": {"S": tiny_model.sha256}},
    )
    made.work(made.received(*(made.put(data, number) for number, data in enumerate(files[:2]))))
    api = BatchService(aws.jobs, aws.staging, aws.settings)
    api.close(api.find("me", ID))
    return made


def read(staged: Staged, key: str) -> bytes | None:
    try:
        return staged.object(key)
    except ClientError:
        return None


def manifest_of(staged: Staged) -> Json:
    manifest: Json = json.loads(staged.object(manifest_key(ID)))
    return manifest


def found(staged: Staged, manifest: Json) -> list[str]:
    return faults(Manifest.parse(json.dumps(manifest).encode(), "it"), lambda key: read(staged, key))


def result_key(staged: Staged) -> str:
    return attempt_prefix(ID, 0, staged.file().outcome["attempt"]) + "result.json"


def test_a_finished_batch_has_no_fault(staged: Staged) -> None:
    manifest = manifest_of(staged)

    assert found(staged, manifest) == []
    assert [file["state"] for file in manifest["files"]] == ["OK", "FAILED", "MISSING"]


def recount(manifest: Json) -> None:
    manifest["counts"] = {"OK": 1, "MISSING": 2}
    manifest["files"][1] |= {"state": "MISSING", "outcome": {}}


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda m: m["files"][0]["outcome"].update(label="ELSE"), "file 0: label is 'ELSE', result.json says "),
        (lambda m: m["files"][0]["outcome"].update(label="ELSE"), "file 0: label is 'ELSE', results.jsonl says "),
        (
            lambda m: m["files"][0]["outcome"].update(probability=0.001),
            "file 0: probability is 0.001, result.json says ",
        ),
        (
            lambda m: m["files"][0]["outcome"].update(familiarity={"percentile": 100.0, "unfamiliar": True}),
            "file 0: familiarity is {'percentile': 100.0, 'unfamiliar': True}, result.json says ",
        ),
        (lambda m: m["files"][0]["outcome"].update(quality="weak"), "file 0: quality is 'weak', result.json says "),
        (lambda m: m["files"][0]["outcome"].update(version="v"), "file 0: version is 'v', results.jsonl says "),
        (lambda m: m["files"][0]["outcome"].update(attempt=ID), "file 0: map.npy is missing"),
        (
            lambda m: m["files"][0]["outcome"].update(attempt="../a"),
            "file 0: its outcome is not that of a result: attempt",
        ),
        (lambda m: m["files"][0]["outcome"].pop("label"), "file 0: its outcome is not that of a result: label"),
        (
            lambda m: m["files"][0]["outcome"]["objects"].pop("overlay.png"),
            "file 0: overlay.png is not among its objects",
        ),
        (lambda m: m["files"][0]["outcome"]["objects"].clear(), "file 0: result.json is not among its objects"),
        (lambda m: m["files"][0]["outcome"]["objects"].update(a="0"), "file 0: a is none of its objects"),
        (
            lambda m: m["files"][0]["outcome"]["objects"].update({"map.npy": "0"}),
            "file 0: map.npy is not what was committed",
        ),
        (lambda m: m["files"][0].update(sha256="0" * 64), f"file 0: sha256 is '{'0' * 64}', result.json says "),
        (lambda m: m["files"][0].update(state="FAILED"), "file 0: it failed without a code"),
        (lambda m: m["files"][1].update(sha256="0" * 64), "file 1: its upload is not what was declared"),
        (lambda m: m["files"][1]["outcome"].update(code="a.b"), "file 1: code is 'a.b', results.jsonl says "),
        (recount, "file 1: state is 'MISSING', results.jsonl says 'FAILED'"),
        (lambda m: m["files"][2].update(outcome={"code": "a.b"}), "file 2: MISSING with an outcome"),
        (lambda m: m["files"][2].update(state="PENDING"), "file 2: it has not ended"),
        (lambda m: m["files"][2].update(number=3), "the files are not numbered from 0 without a gap"),
        (lambda m: m["files"].pop(), "results.jsonl has 3 lines for 2 files"),
        (lambda m: m["counts"].update(OK=2), "the manifest says {'FAILED': 1, 'MISSING': 1, 'OK': 2}"),
        (lambda m: m.update(model="f" * 64), f"file 0: model is '{'f' * 64}', result.json says "),
        (lambda m: m["options"].update(alpha=0.4), "file 0: option alpha is 0.4, result.json says 0.5"),
        (lambda m: m["results"].update(sha256="0" * 64), "results.jsonl is not what was committed"),
        (lambda m: m["results"].update(key="out/another"), "its results are not out/another"),
    ],
)
def test_rejects_an_altered_manifest(tamper: Tamper, fault: str, staged: Staged) -> None:
    manifest = manifest_of(staged)
    tamper(manifest)

    assert any(fault in each for each in found(staged, manifest)), found(staged, manifest)


def test_rejects_results_and_a_manifest_altered_alike(staged: Staged) -> None:
    manifest = manifest_of(staged)
    manifest["files"][0]["outcome"]["label"] = "ELSE"
    rows = ({"number": file["number"], "state": file["state"]} | file["outcome"] for file in manifest["files"])
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    manifest["results"]["sha256"] = hashlib.sha256(lines).hexdigest()
    staged.put(lines, key=results_key(ID))

    [fault] = found(staged, manifest)
    assert fault.startswith("file 0: label is 'ELSE', result.json says ")


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b"{}\n{}\n{}\n"])
def test_rejects_results_of_another_shape(data: bytes, staged: Staged) -> None:
    staged.put(data, key=results_key(ID))

    assert "results.jsonl is not what was committed" in found(staged, manifest_of(staged))


def test_rejects_a_result_of_another_shape(staged: Staged) -> None:
    staged.put(b"[]", key=result_key(staged))

    assert found(staged, manifest_of(staged))[0] == "file 0: result.json is not what was committed"
    assert found(staged, manifest_of(staged))[1].startswith("file 0: result.json cannot be read")


def test_missing_objects_are_named(staged: Staged) -> None:
    manifest = manifest_of(staged)
    staged.aws.staging.erase("out/")

    names = ["results.jsonl", "file 0: map.npy", "file 0: overlay.png", "file 0: result.json"]
    assert found(staged, manifest) == [f"{name} is missing" for name in names]


def test_an_upload_that_has_expired_is_no_fault(staged: Staged) -> None:
    staged.aws.staging.erase(upload_key(Lane.INTERACTIVE, ID, 1))

    assert found(staged, manifest_of(staged)) == []


def test_verifies_a_bucket(staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"s3://{staged.aws.settings.bucket}/{manifest_key(ID)}"
    monkeypatch.setattr("heatlens_aws.clients.connect", lambda _: staged.aws.clients)

    assert verify_manifest(address) == 0
    assert f"{ID}: 3 files as written" in capsys.readouterr().out

    def broken(**_: Any) -> None:  # noqa: ANN401 - whatever is read
        raise ReadTimeoutError(endpoint_url="x")

    for wrong in (f"s3://{staged.aws.settings.bucket}/nothing", "s3://", f"s3://{staged.aws.settings.bucket}"):
        with pytest.raises(NoManifest, match="does not exist"):
            verify_manifest(wrong)
    monkeypatch.setattr(staged.aws.clients.s3, "get_object", broken)
    with pytest.raises(NoManifest, match="cannot be read: ReadTimeoutError"):
        verify_manifest(address)


def test_a_missing_object_is_named_and_a_denied_one_ends_the_check(
    staged: Staged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"s3://{staged.aws.settings.bucket}/{manifest_key(ID)}"
    monkeypatch.setattr("heatlens_aws.clients.connect", lambda _: staged.aws.clients)
    staged.aws.staging.erase(results_key(ID))
    denies = Denies("GetObject", code="KMS.DisabledException")
    wires = Wires([staged.aws.clients.s3])
    wires.hooks = (HidesMissing(), denies)

    with pytest.raises(NoManifest, match=r"cannot be read: access is denied \(KMS.DisabledException\): allow s3:Get"):
        verify_manifest(address)

    denies.active = False
    assert verify_manifest(address) == 1
    assert capsys.readouterr().err.splitlines() == ["results.jsonl is missing"]
    wires.hooks = (HidesMissing(), Denies("ListObjectsV2"))
    with pytest.raises(NoManifest, match="cannot be read: access is denied"):
        verify_manifest(address)


def copied(staged: Staged, root: Path) -> Path:
    for key in staged.keys("out/"):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(staged.object(key))
    return root / manifest_key(ID)


def test_verifies_a_copy_on_disk(staged: Staged, tmp_path: Path) -> None:
    manifest = copied(staged, tmp_path)

    assert verify_manifest(str(manifest)) == 0
    elsewhere = tmp_path / "manifest.json"
    elsewhere.write_bytes(manifest.read_bytes())
    with pytest.raises(NoManifest, match=f"it must lie as in the bucket, out/{ID}/manifest.json"):
        verify_manifest(str(elsewhere))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"schema_version": 2}',
        b'{"schema_version": 1, "batch": "B", "model": "m", "options": {}, "counts": {}, "results": {}, "files": {}}',
    ],
)
def test_a_file_that_is_not_a_manifest_is_reported_in_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(data)

    with pytest.raises(NoManifest, match="is not a manifest of a batch"):
        verify_manifest(str(path))


def test_a_missing_manifest_is_reported_in_one_line(tmp_path: Path) -> None:
    for path in ("/manifest.json", str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(NoManifest, match=r"No such file or directory|Is a directory"):
            verify_manifest(path)
