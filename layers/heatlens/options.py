"""What Python or the command line asks for -> `Options`; `types.py` says what each may be, for all doors."""

from pydantic import TypeAdapter, ValidationError

from heatlens.errors import InvalidOption
from heatlens.types import Options

_OPTIONS = TypeAdapter(Options)


def check_options(**given: object) -> Options:
    """Options by name; those that are not given are the defaults.

    Raises:
        InvalidOption: A value that cannot be.
    """
    try:
        return _OPTIONS.validate_python(given)
    except ValidationError as error:
        found = [(str(each["loc"][0]), each) for each in error.errors(include_url=False, include_context=False)]
        detail = "; ".join(f"{name} is {given[name]!r}: {each['msg']}" for name, each in found)
        raise InvalidOption(
            detail, [{"loc": [name], "msg": each["msg"], "type": each["type"]} for name, each in found]
        ) from error
