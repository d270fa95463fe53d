#!/bin/sh
# SageMaker starts a container with the argument `serve`; Lambda's is the handler.
set -eu
if [ "${1:-}" = serve ]; then
  exec /opt/venv/bin/python -m functions.endpoint.serve
fi
exec /opt/venv/bin/python -m awslambdaric "$@"
