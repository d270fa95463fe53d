"""Read the file of `heatlens dicom watch`: the PACS, the queue, and the rules. A wrong value names its rule and key."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydicom import uid as uids
from pydicom.uid import RE_VALID_UID

from heatlens.dicom_out import Kind, needed, read_kinds
from heatlens.errors import HeatlensError, InvalidOption
from heatlens.options import OptionArguments, read_options, unknown_name
from heatlens_cli.console import shown
from heatlens_cli.dicom.failures import BadWatchFile
from heatlens_cli.dicom.rules import Rule

LOCAL_ORTHANC = "http://127.0.0.1:8042"
PASSWORD, TOKEN = "HEATLENS_PACS_PASSWORD", "HEATLENS_PACS_TOKEN"
OPTIONS = tuple(name for name in OptionArguments.__annotations__ if name != "format")  # a capture keeps every pixel

Table = TypeVar("Table", bound=BaseModel)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError(f"credentials do not belong here: name user, and set {PASSWORD} or password_file")
    return url.rstrip("/")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _in_capitals(values: list[object]) -> list[object]:
    return [each.strip().upper() if isinstance(each, str) else each for each in values]


def _class_uid(name: object) -> object:
    """Return a SOP class by its UID or by its keyword, such as `CTImageStorage`."""
    if not isinstance(name, str):
        return name
    if re.fullmatch(RE_VALID_UID, name):
        return name
    found = getattr(uids, name, None)
    if not isinstance(found, uids.UID):
        raise ValueError(f"{name} is neither a UID nor the keyword of a SOP class, such as CTImageStorage")
    return str(found)


def _class_uids(values: list[object]) -> list[object]:
    return [_class_uid(name) for name in values]


def _kinds(values: list[object]) -> tuple[Kind, ...]:
    try:
        return read_kinds(",".join(map(str, values)))
    except InvalidOption as error:
        raise ValueError("; ".join(mistake.message for mistake in error.mistakes)) from error


Url = Annotated[str, BeforeValidator(lambda value: _checked_url(value) if isinstance(value, str) else value)]
Codes = Annotated[tuple[str, ...], BeforeValidator(_in_capitals), BeforeValidator(_as_list)]
Classes = Annotated[tuple[str, ...], BeforeValidator(_class_uids), BeforeValidator(_as_list)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_kinds), BeforeValidator(_as_list)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Table):
    """Where the PACS is, who asks it, and how often; without `orthanc` nothing is asked for."""

    orthanc: Url | None = None
    dicom_web: Url | None = None
    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    ca: Path | None = None
    timeout_s: float = Field(60, gt=0)
    poll_s: float = Field(2, gt=0)
    existing: bool = False


class Queue(_Table):
    """Where the queue is, how long it keeps names, and how often an instance is tried."""

    folder: Path = Path("heatlens-queue")
    keep_days: float = Field(30, gt=0)
    attempts: int = Field(8, gt=0)


class Listen(_Table):
    """The address of a C-STORE receiver, its name, and the names of those that may send (none: all)."""

    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    ae_title: str = Field("HEATLENS", min_length=1, max_length=16)
    senders: tuple[str, ...] = ()


class _RuleTable(_Table):
    name: str = ""
    model: Path
    objects: Kinds = ("sc",)
    derived: bool = False
    modality: Codes = ()
    body_part: Codes = ()
    view_position: Codes = ()
    sop_class: Classes = ()


@dataclass(frozen=True, slots=True)
class WatchFile:
    """A whole file; `path` is its own, and all paths within are relative to its folder."""

    path: Path
    server: Server
    queue: Queue
    listen: Listen | None
    rules: tuple[Rule, ...]

    def password(self) -> str:
        """Read the password of the user, from the environment or its file.

        Raises:
            BadWatchFile: There is none, or the file cannot be read.
        """
        if password := self._secret(PASSWORD, "password_file", self.server.password_file):
            return password
        raise _bad(self.path, f"server: user: its password is missing: set {PASSWORD} or password_file")

    def token(self) -> str:
        """Read the bearer token, from the environment or its file; `""` if there is none."""
        return self._secret(TOKEN, "token_file", self.server.token_file)

    def _secret(self, variable: str, key: str, file: Path | None) -> str:
        if variable in os.environ:
            return os.environ[variable]
        try:
            return file.read_text(encoding="utf-8").strip() if file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(self.path, f"server: {key}: {shown(file)} cannot be read") from error


def read_watch_file(path: Path) -> WatchFile:
    """Read and check a file; models are not loaded.

    Raises:
        BadWatchFile: The file cannot be read, or a value is wrong.
    """
    tables = _read_toml(path)
    known = ("server", "queue", "listen", "rule")
    if unknown := [name for name in tables if name not in known]:
        raise _bad(path, str(unknown_name(unknown[0], known)))
    server = _read(Server, tables.get("server", {}), path, "server")
    queue = _read(Queue, tables.get("queue", {}), path, "queue")
    listen = _read(Listen, tables["listen"], path, "listen") if "listen" in tables else None
    given = tables.get("rule", [])
    if not isinstance(given, list) or not given:
        raise _bad(path, "rule: there is none: begin each with [[rule]]")
    return WatchFile(
        path=path,
        server=_complete(server, path, listens=listen is not None),
        queue=queue.model_copy(update={"folder": path.parent / queue.folder}),
        listen=listen,
        rules=tuple(_read_rule(table, number, path) for number, table in enumerate(given, 1)),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(path, error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(path, f"no valid TOML: {error}") from error


def _complete(server: Server, path: Path, *, listens: bool) -> Server:
    """Fill in the addresses that follow from others, and make paths absolute."""
    orthanc = server.orthanc or (None if listens else LOCAL_ORTHANC)
    dicom_web = server.dicom_web or (f"{orthanc}/dicom-web" if orthanc else None)
    if dicom_web is None:
        raise _bad(path, "server: dicom_web: name the address at which results are stored (DICOMweb)")
    files = {
        name: file and path.parent / file
        for name in ("password_file", "token_file", "ca")
        if (file := getattr(server, name)) is not None
    }
    if (ca := files.get("ca")) and not ca.is_file():
        raise _bad(path, f"server: ca: there is no file {shown(ca)}")
    return server.model_copy(update={"orthanc": orthanc, "dicom_web": dicom_web, **files})


def _read_rule(table: object, number: int, path: Path) -> Rule:
    where = f"rule {number}"
    if not isinstance(table, dict):
        raise _bad(path, f"{where}: begin each rule with [[rule]]")
    if isinstance(name := table.get("name"), str) and name:
        where += f" ({shown(name)})"
    options = cast(OptionArguments, {name: table[name] for name in OPTIONS if name in table})
    conditions = {name: value for name, value in table.items() if name not in OPTIONS}
    read = _read(_RuleTable, conditions, path, where, options=OPTIONS)
    try:
        read_options(options, needed(read.objects))
    except HeatlensError as error:
        raise _bad(path, f"{where}: {error}") from error
    values = {name: getattr(read, name) for name in type(read).model_fields if name not in ("name", "model")}
    return Rule(title=where, model=path.parent / read.model, options=options, **values)


def _read(table: type[Table], values: object, path: Path, where: str, *, options: tuple[str, ...] = ()) -> Table:
    known = (*table.model_fields, *options)
    if isinstance(values, Mapping) and (unknown := [name for name in values if name not in known]):
        raise _bad(path, f"{where}: {unknown_name(unknown[0], known)}")
    try:
        return table.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0]) if first["loc"] else "it"
        raise _bad(path, f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}") from error


def _bad(path: Path, reason: str) -> BadWatchFile:
    return BadWatchFile(f"{shown(path)}: {reason}")


Checked = TypeVar("Checked")


def checked_rule(file: WatchFile, rule: Rule, make: Callable[[Rule], Checked]) -> Checked:
    """Make something of a rule; an error names the file and the rule.

    Raises:
        BadWatchFile: `make` raised a `HeatlensError`.
    """
    try:
        return make(rule)
    except HeatlensError as error:
        raise _bad(file.path, f"{rule.title}: {error}") from error
