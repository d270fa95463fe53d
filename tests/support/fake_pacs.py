"""A PACS that answers as a test says, and notes what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON, DICOM_JSON = "application/json", "application/dicom+json"


@dataclass
class Answer:
    """An answer: its status, its body, and the type of that. Without status the connection is dropped."""

    status: int | None
    body: bytes = b""
    media_type: str = DICOM_JSON


@dataclass
class FakePacs:
    """Answers each request with the next of `answers`, the last of them from then on."""

    answers: list[Answer]
    url: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


def stored(*uids: str, failed: dict[str, int] | None = None, status: int = 200, media_type: str = DICOM_JSON) -> Answer:
    """Answer a storing: these instances are stored, those failed for a reason."""
    body: dict[str, object] = {"00081199": {"vr": "SQ", "Value": [_item(uid) for uid in uids]}}
    if failed:
        items = [_item(uid) | {"00081197": {"vr": "US", "Value": [reason]}} for uid, reason in failed.items()]
        body["00081198"] = {"vr": "SQ", "Value": items}
    return Answer(status, json.dumps(body).encode(), media_type)


def instance(data: bytes) -> Answer:
    """Answer a retrieval with a file."""
    body = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--"
    return Answer(200, body, 'multipart/related; type="application/dicom"; boundary="b"')


def _item(uid: str) -> dict[str, object]:
    return {"00081155": {"vr": "UI", "Value": [uid]}}


@contextmanager
def fake_pacs(*answers: Answer) -> Iterator[FakePacs]:
    """Serve on a free port for the duration of the block."""
    pacs = FakePacs(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            pacs.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = pacs.answers.pop(0) if len(pacs.answers) > 1 else pacs.answers[0]
            if answer.status is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("content-type", answer.media_type)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = _answer  # noqa: N815 - names of the base class

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pacs.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield pacs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
