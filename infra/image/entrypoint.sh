#!/bin/sh
# Start the SageMaker server for the argument `serve`, and otherwise Lambda's runtime client with the handler given.
# SageMaker and SAM's emulator start the container as root, and the emulator cannot build on an image that names another
# user: so this script drops root. Lambda never runs as root.
set -eu
export HEATLENS_IMAGE_DIGEST="${HEATLENS_IMAGE_DIGEST:-$(cat /opt/heatlens/digest)}"
if [ "${1:-}" = serve ]; then
  set -- /opt/venv/bin/python -m functions.endpoint.serve
else
  # A function works on one request at a time: threads with arenas of their own would keep freed pictures in each.
  export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-1}"
  set -- /opt/venv/bin/python -m awslambdaric "$@"
fi
if [ "$(id -u)" = 0 ]; then
  set -- setpriv --reuid 993 --regid 990 --clear-groups --inh-caps=-all --no-new-privs "$@"
fi
exec "$@"
