"""The base of JSON bodies: an unknown key is refused."""

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from heatlens.options import UNKNOWN_NAME, unknown_name


class Body(BaseModel):
    """A JSON body or a part of one. A key that it does not have is an error, which names the nearest one."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def names(cls) -> list[str]:
        """Return the keys that it may have."""
        aliases = {name: field.validation_alias for name, field in cls.model_fields.items()}
        return [
            str(key)
            for name, alias in aliases.items()
            for key in (alias.choices if isinstance(alias, AliasChoices) else [alias or name])
        ]

    @model_validator(mode="before")
    @classmethod
    def _has_known_names(cls, values: Any) -> Any:  # noqa: ANN401 - a validator sees whatever the client sent
        # Pydantic lists every unknown key, which in a body of a million of them takes the memory: this names the first.
        known = cls.names()
        unknown = next((name for name in values if name not in known), None) if isinstance(values, dict) else None
        if unknown is None:
            return values
        mistake = unknown_name(str(unknown), known)
        raise PydanticCustomError(UNKNOWN_NAME, "{message}", {"message": mistake.message, "name": mistake.field})
