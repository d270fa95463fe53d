"""Fetch instances from a PACS and store objects in it by DICOMweb, and say which failures will pass."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset
from requests.auth import AuthBase, HTTPBasicAuth

from heatlens.errors import UnreadableImage
from heatlens.input.dicom.details import without_details
from heatlens.results import DicomObject
from heatlens_cli.dicom.failures import AlreadyStored, InstanceGone, PacsFailed, PacsRefused, PacsUnavailable
from heatlens_cli.dicom.watch_file import WatchFile

# What says nothing of an instance: who asks may not, or the PACS, or a proxy before it, is not ready.
_NOT_NOW = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }
)
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
# Failure reasons of a stored object (PS3.18 I.2, PS3.4 B.2.3) that no repetition changes: class not supported, not
# authorized; the object does not match its class, or is not understood.
_FINAL_REASONS = (range(0x0122, 0x0123), range(0x0124, 0x0125), range(0xA900, 0xAA00), range(0xC000, 0xD000))
# The PACS has the object: results have the same UIDs each time. The second code is of Azure's DICOM service.
_DUPLICATES = frozenset({0x0111, 0xB00E})
_JSON = ("application/dicom+json", "application/json")
_UNREADABLE = "the PACS returns a file that cannot be read as DICOM"


class _BearerToken(AuthBase):
    """Send a token, also in place of one from a `.netrc`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Pacs:
    """The PACS of a file; one thread uses it."""

    def __init__(self, file: WatchFile) -> None:
        server = file.server
        assert server.dicom_web is not None
        self._session = requests.Session()
        self._session.headers["Accept"] = _JSON[0]
        self._session.hooks["response"].append(_without_parameters)
        if server.ca:
            self._session.verify = str(server.ca)
        if token := file.token():
            self._session.auth = _BearerToken(token)
        elif server.user:
            self._session.auth = HTTPBasicAuth(server.user.encode(), file.password().encode())
        self._orthanc, self._timeout = server.orthanc, server.timeout_s
        self._web = DICOMwebClient(
            server.dicom_web, session=self._session, permissive_uid=True, timeout=server.timeout_s
        )
        self._web.set_http_retry_params(retry=False)  # the queue repeats, and survives a kill between

    def ask_orthanc(self, place: str, **parameters: str | int) -> dict[str, Any]:
        """Read a resource of Orthanc's REST API.

        Raises:
            PacsUnavailable: It does not answer, or not as Orthanc does.
            PacsFailed: It fails at this resource.
            PacsRefused: It refuses it, or has none (`InstanceGone`).
        """
        with _clear_failures():
            answer = self._session.get(
                f"{self._orthanc}/{place}",
                params=parameters,
                headers={"Accept": "application/json"},
                timeout=self._timeout,
            )
            answer.raise_for_status()
            found = answer.json()
        if not isinstance(found, dict):
            raise PacsUnavailable(f"{self._orthanc} does not answer as Orthanc does")
        return found

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """Retrieve an instance (WADO-RS), in the transfer syntax in which it was stored, as a file.

        Raises:
            PacsUnavailable: The PACS does not answer now.
            PacsFailed: It fails at this instance.
            PacsRefused: It refuses it, or no longer has it (`InstanceGone`).
            UnreadableImage: What it returns is no DICOM.
        """

        def retrieve() -> bytes:
            with _clear_failures(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote values
                dataset = self._web.retrieve_instance(study, series, instance)
                return _encoded(dataset)

        return without_details(retrieve, lambda: UnreadableImage(_UNREADABLE))

    def store(self, study: str, objects: Sequence[DicomObject]) -> None:
        """Store objects in a study (STOW-RS), and check that the PACS confirms each.

        Raises:
            PacsUnavailable: The PACS does not answer now.
            PacsFailed: It failed, or did not confirm all.
            PacsRefused: It refuses an object.
        """

        def send() -> None:
            datasets = [pydicom.dcmread(io.BytesIO(each.data)) for each in objects]
            wanted = {each.sop_instance_uid for each in objects}
            try:
                with _clear_failures():
                    answer = self._web.store_instances(datasets, study_instance_uid=study)
            except AlreadyStored as stored:
                answer = stored.answer
            _check_stored(answer, wanted)

        without_details(send, lambda: PacsFailed("the answer of the PACS cannot be read"))


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _without_parameters(response: requests.Response, *_args: object, **_options: object) -> None:
    """Remove the parameters of JSON's media type, which dicomweb-client does not expect."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if media_type in _JSON:
        response.headers["Content-Type"] = media_type


@contextmanager
def _clear_failures() -> Iterator[None]:
    """Raise the failures of a call as errors that say whether they pass; their own messages are discarded."""
    try:
        yield
    except requests.HTTPError as error:
        raised = _failure_of(error.response)
    except requests.RequestException as error:
        raised = PacsUnavailable(f"the PACS does not answer ({type(error).__name__})")
    else:
        return
    raise raised


def _failure_of(response: requests.Response | None) -> PacsUnavailable | PacsFailed | PacsRefused:
    if response is None:
        return PacsUnavailable("the PACS does not answer")
    status = response.status_code
    said = f"the PACS answered {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return PacsUnavailable(f"{said}: it does not accept these credentials")
    if status in _NOT_NOW:
        return PacsUnavailable(said)
    if status in _GONE:
        return InstanceGone(f"the PACS does not have it ({status})")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PacsFailed(said)
    answer = _answer_in(response)
    reasons = list(_failures_in(answer).values())
    if reasons and _DUPLICATES.issuperset(reasons):
        return AlreadyStored(said, answer)
    return _failure_for(said, reasons)


def _failure_for(said: str, reasons: Sequence[int]) -> PacsFailed | PacsRefused:
    """Return the failure of objects with these reasons: one that passes, if any reason may but of a duplicate."""
    reasons = [reason for reason in reasons if reason not in _DUPLICATES]
    shown = f"{said}, failure reason {', '.join(f'{reason:04X}' for reason in reasons)}" if reasons else said
    is_final = all(any(reason in final for final in _FINAL_REASONS) for reason in reasons)
    return PacsRefused(shown) if is_final else PacsFailed(shown)


def _answer_in(response: requests.Response) -> Dataset:
    """Read the answer to a storing; empty where it is none."""
    try:
        answer = Dataset.from_json(response.json())
        _failures_in(answer)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Dataset()
    return answer


def _failures_in(answer: Dataset) -> dict[str, int]:
    """Return the reason of each object that was not stored, by its UID."""
    failed = answer.get("FailedSOPSequence") or ()
    return {str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or 0) for item in failed}


def _check_stored(answer: Dataset, wanted: set[str]) -> None:
    failures = _failures_in(answer)
    if set(failures.values()) - _DUPLICATES:
        raise _failure_for("the PACS did not store all objects", list(failures.values()))
    stored = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or ()}
    if missing := wanted - stored - failures.keys():
        raise PacsFailed(f"the PACS did not confirm {len(missing)} of {len(wanted)} objects")
