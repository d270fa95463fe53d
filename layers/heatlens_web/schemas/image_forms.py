"""Find an image's base64 in the forms that clients of other model servers write."""

# TensorFlow Serving and KServe write the first, TorchServe the next two, their handlers and this API the others.
_KEYS = ("b64", "data", "body", "image", "image_bytes", "image_base64")


def image_text(value: object) -> str | None:
    """Return the base64 of an image: a text, or an object that has it under one of the known keys and no other.

    Returns:
        `None` for any other value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        return image_text(inner) if key in _KEYS else None
    return None
