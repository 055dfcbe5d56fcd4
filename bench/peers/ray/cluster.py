"""A Ray cluster whose nodes are all on this machine, by Ray's own means for tests (`ray.cluster_utils.Cluster`)."""

import time

import numpy as np
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, remove_placement_group

from evidence import stamp
from tasks import repeat_and_check

MIB = 2**20
SMALL_STORE_BYTES = 128 * MIB


def node(index, store_bytes=SMALL_STORE_BYTES, resources=None):
    return {
        "num_cpus": 1,
        "object_store_memory": int(store_bytes),
        "resources": resources or {f"n{index}": 1},
        "include_dashboard": False,
    }


def cluster_of(count, store_bytes=SMALL_STORE_BYTES):
    cluster = Cluster(initialize_head=True, head_node_args=node(0, store_bytes))
    for index in range(1, count):
        add(cluster, node(index, store_bytes))
    return cluster


def add(cluster, args):
    args = {key: value for key, value in args.items() if key != "include_dashboard"}
    added = cluster.add_node(wait=True, **args)
    cluster.wait_for_nodes()
    return added


def connect(cluster):
    ray.init(address=cluster.address, logging_level="ERROR")


def stop(cluster):
    def cleanup():
        ray.shutdown()
        cluster.shutdown()

    return cleanup


def at(index):
    return {"num_cpus": 0, "resources": {f"n{index}": 0.01}}


@ray.remote
def run_once():
    return stamp()


@ray.remote
def warm_up():
    return 0


@ray.remote
def length_of(array):
    return len(array)


@ray.remote
def make(n_bytes, seed):
    return np.full(n_bytes, seed, dtype=np.uint8)


def head(_sizes, _options):
    begin = time.perf_counter()
    cluster = cluster_of(1)
    return {"seconds": time.perf_counter() - begin, "count": 1, "cleanup": stop(cluster)}


def join(sizes, _options):
    cluster = cluster_of(1)
    connect(cluster)
    begin = time.perf_counter()
    for index in range(1, sizes["count"] + 1):
        add(cluster, node(index))
    elapsed = (time.perf_counter() - begin) / sizes["count"]
    return {"seconds": elapsed, "count": sizes["count"], "cleanup": stop(cluster)}


TRANSFERS = 4


def transfer(sizes, _options):
    count, n_bytes = sizes["count"], sizes["bytes"]
    cluster = cluster_of(count + 1, max(SMALL_STORE_BYTES, 1.4 * n_bytes))
    connect(cluster)
    readers = range(1, count + 1)
    ray.get([warm_up.options(**at(index)).remote() for index in readers])
    times = []
    for turn in range(TRANSFERS + 1):
        ref = ray.put(np.full(n_bytes, turn, dtype=np.uint8))
        begin = time.perf_counter()
        lengths = ray.get([length_of.options(**at(index)).remote(ref) for index in readers])
        times.append(time.perf_counter() - begin)
        assert lengths == [n_bytes] * count
        del ref
        time.sleep(0.5)
    seconds = sorted(times[1:])[len(times[1:]) // 2]
    return {"seconds": seconds, "count": count, "bytes": n_bytes * count, "cleanup": stop(cluster)}


def tasks_over(node_count, strategy):
    def workload(sizes, _options):
        cluster = cluster_of(sizes["bytes"] or node_count)
        connect(cluster)
        task = run_once.options(scheduling_strategy=strategy)

        def batch():
            return ray.get([task.remote() for _ in range(sizes["count"])])

        repeat_and_check(sizes["seconds"], batch)
        outcome = repeat_and_check(sizes["seconds"], batch)
        return {**outcome, "cleanup": stop(cluster)}

    return workload


def groups_over(bundle_count, strategy):
    """Waited for by `wait`, which asks the cluster's control; `ready` would run a task for each, and take longer."""

    def workload(sizes, _options):
        cluster = cluster_of(sizes["bytes"] or 5)
        connect(cluster)
        bundles = [{"CPU": 0.01} for _ in range(bundle_count)]

        def turn():
            groups = [placement_group(bundles, strategy=strategy) for _ in range(sizes["count"])]
            for group in groups:
                assert group.wait(timeout_seconds=30)
            for group in groups:
                remove_placement_group(group)
            return len(groups)

        turn()
        begin = time.perf_counter()
        made = 0
        elapsed = 0.0
        while elapsed < sizes["seconds"] or made == 0:
            made += turn()
            elapsed = time.perf_counter() - begin
        return {"seconds": elapsed, "count": made, "cleanup": stop(cluster)}

    return workload


def until_dead(node_id):
    while not any(one["NodeID"] == node_id and not one["Alive"] for one in ray.nodes()):
        time.sleep(0.005)


def death(_sizes, _options):
    cluster = cluster_of(1)
    connect(cluster)
    dying = add(cluster, node(1))
    ray.get(warm_up.options(**at(1)).remote())
    begin = time.perf_counter()
    dying.kill_raylet(check_alive=False)
    until_dead(dying.node_id)
    return {"seconds": time.perf_counter() - begin, "count": 1, "cleanup": stop(cluster)}


def rebuild(sizes, _options):
    count, n_bytes = sizes["count"], sizes["bytes"]
    cluster = cluster_of(1)
    connect(cluster)
    first = add(cluster, node(1, resources={"makers": 1}))
    task = make.options(num_cpus=0, resources={"makers": 0.01})
    refs = [task.remote(n_bytes, index) for index in range(count)]
    ray.wait(refs, num_returns=count, fetch_local=False)
    add(cluster, node(2, resources={"makers": 1}))
    ray.get(warm_up.options(num_cpus=0, resources={"makers": 1}).remote())
    first.kill_raylet(check_alive=False)
    until_dead(first.node_id)
    begin = time.perf_counter()
    made = ray.get(refs)
    elapsed = time.perf_counter() - begin
    for index, value in enumerate(made):
        assert (len(value), value[0]) == (n_bytes, index)
    return {"seconds": elapsed, "count": count, "cleanup": stop(cluster)}


WORKLOADS = {
    "cluster-head": head,
    "cluster-join": join,
    "cluster-transfer": transfer,
    "cluster-transfer-4": transfer,
    "cluster-tasks": tasks_over(5, "DEFAULT"),
    "cluster-tasks-spread": tasks_over(5, "SPREAD"),
    "cluster-groups-many": groups_over(1, "PACK"),
    "cluster-groups-one": groups_over(1, "PACK"),
    "cluster-groups-spread": groups_over(4, "SPREAD"),
    "cluster-death": death,
    "cluster-rebuild": rebuild,
}
