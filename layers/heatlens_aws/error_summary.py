"""Describe an error for a log without its message, which may hold keys, file names or values of a request."""

import traceback


def error_summary(error: BaseException) -> str:
    """Describe an error by kind and place; its message may hold keys."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {places[-1].name}:{places[-1].lineno}" if places else ""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return f"{type(error).__name__}{f' {code}' if code else ''}{where}"


def private_traceback(error: BaseException) -> str:
    """Write an error and its causes with their places, and without messages, as the lines of a traceback."""
    lines: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [error_summary(cause), *(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)
