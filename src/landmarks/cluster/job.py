"""A job on a cluster: Ray Data hands its parts to processes, one a core, each with the model loaded once.

Only the numbers of parts travel through Ray. Each process reads the photos of its part itself, a few at a time,
and writes its results itself: memory stays flat however many photos there are, and no photo is copied between
machines. What is done is seen from the files of results alone, so a job that was stopped goes on where it stood.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from landmarks.cluster.part import PartTagger, part_name
from landmarks.cluster.plan import Plan, begin_or_continue
from landmarks.cluster.storage import Storage
from landmarks.errors import InputError

STARTS = 3
"""How often a Ray of this machine alone is started before the job gives up."""

Progress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""


@dataclass(frozen=True)
class Report:
    """What a job, or its continuation, has done.

    Attributes:
        photos: Photos of the job.
        done: Photos tagged in this start, failed ones included.
        failed: Photos of this start that cannot be read.
        missing: Parts of the job that are still not done.
    """

    photos: int
    done: int
    failed: int
    missing: int


def run_job(
    plan: Plan, *, address: str | None = None, workers: int | None = None, progress: Progress | None = None
) -> Report:
    """Begin a job or go on with it, until every part has its results.

    Args:
        plan: The job.
        address: Of a Ray cluster; None for the one of `RAY_ADDRESS`, else for this machine alone.
        workers: Processes that tag, or None for one a core of the cluster.
        progress: Told after each part.

    Raises:
        InputError: As `begin_or_continue`; or there is no cluster at the address.
        ModelError: The model is damaged.
    """
    work = begin_or_continue(plan)
    there = Storage.at(plan.out).names()
    due = [part for part in range(work.parts) if part_name(part) not in there]
    done = failed = 0
    if due:
        _connect(address)
        try:
            for row in _work(plan, due, workers):
                done, failed = done + int(row["photos"]), failed + int(row["failed"])
                if progress:
                    progress(done, work.photos)
        finally:
            ray.shutdown()
    there = Storage.at(plan.out).names()
    missing = sum(part_name(part) not in there for part in range(work.parts))
    return Report(work.photos, done, failed, missing)


def _connect(address: str | None) -> None:
    """Join the cluster, or start one on this machine for the time of the job."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # says nothing to anybody unless asked to
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    local = address is None and not os.environ.get("RAY_ADDRESS")
    # Ray waits half a minute for its own processes to start, which is not enough on a busy machine.
    for left in reversed(range(STARTS if local else 1)):
        try:
            ray.init(
                address=address,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # it raises nearly every type, bare `Exception` among them
            ray.shutdown()
            if left:
                continue
            reason = str(error).strip().partition("\n")[0]
            if local:
                raise InputError(f"Ray cannot start on this machine ({reason}): free memory or cores") from error
            raise InputError(f"--address {address}: no Ray cluster answers there ({reason}): check it") from error


def _work(plan: Plan, due: list[int], workers: int | None) -> Iterator[dict[str, Any]]:
    """Hand the parts out; gives a row a finished part. Ray starts a process that died anew, with its part."""
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    size = min(workers or cores, len(due))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a part that fails is missing and counted, the others are done
    parts = ray.data.from_items([{"id": part} for part in due], override_num_blocks=len(due))
    tagged = parts.map_batches(
        PartTagger,
        fn_constructor_args=(plan,),
        batch_size=1,
        batch_format="numpy",
        compute=ActorPoolStrategy(size=size),
        num_cpus=1,
    )
    yield from tagged.iter_rows()
