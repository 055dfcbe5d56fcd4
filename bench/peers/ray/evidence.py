"""Proof that the work counted is the work that ran, with the same stamps as bench/harness/evidence.ts."""

import os

STAMPS_PER_PROCESS_MAX = 2**24

_stamps_made = 0


def stamp():
    global _stamps_made
    _stamps_made += 1
    return os.getpid() * STAMPS_PER_PROCESS_MAX + _stamps_made


def assert_executions(stamps, expected):
    assert len(stamps) == expected, f"{len(stamps)} results fetched, not {expected}"
    of_process = {}
    for value in stamps:
        of_process.setdefault(value // STAMPS_PER_PROCESS_MAX, []).append(value)
    for process, values in of_process.items():
        assert len(set(values)) == len(values), f"process {process}: a result was delivered twice"
        made = max(values) - min(values) + 1
        assert made == len(values), f"process {process} ran {made} tasks, results say {len(values)}"
