#!/bin/sh
# Refuse to build an image with a model whose maps were not proven.
set -eu
if grep -q '"draft": true' "$1/card.json"; then
    echo "the model is a draft, whose maps were not proven: heatlens compile WHAT -o MODEL without --draft" >&2
    exit 1
fi
