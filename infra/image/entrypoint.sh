#!/bin/sh
# SageMaker starts a container with the argument `serve`; Lambda's is the handler. Lambda itself is never root. SageMaker
# and SAM's emulator are, and the emulator cannot build on an image that names another user: so root is left here.
set -eu
export HEATLENS_IMAGE_DIGEST="${HEATLENS_IMAGE_DIGEST:-$(cat /opt/heatlens/digest)}"
if [ "${1:-}" = serve ]; then
  set -- /opt/venv/bin/python -m functions.endpoint.serve
else
  set -- /opt/venv/bin/python -m awslambdaric "$@"
fi
if [ "$(id -u)" = 0 ]; then
  set -- setpriv --reuid 993 --regid 990 --clear-groups --inh-caps=-all --no-new-privs "$@"
fi
exec "$@"
