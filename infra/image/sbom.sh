#!/bin/sh
# Write the bill of materials of /opt/venv to /opt/venv/sbom.json (CycloneDX). Debian's packages are listed in
# /var/lib/dpkg/status.
set -eu
/opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/venv/sbom.json /opt/venv/bin/python
