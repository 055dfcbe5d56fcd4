"""Ray's side of the benchmark: requests on stdin, replies on file descriptor 3 (see bench/harness/protocol.ts)."""

import json
import os
import sys
import traceback

import ray

import actors
import cluster
import objects
import tasks
from runtime import close, open_ray

WORKLOADS = {**tasks.WORKLOADS, **actors.WORKLOADS, **objects.WORKLOADS, **cluster.WORKLOADS}


def handle(request, cleanups):
    op = request["op"]
    if op == "open":
        open_ray(request["options"])
    elif op == "run":
        outcome = WORKLOADS[request["workload"]](request["sizes"], request["options"])
        if "cleanup" in outcome:
            cleanups.append(outcome.pop("cleanup"))
        return {"ok": True, "measurement": {"bytes": 0, **outcome}}
    elif op == "cleanup":
        while cleanups:
            cleanups.pop()()
    elif op == "close":
        close()
    else:
        raise ValueError(f"unknown request {op}")
    return {"ok": True}


def main():
    cleanups = []
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = handle(request, cleanups)
        except Exception:
            reply = {"ok": False, "error": traceback.format_exc()}
        os.write(3, (json.dumps(reply) + "\n").encode())
        if request["op"] == "close":
            return


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--version":
        print(f"{ray.__version__} (Python {sys.version.split()[0]})")
    else:
        main()
