"""`python -m tests.chaos`: the fault campaign and its summary; exit status 0 if all invariants hold."""

import argparse
import logging
import sys


def main() -> int:
    """Parse the arguments, run the campaign and print the summary."""
    logging.disable(logging.CRITICAL)  # before the functions are imported, which log that they have no account
    from tests.chaos.protections import PROTECTIONS
    from tests.chaos.run import IMAGES, TROUBLES, run
    from tests.chaos.turns import LIVES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="repeats a campaign (default: %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="images sent at random (default: %(default)s)")
    parser.add_argument("--without", choices=PROTECTIONS, help="switch a protection off: the campaign must fail")
    parser.add_argument("--processes", type=int, default=2, help="worlds at once (default: %(default)s)")
    parser.add_argument("--lives", nargs="*", choices=LIVES, default=LIVES, help="told in turn (default: all)")
    parser.add_argument("--troubles", nargs="*", choices=TROUBLES, default=TROUBLES, help="in them (default: all)")
    arguments = parser.parse_args()
    summary = run(
        seed=arguments.seed,
        images=arguments.images,
        without=arguments.without,
        lives=arguments.lives,
        troubles=arguments.troubles,
        processes=arguments.processes,
    )
    print(summary)
    return 0 if summary.holds else 1


if __name__ == "__main__":
    sys.exit(main())
