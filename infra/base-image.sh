#!/bin/sh
# Print the image to build from: by digest if it is here or can be pulled. Otherwise the image that is here under the
# same tag, with a warning: where no registry can be reached, a base image can only be imported under a tag.
set -eu
fixed=$(cat "$(dirname "$0")/base-image.txt")
tag=${fixed%@*}
has() { docker image inspect "$1" >/dev/null 2>&1; }

if has "$fixed" || docker pull --quiet "$fixed" >/dev/null 2>&1 || ! has "$tag"; then
  echo "$fixed"
else
  echo "warning: $fixed cannot be pulled; the build starts from the local $tag, whose content is unknown" >&2
  echo "$tag"
fi
