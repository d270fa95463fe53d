"""Results are named as the command line names them, and their digests are read from `result.json`."""

import pytest

from heatlens.client.batch_download import read_digests, result_suffix


@pytest.mark.parametrize(
    ("kind", "link", "suffix"),
    [
        ("overlay", "https://bucket/out/b/0/a/overlay.png?X-Amz-Signature=a.jpg", ".heatmap.png"),
        ("overlay", "https://bucket/out/b/0/a/overlay.webp", ".heatmap.webp"),
        ("map_image", "https://bucket/out/b/0/a/map.jpg", ".heatmap.map.jpg"),
        ("map", "https://bucket/out/b/0/a/map.npy", ".heatmap.npy"),
        ("result", "https://bucket/out/b/0/a/result.json", ".heatmap.json"),
        ("dicom", "https://bucket/out/b/0/a/heatmap.sc.dcm?X-Amz-Signature=a", ".heatmap.sc.dcm"),
    ],
)
def test_a_result_is_named_by_its_kind_and_format(kind: str, link: str, suffix: str) -> None:
    assert result_suffix(kind, link) == suffix


def test_digests_are_read_from_the_facts() -> None:
    assert read_digests(b'{"objects": {"map.npy": "0f"}, "quality": "ok"}') == {"map.npy": "0f"}
    for wrong in (b"<html>", b'{"objects": 1}'):
        with pytest.raises(ValueError, match=r"its result\.json names no digests"):
            read_digests(wrong)
