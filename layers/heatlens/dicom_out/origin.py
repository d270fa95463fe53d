"""Say what made an explanation, and derive from it the identifiers of the objects that are written."""

import json
import uuid
from dataclasses import dataclass, replace
from typing import Self

from heatlens import __version__
from heatlens.explain.targets import name_classes
from heatlens.model import Model
from heatlens.options import as_json
from heatlens.plan import Plan
from heatlens.types import Options

_NAMESPACE = uuid.UUID("5b1c2f0e-6f0c-5d2e-9a55-8f3f6c1f5f10")
# Options that change no object; the frame is in the identifiers of its own objects, not in that of their series.
_NO_CONTENT = ("include", "format", "original", "strip_original", "model", "frame", "dicom")


@dataclass(frozen=True, slots=True)
class Origin:
    """The model, engine, method and options of an explanation."""

    model: str
    version: str
    sha256: str
    engine: str
    precision: str
    method: str
    layer: str
    options: Options

    @classmethod
    def of(cls, model: Model, plan: Plan, options: Options) -> Self:
        """Collect the origin of explanations by a model with a plan and its options.

        Method, layer and classes are named: options that leave a default out, or have an index, mean the same.
        """
        card, engine = model.card, plan.engine
        named = replace(name_classes(options, card), method=plan.method_options.method, layer=plan.layer.name)
        return cls(
            model=card.name,
            version=card.version,
            sha256=model.sha256,
            engine=engine.name,
            precision=engine.precision,
            method=plan.method_options.method,
            layer=plan.layer.name,
            options=named,
        )

    @property
    def parameters(self) -> dict[str, str]:
        """What the algorithm is called with, beside its name and version."""
        return {"method": self.method, "layer": self.layer, "sha256": self.sha256}

    def uid(self, *names: str) -> str:
        """Derive a UID from names, the model, the engine, the options and the version of Heatlens: `2.25.…`.

        It is that of a UUID (PS3.5 B.2), the same each time, so that an archive recognizes a repetition.
        """
        options = {name: value for name, value in as_json(self.options).items() if name not in _NO_CONTENT}
        facts = [__version__, self.sha256, self.engine, self.precision, self.method, self.layer, options, *names]
        return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(facts, sort_keys=True)).int}"
