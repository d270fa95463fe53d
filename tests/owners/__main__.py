"""Write layers/OWNERS.md and its pictures: `python -m tests.owners`."""

import argparse
import shutil
from pathlib import Path

from tests.owners import table
from tests.owners.saved import OWNERS
from tests.owners.trained import TRAINED, read_seen
from tests.support.paths import ROOT


def main() -> None:
    """Compile the named owners' files, by default all, and the trained networks, and write the page of what is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="owners; all by default")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "owners", help="keeps files and finished rows")
    parser.add_argument("--out", type=Path, default=ROOT / "layers" / "OWNERS.md")
    options = parser.parse_args()
    rows = []
    for owner in OWNERS:
        folder = options.work / owner.name.replace(" ", "-")
        row = table.read_row(folder)
        if row is None and (not options.names or owner.name in options.names):
            print(f"compiling {owner.name}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            row = table.compile_owner(owner, folder)
            table.write_row(folder, row)
        rows += [row] if row else []
    folders = [options.work / trained.package for trained in TRAINED]
    seen = []
    for trained, folder in zip(TRAINED, folders, strict=True):
        print(f"compiling {trained.package}", flush=True)
        seen += read_seen(folder) or table.compile_trained(trained, folder)
    refused = table.refusals(options.work / "refused")
    done = {row.name for row in rows}
    missing = [owner.name for owner in OWNERS if owner.name not in done]
    options.out.write_text(table.render(rows, refused, missing, seen), encoding="utf-8")
    table.draw(rows, options.work).save(options.out.with_name("owners.png"))
    table.draw_trained(folders).save(options.out.with_name("trained.jpg"), quality=88, subsampling=0)


if __name__ == "__main__":
    main()
