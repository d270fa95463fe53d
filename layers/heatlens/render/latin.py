"""Reduce a text to the letters that Pillow's own font has."""

from unicodedata import combining, normalize


def latin(text: str) -> str:
    """Return a text without accents, and with `?` for what is not Latin."""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return plain.encode("ascii", "replace").decode()
