import time

import ray

from evidence import assert_executions, stamp
from runtime import open_ray
from timing import repeat


@ray.remote
def run_once():
    return stamp()


def start(_sizes, options):
    begin = time.perf_counter()
    open_ray(options)
    value = ray.get(run_once.remote())
    elapsed = time.perf_counter() - begin
    assert_executions([value], 1)
    return {"seconds": elapsed, "count": 1}


def repeat_and_check(seconds, step):
    """`step` returns the stamps of what it ran; all of them are checked after the clock has stopped."""
    stamps = []

    def counted():
        values = step()
        stamps.append(values)
        return len(values)

    outcome = repeat(seconds, counted)
    flat = [value for values in stamps for value in values]
    assert_executions(flat, len(flat))
    return outcome


def tasks_sync(sizes, _options):
    return repeat_and_check(sizes["seconds"], lambda: [ray.get(run_once.remote()) for _ in range(sizes["count"])])


def tasks_async(sizes, _options):
    return repeat_and_check(sizes["seconds"], lambda: ray.get([run_once.remote() for _ in range(sizes["count"])]))


@ray.remote(num_cpus=0)
class TaskClient:
    def __init__(self):
        self.stamps = []

    def submit(self, n):
        self.stamps.extend(ray.get([run_once.remote() for _ in range(n)]))

    def take_stamps(self):
        return self.stamps


CLIENTS = 4


def tasks_multi_client(sizes, _options):
    clients = [TaskClient.remote() for _ in range(CLIENTS)]
    ray.get([client.submit.remote(1) for client in clients])
    n = sizes["count"]
    submitted = [CLIENTS]

    def step():
        ray.get([client.submit.remote(n) for client in clients])
        submitted[0] += CLIENTS * n
        return CLIENTS * n

    outcome = repeat(sizes["seconds"], step)
    stamps = [value for values in ray.get([client.take_stamps.remote() for client in clients]) for value in values]
    assert_executions(stamps, submitted[0])
    return outcome


def wait(sizes, _options):
    n = sizes["count"]
    stamps = []

    def step():
        refs = [run_once.remote() for _ in range(n)]
        pending = refs
        for index in range(n):
            # Ray's own benchmark asks for fetching only once: later calls would repeat the request.
            ready, pending = ray.wait(pending, fetch_local=index == 0)
            assert len(ready) == 1
        assert pending == []
        stamps.append(refs)
        return 1

    outcome = repeat(sizes["seconds"], step)
    values = [value for refs in stamps for value in ray.get(refs)]
    assert_executions(values, len(stamps) * n)
    return outcome


@ray.remote
def add_all(*values):
    return sum(values)


def ref_arguments(sizes, _options):
    n = sizes["count"]
    assert ray.get(add_all.remote(1, 2)) == 3
    refs = [ray.put(i) for i in range(n)]
    begin = time.perf_counter()
    total = ray.get(add_all.remote(*refs))
    elapsed = time.perf_counter() - begin
    assert total == n * (n - 1) // 2
    return {"seconds": elapsed, "count": n}


@ray.remote
def return_many(n):
    return tuple(range(n))


def many_returns(sizes, _options):
    n = sizes["count"]
    many = return_many.options(num_returns=n)
    assert ray.get(run_once.remote()) > 0
    begin = time.perf_counter()
    values = ray.get(many.remote(n))
    elapsed = time.perf_counter() - begin
    assert values == list(range(n))
    return {"seconds": elapsed, "count": n}


@ray.remote
def produce(n):
    for i in range(n):
        yield i


def stream(sizes, _options):
    n = sizes["count"]
    assert [ray.get(ref) for ref in produce.remote(2)] == [0, 1]
    begin = time.perf_counter()
    received = [ray.get(ref) for ref in produce.remote(n)]
    elapsed = time.perf_counter() - begin
    assert received == list(range(n))
    return {"seconds": elapsed, "count": n}


@ray.remote
def descend(levels):
    return 0 if levels == 0 else 1 + ray.get(descend.remote(levels - 1))


def nested(sizes, _options):
    n = sizes["count"]
    begin = time.perf_counter()
    reached = ray.get(descend.remote(n))
    elapsed = time.perf_counter() - begin
    assert reached == n
    return {"seconds": elapsed, "count": n}


def queued(sizes, _options):
    n = sizes["count"]
    assert_executions(ray.get([run_once.remote() for _ in range(100)]), 100)
    begin = time.perf_counter()
    stamps = ray.get([run_once.remote() for _ in range(n)])
    elapsed = time.perf_counter() - begin
    assert_executions(stamps, n)
    return {"seconds": elapsed, "count": n}


WORKLOADS = {
    "start": start,
    "tasks-sync": tasks_sync,
    "tasks-async": tasks_async,
    "tasks-multi-client": tasks_multi_client,
    "wait": wait,
    "ref-arguments": ref_arguments,
    "many-returns": many_returns,
    "stream": stream,
    "nested": nested,
    "queued": queued,
}
