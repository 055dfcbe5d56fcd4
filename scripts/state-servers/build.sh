#!/usr/bin/env bash
# Builds the servers of replicated state that tests run, into .cache/state-servers: exact versions, checked by go.sum.
# $1: a Python virtual environment that may be given Go.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-../../.cache/test-python}
out=../../.cache/state-servers
wanted=$(sha256sum go.mod go.sum | sha256sum | cut -d ' ' -f 1)
. ../build-with-go.sh
build_with_go nats-server=github.com/nats-io/nats-server/v2 etcd=go.etcd.io/etcd/server/v3
