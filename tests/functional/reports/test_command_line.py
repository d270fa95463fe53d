"""The command line keeps the user's files, says what it explains, and ends in one line whatever its output is."""

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from heatlens.types import Upload
from heatlens_cli import explain_files
from heatlens_cli.atomic_file import write_atomically
from heatlens_cli.explain_files import Output
from heatlens_cli.file_explanation import ClassHeatmap, FileExplanation
from heatlens_cli.init_model import write_template
from tests.support.paths import HEATLENS, SAMPLES

JPEG = SAMPLES / "phantom-03-opacity.jpg"


def heatlens(*words: object, env: dict[str, str] | None = None, before: str = "") -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'{before} exec "$0" "$@"', str(HEATLENS), *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, env=os.environ | (env or {}))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def copies(folder: Path, names: Sequence[str]) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(JPEG, path)
    return paths


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_an_unrelated_image_beside_the_explained_one_is_kept(command: str, tmp_path: Path) -> None:
    copies(tmp_path, ["scan.jpg"])
    (tmp_path / "scan.png").write_bytes(b"another image")

    done = heatlens(*command.split(), tmp_path / "scan.jpg", "-o", tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scan.png").read_bytes() == b"another image"
    assert files(tmp_path) == ["scan.jpg", "scan.jpg.heatmap.png", "scan.png"]


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_images_of_one_name_in_two_folders_have_two_heatmaps(command: str, tmp_path: Path) -> None:
    images = copies(tmp_path, ["a/scan.png", "b/scan.png", "b/scan.jpg"])

    done = heatlens(*command.split(), *images, "-o", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == ["a/scan.png.heatmap.png", "b/scan.jpg.heatmap.png", "b/scan.png.heatmap.png"]


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_an_existing_file_is_overwritten_only_with_force(command: str, tmp_path: Path) -> None:
    [first], [second] = copies(tmp_path, ["a/scan.jpg"]), copies(tmp_path, ["b/scan.jpg"])
    target = tmp_path / "out" / "scan.jpg.heatmap.png"

    assert heatlens(*command.split(), first, "-o", tmp_path / "out").returncode == 0
    target.write_bytes(b"the first")
    refused = heatlens(*command.split(), second, "-o", tmp_path / "out")
    kept = target.read_bytes()
    forced = heatlens(*command.split(), second, "-o", tmp_path / "out", "--force")

    assert (refused.returncode, kept) == (1, b"the first")
    assert refused.stderr.decode() == (f"{second}: {target} exists: choose another --out, or --force to overwrite it\n")
    assert forced.returncode == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_an_image_named_twice_is_explained_once(tmp_path: Path) -> None:
    [image] = copies(tmp_path, ["a/scan.jpg"])
    again = tmp_path / "a" / ".." / "a" / "scan.jpg"

    done = heatlens("explain", image, again, "-o", tmp_path / "out", "--force")

    assert done.returncode == 0
    assert done.stderr.decode() == f"{again}: named twice, explained once\n"
    assert files(tmp_path / "out") == ["scan.jpg.heatmap.png"]


def drawn(uploads: Sequence[Upload]) -> list[FileExplanation]:
    return [
        FileExplanation("A", 0.5, (ClassHeatmap("A", (0,), 0.5, "ok", {".png": upload.data}),)) for upload in uploads
    ]


def test_force_overwrites_no_image_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a", tmp_path / "a.heatmap.png"
    first.write_bytes(b"first")
    second.write_bytes(b"second")

    assert explain_files.explain_files([first, second], drawn, Output(tmp_path, force=True), max_bytes=99) == 1

    assert second.read_bytes() == b"second"
    assert "is a file of this run, which is not overwritten: choose another --out" in capsys.readouterr().err
    assert (tmp_path / "a.heatmap.png.heatmap.png").read_bytes() == b"second"


def test_names_that_differ_in_case_only_are_two_files_or_the_second_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system that ignores case is made by lowering each target's name."""
    images = [tmp_path / "in" / "A.png", tmp_path / "in" / "a.png"]
    for image in copies(tmp_path, ["in/A.png", "in/a.png"]):
        image.write_text(image.name)
    plain, target = Output(tmp_path / "plain"), Output.target

    assert explain_files.explain_files(images, drawn, plain, max_bytes=99) == 0
    assert files(tmp_path / "plain") == ["A.png.heatmap.png", "a.png.heatmap.png"]

    def lowered(output: Output, image: Path, suffix: str, heatmap: ClassHeatmap | None = None) -> Path:
        path = target(output, image, suffix, heatmap)
        return path.with_name(path.name.lower())

    monkeypatch.setattr(Output, "target", lowered)
    for force in (False, True):
        folder = tmp_path / f"lowered-{force}"
        assert explain_files.explain_files(images, drawn, Output(folder, force=force), max_bytes=99) == 1
        assert (folder / "a.png.heatmap.png").read_text() == "A.png"
    assert capsys.readouterr().err.count("choose another --out") == 2


@pytest.mark.parametrize("command", ["explain", "dev invoke"])
def test_a_full_disk_leaves_no_cut_picture_and_names_the_heatmap(command: str, tmp_path: Path) -> None:
    """The largest file size stands for the disk: the picture has more than a few blocks."""
    target = tmp_path / "out" / f"{JPEG.name}.heatmap.png"

    done = heatlens(*command.split(), JPEG, "-o", tmp_path / "out", before="ulimit -f 8;")

    assert done.returncode == 1
    assert done.stderr.decode() == f"{JPEG}: {target} cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert files(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"

    with pytest.raises(FileExistsError), write_atomically(path, overwrite=False):
        path.write_bytes(b"another's")

    assert (path.read_bytes(), files(tmp_path)) == (b"another's", ["a"])


def test_a_file_is_written_once_where_the_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr("os.link", without)
    path = tmp_path / "a"

    with write_atomically(path, overwrite=False) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), write_atomically(path, overwrite=False) as file:
        file.write(b"second")

    assert (path.read_bytes(), files(tmp_path)) == (b"first", ["a"])


def test_two_processes_that_write_one_file_do_not_mix_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"

    with write_atomically(path, overwrite=True) as first:
        first.write(b"1" * 10)
        with write_atomically(path, overwrite=True) as second:
            second.write(b"2" * 5)
        between = path.read_bytes()

    assert (between, path.read_bytes(), files(tmp_path)) == (b"2" * 5, b"1" * 10, ["a"])


def test_a_model_description_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(Exception, match=r"^model\.toml cannot be written: No space left on device$"):
        write_template(tmp_path / "model.toml", "torchvision:resnet50")

    assert files(tmp_path) == []


def test_compiling_over_an_existing_folder_needs_force(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("a model")

    refused = heatlens("compile", tmp_path / "model.toml", "-o", tmp_path)

    assert refused.stderr.decode() == (
        f"{tmp_path} exists: choose another --out, or --force to replace a model folder\n"
    )
    assert (refused.returncode, files(tmp_path)) == (1, ["card.json"])


def test_the_explained_class_has_its_own_place(tmp_path: Path) -> None:
    done = heatlens("explain", JPEG, "-o", tmp_path, "--target", "CLEAR")

    row = done.stdout.decode().splitlines()[1]
    assert row.split()[:2] == [str(JPEG), "OPACITY"]
    assert row.endswith(f"{JPEG.name}.heatmap.png  explains CLEAR ({1 - float(row.split()[2]):.4f})")


@pytest.mark.parametrize("targets", [["top-2"], ["OPACITY", "CLEAR"], ["1", "top-1", "0"]])
def test_each_of_several_targets_has_a_picture(targets: list[str], tmp_path: Path) -> None:
    words = [word for target in targets for word in ("--target", target)]

    done = heatlens("explain", JPEG, "-o", tmp_path, *words)

    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == [f"{JPEG.name}.{name}.heatmap.png" for name in ("0-CLEAR", "1-OPACITY")]
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 2
    assert [line.split()[0] for line in done.stdout.decode().splitlines()].count(str(JPEG)) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", "--target", "goldfish"], "target: 'goldfish' is no class of this model"),
        (["explain", "--contrast", "goldfish"], "contrast: 'goldfish' is no class of this model"),
        (["explain", "--method", "nonsense"], "method: unknown method 'nonsense'"),
        (["explain", "--layer", "nowhere"], "nowhere"),
        (["explain", "--include", "overlay,region"], "region: unknown name; did you mean 'regions'?"),
        (["explain", "--threshold", "0"], "threshold is 0.0"),
        (["explain", "--scale", "mine"], "scale is 'mine'"),
        (["dev", "invoke", "--alpha", "7"], "alpha is 7.0"),
        (["dev", "invoke", "--colormap", "rainbow"], "colormap is 'rainbow'"),
    ],
)
def test_a_wrong_option_is_reported_once_and_before_any_file(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = heatlens(*words, JPEG, tmp_path / "gone.png", "-o", tmp_path / "out")

    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert sentence in done.stderr.decode()
    assert (done.stdout, files(tmp_path)) == (b"", [])


@pytest.mark.parametrize("command", ["explain", "dev invoke", "dev event"])
def test_a_file_of_three_gigabytes_is_refused_unread(command: str, tmp_path: Path) -> None:
    """The address space holds the program, but not the file."""
    image = tmp_path / "large.png"
    image.touch()
    os.truncate(image, 3 * 2**30)

    done = heatlens(*command.split(), image, *(["-o", tmp_path / "out"] if command != "dev event" else []))

    assert done.returncode == 1
    assert b"the file is over the limit of" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_an_output_without_unicode_gets_escapes(env: dict[str, str], tmp_path: Path) -> None:
    [image] = copies(tmp_path, ["Müller.jpg"])

    done = heatlens("explain", image, tmp_path / "größe.png", "-o", tmp_path / "out", env=env)
    helped = heatlens("explain", "--help", env=env)

    assert done.returncode == 1
    assert b"No such file" in done.stderr
    assert b"Traceback" not in done.stderr + helped.stderr
    assert (files(tmp_path / "out"), helped.returncode) == (["Müller.jpg.heatmap.png"], 0)


def test_control_characters_and_bytes_of_a_file_name_are_not_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"sc\xffan\x1b]0;x\x07\n.jpg")
    images = copies(tmp_path, [name])

    done = heatlens("explain", *images, tmp_path / f"gone{name}", "-o", tmp_path / "out")

    assert "sc�an�]0;x��.jpg" in done.stdout.decode()
    assert "gonesc�an�]0;x��.jpg: No such file or directory" in done.stderr.decode()
    assert (tmp_path / "out" / f"{name}.heatmap.png").exists()


