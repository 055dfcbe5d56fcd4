"""Starting and stopping Ray as lean as it goes: no dashboard, as many workers as CPUs, the same store size."""

import logging

import ray


def open_ray(options):
    ray.init(
        num_cpus=options["cpus"],
        object_store_memory=options["storeBytes"],
        include_dashboard=False,
        logging_level=logging.ERROR,
    )


def close():
    ray.shutdown()
