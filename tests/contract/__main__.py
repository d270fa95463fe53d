"""Write CONFORMANCE.md beside this file: `python -m tests.contract`."""

from pathlib import Path

from tests.contract.rows import written

PAGE = Path(__file__).parent / "CONFORMANCE.md"

if __name__ == "__main__":
    PAGE.write_text(written())
