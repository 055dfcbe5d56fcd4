#!/usr/bin/env bash
# Builds the OpenTelemetry Collector that tests of traces export to, into .cache/trace-receiver: exact versions, checked by
# go.sum. $1: a Python virtual environment that may be given Go.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-../../.cache/test-python}
out=../../.cache/trace-receiver
wanted=$(cat go.mod go.sum main.go | sha256sum | cut -d ' ' -f 1)
. ../build-with-go.sh
build_with_go trace-receiver=.
