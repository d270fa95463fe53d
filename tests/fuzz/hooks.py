"""What schemathesis cannot know: images of every kind, where a body or a field has one, and bytes that are none.

Most of the texts that were generated for options are replaced by names that the model has, so that not everything is
refused; the text itself decides by which, so that a case is the same each time it is run.
"""

import base64
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import HookContext

from heatlens.explain.attribution import METHOD_NAMES
from tests.support.colors import CLASSES, GRIDS
from tests.support.paths import SAMPLES

CONFORMANCE = Path(__file__).parents[1] / "contract" / "conformance"
# Every image that a server must read or refuse by name; the samples are radiographs of 8 and 16 bits.
FILES = [path for path in sorted([*CONFORMANCE.iterdir(), *SAMPLES.iterdir()]) if path.suffix not in (".py", ".json")]
IMAGES = [path.read_bytes() for path in FILES if path.is_file()]
NAMES: dict[str, list[str]] = {
    "model": ["colours"],
    "layer": list(GRIDS),
    "method": list(METHOD_NAMES),
    "target": [*CLASSES, "0", "1", "2", "top-1", "top-3"],
    "contrast": [*CLASSES, "1"],
}

real = st.sampled_from(IMAGES)
damaged = st.builds(lambda data, at: data[: at % len(data)] if data else data, real, st.integers(0, 2**31))
anything = st.one_of(real, real, damaged, st.binary(max_size=200))

schemathesis.openapi.format("binary", anything)
for media_type in ("image/*", "application/dicom", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, anything)


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:  # noqa: ANN401 - as generated
    """Put images into image fields and names into name fields, in every form of the JSON."""
    return _filled(body)


@schemathesis.hook
def map_query(context: HookContext, query: Any) -> Any:  # noqa: ANN401 - as generated
    """Put names into name fields."""
    return _filled(query)


def _filled(node: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        return [_filled(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _value(key, value) for key, value in node.items()}


def _value(key: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    if key in NAMES and isinstance(value, list):
        return [_value(key, each) for each in value]
    if not isinstance(value, str) or _chance(value) % 4 == 3:
        return _filled(value)
    if key in ("image_base64", "b64"):
        return base64.b64encode(IMAGES[_chance(value) % len(IMAGES)]).decode()
    return NAMES[key][_chance(value) % len(NAMES[key])] if key in NAMES else value


def _chance(text: str) -> int:
    return sum(text.encode("utf-8", "surrogatepass")) + len(text)
