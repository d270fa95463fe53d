import io
from pathlib import Path

import numpy as np

from heatlens.errors import FileTooLarge, HeatlensError, UnreadableImage
from heatlens.image_source import is_image, list_images, read_source
from heatlens.types import Upload


def read(image: object, max_bytes: int = 100) -> Upload | HeatlensError:
    return read_source(image, max_bytes, keep_floats=False)  # type: ignore[arg-type]


def test_an_open_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 2))

    with (tmp_path / "a.png").open("rb") as file:
        assert read(file) == Upload("a.png", b"image")
    assert read(Trickle(b"image")) == Upload("unknown", b"image")
    assert isinstance(read(io.BytesIO(bytes(101))), FileTooLarge)


def test_an_open_file_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    closed = io.BytesIO(b"image")
    closed.close()

    with (tmp_path / "a.txt").open() as text:
        errors = [read(text), read(closed)]

    assert [type(error) for error in errors] == [UnreadableImage, UnreadableImage]
    assert str(errors[0]) == "a.txt: open the file in binary mode, 'rb'"
    assert "closed file" in str(errors[1])


def test_an_array_of_four_axes_is_several_images() -> None:
    assert [is_image(np.zeros((5,) * axes, np.uint8)) for axes in (2, 3, 4)] == [True, True, False]
    assert len(list_images(np.zeros((5, 4, 4, 3), np.uint8))) == 5
