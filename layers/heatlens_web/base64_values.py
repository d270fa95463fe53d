"""Write base64 into JSON without copying it: schemas get a short mark in its place, and the JSON the text."""

import binascii
import secrets


class Base64Values:
    """The files of one response, of megabytes: validating and escaping their base64 would cost more than making it.

    A mark is random for every response, so that no text of a client can be one.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._files: list[bytes] = []

    def add(self, data: bytes) -> str:
        """Return the mark that stands for the base64 of `data`."""
        self._files.append(data)
        return f"{self._mark}-{len(self._files) - 1}-"

    def fill(self, text: str) -> bytes:
        """Return JSON, UTF-8, with the base64 of each file where its mark stood."""
        parts = text.split(f"{self._mark}-")
        pieces = [parts[0].encode()]
        for part in parts[1:]:
            index, _, rest = part.partition("-")
            pieces += [binascii.b2a_base64(self._files[int(index)], newline=False), rest.encode()]
        return b"".join(pieces)
