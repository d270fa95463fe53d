"""The file of `heatlens dicom watch`: defaults, all keys, and an error that names file, rule and key."""

from pathlib import Path

import pytest

from heatlens.errors import HeatlensError
from heatlens_cli.dicom.failures import BadWatchFile
from heatlens_cli.dicom.watch_file import PASSWORD, TOKEN, checked_rule, read_watch_file

LEAST = '[[rule]]\nmodel = "model"\n'
ALL = """
[server]
orthanc = "https://pacs.example:8043/orthanc/"
dicom_web = "https://pacs.example/rs"
user = "heatlens"
password_file = "password"
token_file = "/run/token"
ca = "ca.pem"
timeout_s = 5
poll_s = 0.5
existing = true

[queue]
folder = "/var/lib/heatlens"
keep_days = 7
attempts = 3

[listen]
host = "0.0.0.0"
port = 104
ae_title = "XAI"
senders = ["PACS"]

[[rule]]
name = "chest"
modality = ["cr", "DX"]
body_part = "Chest"
view_position = ["PA", "AP"]
sop_class = ["CTImageStorage", "1.2.840.10008.5.1.4.1.1.1"]
model = "models/chest"
objects = ["sr", "sc"]
derived = true
target = ["OPACITY", 1]
method = "layercam"
threshold = 0.25
window = [40, 400]

[[rule]]
model = "/models/all"
objects = "sc,seg"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pacs.toml"
    path.write_text(text)
    return path


def test_a_file_with_one_rule_watches_orthanc_on_this_machine(tmp_path: Path) -> None:
    file = read_watch_file(write(tmp_path, LEAST))
    [rule] = file.rules

    assert (file.server.orthanc, file.server.dicom_web) == ("http://127.0.0.1:8042", "http://127.0.0.1:8042/dicom-web")
    assert (file.server.existing, file.listen, file.queue.folder) == (False, None, tmp_path / "heatlens-queue")
    assert (rule.title, rule.model, rule.objects, rule.options) == ("rule 1", tmp_path / "model", ("sc",), {})
    assert (rule.modality, rule.derived) == ((), False)


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    file = read_watch_file(write(tmp_path, ALL))
    chest, everything = file.rules

    assert file.server.orthanc == "https://pacs.example:8043/orthanc"
    assert (file.server.password_file, file.server.ca) == (tmp_path / "password", tmp_path / "ca.pem")
    assert file.server.token_file == Path("/run/token")
    assert (file.queue.folder, file.queue.keep_days, file.queue.attempts) == (Path("/var/lib/heatlens"), 7, 3)
    assert file.listen is not None
    assert (file.listen.host, file.listen.port, file.listen.senders) == ("0.0.0.0", 104, ("PACS",))
    assert (chest.title, chest.modality, chest.body_part) == ("rule 1 (chest)", ("CR", "DX"), ("CHEST",))
    assert chest.sop_class == ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1")
    assert (chest.objects, everything.objects) == (("sc", "sr"), ("sc", "seg"))
    assert chest.options == {"target": ["OPACITY", 1], "method": "layercam", "threshold": 0.25, "window": [40, 400]}
    assert everything.model == Path("/models/all")


def test_with_a_receiver_orthanc_is_not_followed_unless_it_is_named(tmp_path: Path) -> None:
    file = read_watch_file(write(tmp_path, f'[server]\ndicom_web = "http://pacs/rs"\n[listen]\n{LEAST}'))

    assert (file.server.orthanc, file.server.dicom_web) == (None, "http://pacs/rs")
    assert file.listen is not None
    assert (file.listen.host, file.listen.port, file.listen.ae_title) == ("127.0.0.1", 11112, "HEATLENS")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[rule]\n", "no valid TOML: "),
        ("", "rule: there is none: begin each with [[rule]]"),
        ('[rule]\nmodel = "m"\n', "rule: there is none: begin each with [[rule]]"),
        (f"[sever]\n{LEAST}", "sever: unknown name; did you mean 'server'?"),
        (f'[server]\nurl = "http://a"\n{LEAST}', "server: url: unknown name; known are orthanc, "),
        (f'[server]\northanc = "pacs:8042"\n{LEAST}', "server: orthanc: an address begins with http:// or https://"),
        (
            f'[server]\northanc = "http://me:secret@pacs"\n{LEAST}',
            f"server: orthanc: credentials do not belong here: name user, and set {PASSWORD} or password_file",
        ),
        (f"[server]\npoll_s = 0\n{LEAST}", "server: poll_s: Input should be greater than 0"),
        (f"[server]\northanc = 8042\n{LEAST}", "server: orthanc: Input should be a valid string"),
        (f'[queue]\nkeep_days = "long"\n{LEAST}', "queue: keep_days: Input should be a valid number"),
        (f"[listen]\nport = 70000\n{LEAST}", "listen: port: Input should be less than or equal to 65535"),
        (f"[listen]\n{LEAST}", "server: dicom_web: name the address at which results are stored (DICOMweb)"),
        (f'[server]\nca = "no.pem"\n{LEAST}', "server: ca: there is no file /"),
        ('[[rule]]\nmodality = "CR"\n', "rule 1: model: Field required"),
        (f'{LEAST}[[rule]]\nname = "hand"\nmodel = 3\n', "rule 2 (hand): model: Input is not a valid path"),
        (f"{LEAST}modality = 3\n", "rule 1: modality: Input should be a valid string"),
        (f'{LEAST}modalty = "CR"\n', "rule 1: modalty: unknown name; did you mean 'modality'?"),
        (f'{LEAST}format = "jpeg"\n', "rule 1: format: unknown name"),
        (f'{LEAST}objects = "sc,gif"\n', "rule 1: objects: gif: unknown name; known are sc, seg, heat, pm, sr"),
        (f"{LEAST}objects = []\n", "rule 1: objects: "),
        (f'{LEAST}sop_class = "CTImage"\n', "rule 1: sop_class: CTImage is neither a UID nor the keyword"),
        (f"{LEAST}alpha = 3\n", "rule 1: alpha is 3: "),
        (f'{LEAST}colormap = "pink"\n', "rule 1: colormap is 'pink': "),
        (f'{LEAST}derived = "perhaps"\n', "rule 1: derived: Input should be a valid boolean"),
    ],
)
def test_a_wrong_file_is_refused_by_file_rule_and_key(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadWatchFile) as refused:
        read_watch_file(path)

    assert str(refused.value).startswith(f"{path}: {reason}")
    assert "secret@" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadWatchFile, match=r"none\.toml: No such file or directory"):
        read_watch_file(tmp_path / "none.toml")


def test_credentials_are_read_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    monkeypatch.delenv(TOKEN, raising=False)
    keys = '[server]\npassword_file = "password"\n'
    file = read_watch_file(write(tmp_path, keys + LEAST))
    with pytest.raises(BadWatchFile, match=r"server: password_file: .*password cannot be read"):
        file.password()

    (tmp_path / "password").write_text("\n")
    with pytest.raises(BadWatchFile, match=f"server: user: its password is missing: set {PASSWORD} or password_file"):
        file.password()
    (tmp_path / "password").write_text("of the file\n")
    assert (file.password(), file.token()) == ("of the file", "")
    monkeypatch.setenv(PASSWORD, "of the environment")
    monkeypatch.setenv(TOKEN, "a token")
    assert (file.password(), file.token()) == ("of the environment", "a token")


def test_an_error_of_a_rules_model_names_file_and_rule(tmp_path: Path) -> None:
    file = read_watch_file(write(tmp_path, LEAST))

    def fail(_rule: object) -> None:
        raise HeatlensError("no such class")

    with pytest.raises(BadWatchFile, match=r"pacs\.toml: rule 1: no such class"):
        checked_rule(file, file.rules[0], fail)
