"""Write a commented model description to fill in."""

from pathlib import Path

from heatlens.errors import ModelFileError
from heatlens_cli.atomic_file import write_atomically


def write_template(path: Path, architecture: str) -> None:
    """Write the template of a description; an existing file is never overwritten.

    Raises:
        ModelFileError: The file exists, or cannot be written.
    """
    from heatlens_torch.loading.template import template

    try:
        with write_atomically(path, overwrite=False) as file:
            file.write(template(architecture).encode())
    except FileExistsError as error:
        raise ModelFileError(f"{path.name} exists: choose another name, or remove it yourself") from error
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be written: {error.strerror}") from error