@pytest.mark.parametrize("words", [["explain", JPEG, "-o"], ["dev", "event", JPEG], ["--help"], ["inspect"]])
def test_a_full_output_is_reported_in_one_line(words: list[object], tmp_path: Path) -> None:
    from heatlens.settings import DEMO_MODEL

    last = {"explain": [tmp_path], "inspect": [DEMO_MODEL]}.get(str(words[0]), [])
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [HEATLENS, *map(str, [*words, *last])], stdout=full, stderr=subprocess.PIPE, check=False, timeout=120
        )

    assert done.returncode == 1
    assert done.stderr.decode() == "standard output cannot be written: No space left on device\n"


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [HEATLENS, "explain", JPEG, "-o", tmp_path],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writing)

    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


def test_an_interrupted_command_ends_with_130(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    run = subprocess.Popen([HEATLENS, "explain", pipe, "-o", tmp_path / "out"], stdout=-1, stderr=-1)
    with pipe.open("wb"):  # it waits for the image now
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)

    assert (run.returncode, errors) == (130, b"interrupted\n")


def test_an_image_can_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(JPEG.read_bytes()))
    writer.start()

    done = heatlens("explain", pipe, "-o", tmp_path / "out")

    writer.join(timeout=30)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == ["pipe.jpg.heatmap.png"]


def test_the_version_is_printed() -> None:
    import heatlens as package

    assert heatlens("--version").stdout.decode() == f"heatlens {package.__version__}\n"


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    done = heatlens("explain", JPEG, "--tagret", "CLEAR")

    assert done.returncode == 2
    assert "--target" in done.stderr.decode()
