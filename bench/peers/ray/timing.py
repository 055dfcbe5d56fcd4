"""The same loop as bench/harness/timing.ts: both sides must be timed alike."""

import time


def repeat(seconds, step):
    warm_up_end = time.perf_counter() + seconds / 2
    while True:
        step()
        if time.perf_counter() >= warm_up_end:
            break
    count = 0
    start = time.perf_counter()
    while True:
        count += step()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return {"seconds": elapsed, "count": count}
