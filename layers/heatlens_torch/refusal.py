"""Why a network cannot be compiled: an exception of the tools below -> the end of a sentence, and the way out."""

import re

INSTEAD = 'in Python heatlens_torch.uncompiled.explain("model.toml", images) explains it without compiling'
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|higher_order)(?:::|\.)(\w+)")


def reason(error: BaseException) -> str:
    """Name the operator if any error of the chain does, else the kind of error; and offer what works all the same."""
    cause: BaseException | None = error
    while cause is not None:
        operator = _OPERATOR.search(str(cause))
        if operator:
            return f"operator {operator[1]} has no conversion; {INSTEAD}"
        cause = cause.__cause__
    return f"{type(error).__name__}; {INSTEAD}"
