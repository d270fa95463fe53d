#!/bin/sh
# Folders -> the same as they go into the image: compiled, readable by everybody, and with fixed times, so that equal
# files are equal bytes from build to build.
set -eu
find "$@" -type d -name __pycache__ -prune -exec rm -rf {} +
find "$@" \( -name '*.pyi' -o -name '*.pxd' \) -delete

# PyTorch's own tests have syntax of later versions of Python.
python3 -m compileall -q --invalidation-mode unchecked-hash -x /torch/testing/_internal/ "$@"
chmod -R a+rX "$@"
find "$@" -exec touch -h -d @315532800 {} +
