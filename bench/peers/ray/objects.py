import time

import numpy as np
import ray

from timing import repeat


def numbers(n_bytes):
    """Real pages: numpy's zeros would all be one page of the kernel's, which is read from the cache."""
    return np.arange(n_bytes // 8, dtype=np.float64)


def put_small(sizes, _options):
    n = sizes["count"]

    def step():
        for i in range(n):
            ref = ray.put(i)
        assert ray.get(ref) == n - 1
        return n

    return repeat(sizes["seconds"], step)


def get_small(sizes, _options):
    n = sizes["count"]
    ref = ray.put(7)

    def step():
        total = 0
        for _ in range(n):
            total += ray.get(ref)
        assert total == 7 * n
        return n

    return repeat(sizes["seconds"], step)


@ray.remote
def make_refs(n):
    return [ray.put(1) for _ in range(n)]


def get_containing_refs(sizes, _options):
    n = sizes["count"]
    containing = make_refs.remote(n)

    def step():
        refs = ray.get(containing)
        assert len(refs) == n
        return 1

    outcome = repeat(sizes["seconds"], step)
    assert ray.get(ray.get(containing)[n - 1]) == 1
    return outcome


def put_cold(sizes, _options):
    array = numbers(sizes["bytes"])
    begin = time.perf_counter()
    ref = ray.put(array)
    elapsed = time.perf_counter() - begin
    assert ray.get(ref)[-1] == array[-1]
    return {"seconds": elapsed, "count": 1, "bytes": array.nbytes}


WARMING_PUTS_MAX = 110


def puts_to_warm(store_bytes, n_bytes):
    """For one process to have written to the whole store: Ray's rates settle when it has filled it about twice."""
    return min(WARMING_PUTS_MAX, 2 * -(-store_bytes // n_bytes) + 1)


def put_warm(sizes, options):
    n = sizes["count"]
    array = numbers(sizes["bytes"])
    for _ in range(puts_to_warm(options["storeBytes"], array.nbytes)):
        ray.put(array)
    seconds = []
    for i in range(n):
        array[-1] = i
        begin = time.perf_counter()
        ref = ray.put(array)
        seconds.append(time.perf_counter() - begin)
        if i == n - 1:
            assert ray.get(ref)[-1] == i
        del ref
    return {"seconds": float(np.median(seconds)), "count": 1, "bytes": array.nbytes}


def timed_gets(ref, n, last):
    seconds = []
    for _ in range(n):
        begin = time.perf_counter()
        array = ray.get(ref)
        seconds.append(time.perf_counter() - begin)
        assert array[-1] == last
        del array
    return seconds


def get_large_driver(sizes, _options):
    array = numbers(sizes["bytes"])
    seconds = timed_gets(ray.put(array), sizes["count"], array[-1])
    return {"seconds": float(np.median(seconds)), "count": 1, "bytes": array.nbytes}


@ray.remote
def get_in_worker(refs, n, last):
    return timed_gets(refs[0], n, last)


def get_large_worker(sizes, _options):
    array = numbers(sizes["bytes"])
    ref = ray.put(array)
    seconds = ray.get(get_in_worker.remote([ref], sizes["count"], array[-1]))
    assert len(seconds) == sizes["count"]
    return {"seconds": float(np.median(seconds)), "count": 1, "bytes": array.nbytes}


@ray.remote(num_cpus=0)
class Putter:
    def __init__(self, n_bytes):
        self.array = numbers(n_bytes)

    def put_many(self, n):
        for i in range(n):
            self.array[-1] = i
            ref = ray.put(self.array)
        return float(ray.get(ref)[-1]) + 1


PUTTERS = 4


def put_four_processes(sizes, options):
    n = sizes["count"]
    putters = [Putter.remote(sizes["bytes"]) for _ in range(PUTTERS)]
    # Each process has page tables of its own, and each must have seen the whole store.
    warm_up = puts_to_warm(options["storeBytes"], sizes["bytes"])
    ray.get([putter.put_many.remote(warm_up) for putter in putters])
    begin = time.perf_counter()
    made = ray.get([putter.put_many.remote(n) for putter in putters])
    elapsed = time.perf_counter() - begin
    assert made == [n] * PUTTERS
    return {"seconds": elapsed, "count": n * PUTTERS, "bytes": n * PUTTERS * sizes["bytes"]}


WORKLOADS = {
    "put-small": put_small,
    "get-small": get_small,
    "get-containing-refs": get_containing_refs,
    "put-cold": put_cold,
    "put-warm": put_warm,
    "get-large-driver": get_large_driver,
    "get-large-worker": get_large_worker,
    "put-four-processes": put_four_processes,
}
