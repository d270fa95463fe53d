"""Decode images for a server, in a process of its own that `decode_pool` starts.

A request is `(data, options)`, the arguments of `decode`. The response is an exception, or a `Header` and the pixels in
bands of rows, so that neither process holds them twice.
"""

import fcntl
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from heatlens.input.decode import decode
from heatlens.types import Floats, Picture

_APART = ("image", "values")  # fields that are sent in bands
_BAND_BYTES = 8 * 1024 * 1024


class Header(NamedTuple):
    """What precedes the pixels: the picture's mode and size, whether values follow them, and its other fields."""

    mode: str
    size: tuple[int, int]
    has_values: bool
    others: dict[str, Any]


def main() -> None:
    """Answer requests until the server closes the connection or ends."""
    # A terminal or an init system may signal every process of the server, which may need this one to finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        while True:
            data, options = connection.recv()
            _answer(connection, data, options)
    except (EOFError, OSError):
        return


def bands(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes in which the pixels of an image are sent, from top to bottom."""
    width, height = size
    rows = max(1, _BAND_BYTES // (3 * width))
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _answer(connection: "Connection[Any, Any]", data: bytes, options: dict[str, Any]) -> None:
    try:
        with _ended_with_the_server(connection.fileno()):
            picture = decode(data, **options)
    except Exception as error:
        error.add_note(traceback.format_exc())  # a cause does not survive the way
        connection.send(_portable(error))
        return
    _send_picture(connection, picture)


def _send_picture(connection: "Connection[Any, Any]", picture: Picture) -> None:
    image = picture.image
    others = {field.name: getattr(picture, field.name) for field in fields(picture) if field.name not in _APART}
    connection.send(Header(image.mode, image.size, picture.values is not None, others))
    for box in bands(image.size):
        connection.send_bytes(image.crop(box).tobytes())
    if picture.values is not None:
        for _, top, _, bottom in bands(image.size):
            connection.send_bytes(picture.values[top:bottom].tobytes())


def receive(connection: "Connection[Any, Any]") -> Picture | Exception:
    """Read a response in the server: the picture, or what `decode` raised.

    Raises:
        EOFError: The process has ended.
    """
    header = connection.recv()
    if isinstance(header, Exception):
        return header
    image = Image.new(header.mode, header.size)
    for box in bands(header.size):
        band = Image.frombytes(header.mode, (box[2] - box[0], box[3] - box[1]), connection.recv_bytes())
        image.paste(band, box)
    values = _received_values(connection, header.size) if header.has_values else None
    return Picture(image=image, values=values, **header.others)


def _received_values(connection: "Connection[Any, Any]", size: tuple[int, int]) -> Floats:
    values = np.empty((size[1], size[0], 1), np.float32)
    for _, top, _, bottom in bands(size):
        band = np.frombuffer(connection.recv_bytes(), np.float32)
        values[top:bottom] = band.reshape(bottom - top, size[0], 1)
    return values


def _portable(error: Exception) -> Exception:
    """Return the error, or a description of one that cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


@contextmanager
def _ended_with_the_server(descriptor: int) -> Iterator[None]:
    """Let the system end this process as soon as the server ends, also within a decoder that holds Python's lock.

    The system reports the end of a connection by SIGIO, whose default action ends the process.
    """
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
