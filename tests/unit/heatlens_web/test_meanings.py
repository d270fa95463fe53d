from typing import Any

from heatlens_web import meanings
from heatlens_web.app import create_app
from heatlens_web.settings import ServerSettings


def described() -> dict[str, Any]:
    document: dict[str, Any] = create_app(ServerSettings(), deployment="server").openapi()
    return document


def test_every_field_of_every_body_and_response_has_a_meaning() -> None:
    schemas = described()["components"]["schemas"]

    assert len(schemas) > 40
    assert [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, each in schema.get("properties", {}).items()
        if not each.get("description")
    ] == []


def test_every_parameter_of_every_operation_has_a_meaning() -> None:
    operations = [each for methods in described()["paths"].values() for each in methods.values()]

    assert [
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", [])
        if not (parameter.get("description") or parameter["schema"].get("description"))
    ] == []


def test_no_meaning_is_of_a_field_that_does_not_exist() -> None:
    schemas = described()["components"]["schemas"]
    fields = {(name, field) for name, schema in schemas.items() for field in schema.get("properties", {})}

    assert set(meanings.OF_FIELDS) <= {field for _, field in fields}
    assert set(meanings.OF_ONE) <= fields


def test_a_fields_own_description_is_kept() -> None:
    schemas = {"Any": {"properties": {"label": {"description": "its own"}, "index": {}, "unknown": {}}}}

    meanings.describe_fields(schemas)

    assert schemas["Any"]["properties"] == {
        "label": {"description": "its own"},
        "index": {"description": meanings.OF_FIELDS["index"]},
        "unknown": {},
    }
