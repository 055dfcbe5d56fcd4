import time

import ray

from evidence import assert_executions, stamp
from tasks import run_once
from timing import repeat


@ray.remote(num_cpus=0)
class Counter:
    """Counts its calls, so that after a run its number must be the number of calls made."""

    def __init__(self):
        self.calls = 0

    def call(self):
        self.calls += 1
        return self.calls

    def call_with(self, _value):
        self.calls += 1
        return self.calls

    def pid(self):
        return stamp()

    def total(self):
        return self.calls


@ray.remote(num_cpus=0)
class AsyncCounter:
    def __init__(self):
        self.calls = 0

    async def call(self):
        self.calls += 1
        return self.calls

    async def total(self):
        return self.calls


def calls(make, one_by_one):
    def workload(sizes, _options):
        n = sizes["count"]
        actor = make()
        made = [1]
        assert ray.get(actor.call.remote()) == 1

        def step():
            if one_by_one:
                results = [ray.get(actor.call.remote()) for _ in range(n)]
            else:
                results = ray.get([actor.call.remote() for _ in range(n)])
            made[0] += n
            return len(results)

        outcome = repeat(sizes["seconds"], step)
        assert ray.get(actor.total.remote()) == made[0]
        return outcome

    return workload


@ray.remote
def call_in_turn(actors, n):
    return len(ray.get([actors[i % len(actors)].call.remote() for i in range(n)]))


CALLERS = 4


def actors_n_n(sizes, options):
    n = sizes["count"]
    actors = [Counter.remote() for _ in range(max(1, options["cpus"] // 2))]
    made = [0]

    def step():
        results = ray.get([call_in_turn.remote(actors, n) for _ in range(CALLERS)])
        made[0] += sum(results)
        return sum(results)

    outcome = repeat(sizes["seconds"], step)
    assert sum(ray.get([actor.total.remote() for actor in actors])) == made[0]
    return outcome


@ray.remote(num_cpus=0)
class RefCaller:
    def __init__(self, server):
        self.server = server

    def submit(self, n):
        ref = ray.put(0)
        return len(ray.get([self.server.call_with.remote(ref) for _ in range(n)]))


def actors_n_n_ref(sizes, options):
    n = sizes["count"]
    servers = [Counter.remote() for _ in range(max(1, options["cpus"] // 2))]
    clients = [RefCaller.remote(server) for server in servers]
    made = [0]

    def step():
        results = ray.get([client.submit.remote(n) for client in clients])
        made[0] += sum(results)
        return sum(results)

    outcome = repeat(sizes["seconds"], step)
    assert sum(ray.get([server.total.remote() for server in servers])) == made[0]
    return outcome


def process_actors(sizes, _options):
    n = sizes["count"]
    assert_executions(ray.get([run_once.remote() for _ in range(20)]), 20)
    begin = time.perf_counter()
    actors = [Counter.remote() for _ in range(n)]
    first = ray.get([actor.call.remote() for actor in actors])
    elapsed = time.perf_counter() - begin
    assert first == [1] * n
    assert len({pid // 2**24 for pid in ray.get([actor.pid.remote() for actor in actors])}) == n

    def cleanup():
        for actor in actors:
            ray.kill(actor)

    return {"seconds": elapsed, "count": n, "cleanup": cleanup}


def idle(sizes, _options):
    begin = time.perf_counter()
    n = sizes["count"]
    assert_executions(ray.get([run_once.remote() for _ in range(n)]), n)
    return {"seconds": time.perf_counter() - begin, "count": n}


WORKLOADS = {
    "actor-sync": calls(Counter.remote, one_by_one=True),
    "actor-async": calls(Counter.remote, one_by_one=False),
    "actor-concurrent": calls(lambda: Counter.options(max_concurrency=16).remote(), one_by_one=False),
    "async-actor-sync": calls(AsyncCounter.remote, one_by_one=True),
    "async-actor-async": calls(AsyncCounter.remote, one_by_one=False),
    "actors-n-n": actors_n_n,
    "actors-n-n-ref": actors_n_n_ref,
    "process-actors": process_actors,
    "idle": idle,
}
