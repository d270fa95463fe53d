"""How much memory a request takes at once, in pictures: copies of all its pixels.

Python and NumPy allocate what is counted here. Pillow and the codecs do not: what they hold is counted by
`heatlens.input.decode_memory`, in bytes per pixel.
"""

import tracemalloc

from starlette.testclient import TestClient

from heatlens_cli.measure import sample_image

PICTURE = 3 * 1024 * 1024  # bytes: the sample has 1024 x 1024 pixels
MOST_PICTURES = 4  # of the overlay, its PNG, base64 and JSON: measured 3.2


def test_a_request_holds_few_copies_of_its_picture(client: TestClient) -> None:
    sample = sample_image().read_bytes()

    def ask() -> None:
        answer = client.post("/api/inference/heatmap", files={"file": sample})
        assert answer.status_code == 200

    ask()  # what a first request keeps is not counted
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        ask()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (peak - before) / PICTURE < MOST_PICTURES
