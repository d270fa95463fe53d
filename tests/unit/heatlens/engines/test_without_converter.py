"""The converter is not imported with the engine, and a later use still finds it."""

import pytest

from tests.support.children import printed

ENGINE = "import sys; import heatlens.engines.openvino, openvino; "


def test_the_engine_is_imported_without_the_converter() -> None:
    program = "print([name for name in sys.modules if name.startswith('openvino.tools')])"

    assert printed(ENGINE + program) == "[]"


def test_the_converter_is_imported_where_it_is_used() -> None:
    assert printed(ENGINE + "from openvino import convert_model; print(convert_model.__module__)").startswith(
        "openvino.tools.ovc"
    )


@pytest.mark.parametrize("missing", ["", "sys.modules['openvino.tools.ovc'] = None; "])
def test_no_other_name_is_found(missing: str) -> None:
    name = "convert_model" if missing else "convert"
    program = f"print(getattr(openvino, {name!r}, 'absent'), hasattr(openvino, 'Core'))"

    assert printed(ENGINE + missing + program) == "absent True"


def test_an_import_that_came_first_keeps_its_converter() -> None:
    program = "print('convert_model' in vars(openvino), 'openvino.tools.ovc' in sys.modules)"

    assert printed("import sys, openvino; import heatlens.engines.openvino; " + program) == "True True"
