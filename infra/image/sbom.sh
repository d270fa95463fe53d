#!/bin/sh
# /opt/venv -> /opt/venv/sbom.json, what is installed in it (CycloneDX); Debian's own list is in /var/lib/dpkg/status.
set -eu
/opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/venv/sbom.json /opt/venv/bin/python
