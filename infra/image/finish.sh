#!/bin/sh
# Prepare folders for the image: compile the modules, make everything readable, and set fixed times, so that the same
# files give the same bytes in every build.
set -eu
find "$@" -type d -name __pycache__ -prune -exec rm -rf {} +
find "$@" \( -name '*.pyi' -o -name '*.pxd' \) -delete

# PyTorch's own tests use the syntax of later Python versions.
python3 -m compileall -q --invalidation-mode unchecked-hash -x /torch/testing/_internal/ "$@"
chmod -R a+rX "$@"
find "$@" -exec touch -h -d @315532800 {} +
