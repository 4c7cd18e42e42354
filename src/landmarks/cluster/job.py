"""A job on a cluster: Ray distributes its parts to processes, one per core, each of which loads the model once.

Only part numbers travel through Ray. Each process reads the photos of its part itself, a few at a time, and writes
its own results: memory does not grow with the number of photos, and no photo is copied between machines. Progress
is derived from the result files alone, so a stopped job continues where it stopped.

Ray's actors suffice for this. Ray Data, which is built on them, moves tables of photos and results between
machines; here it would only add seven seconds to the start.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from landmarks.cluster.part import PartTagger, outcome_of, part_name
from landmarks.cluster.plan import Plan, begin_or_continue
from landmarks.errors import InputError, ModelError
from landmarks.files.storage import Storage
from landmarks.imaging.photos import OnSkip

STARTS = 3
"""Attempts to start Ray on this machine before the job gives up."""

_READERS = 32  # threads: of a large job in object storage, as many requests are on their way

Progress = Callable[[int, int], None]
"""Called with (photos done this time, photos that were not done before)."""


@dataclass(frozen=True)
class Report:
    """The result of starting or continuing a job.

    Attributes:
        photos: Number of photos in the job.
        done: Photos tagged this time, including unreadable ones.
        failed: Unreadable photos, this time and before.
        missing: Parts of the job that are still not done.
        reason: What the first part that failed said; empty if none did.
    """

    photos: int
    done: int
    failed: int
    missing: int
    reason: str = ""


def run_job(
    plan: Plan,
    *,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    on_skip: OnSkip = lambda _skipped: None,
) -> Report:
    """Start or continue a job, until every part has its results.

    Args:
        plan: The job.
        address: Address of a Ray cluster; None for `RAY_ADDRESS`, else for this machine alone.
        workers: Number of tagging processes, or None for one per core of the cluster.
        progress: Called after each part.
        on_skip: As for `begin_or_continue`.

    Raises:
        InputError: As for `begin_or_continue`; or a result file is damaged; or there is no cluster at the address.
        ModelError: The model is damaged, or no process can load it.
    """
    work = begin_or_continue(plan, on_skip)
    there = Storage.at(plan.out).names()
    due = [part for part in range(work.parts) if part_name(part) not in there]
    with ThreadPoolExecutor(_READERS) as pool:
        before = list(pool.map(partial(outcome_of, plan), set(range(work.parts)) - set(due)))
    left = work.photos - sum(photos for photos, _ in before)
    done, failed, reason = 0, sum(unreadable for _, unreadable in before), ""
    if due:
        _connect(address)
        try:
            for outcome in _work(plan, due, workers):
                if isinstance(outcome, str):
                    reason = reason or outcome
                    continue
                done, failed = done + outcome[0], failed + outcome[1]
                if progress:
                    progress(done, left)
        finally:
            ray.shutdown()
    there = Storage.at(plan.out).names()
    missing = sum(part_name(part) not in there for part in range(work.parts))
    return Report(work.photos, done, failed, missing, reason)


def _connect(address: str | None) -> None:
    """Join the cluster, or start one on this machine for the duration of the job."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry unless the user enables it
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
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
        except Exception as error:  # it raises nearly every type, even bare `Exception`
            ray.shutdown()
            if left:
                continue
            reason = str(error).strip().partition("\n")[0]
            if local:
                raise InputError(f"Ray cannot start on this machine ({reason}): free memory or cores") from error
            raise InputError(
                f"`address` {address}: no Ray cluster answers there ({reason}): check it, and set "
                "RAY_AUTH_MODE=token where it asks for a token"
            ) from error


def _work(plan: Plan, due: list[int], workers: int | None) -> Iterator[tuple[int, int] | str]:
    """Distribute the parts; yields (photos, failed photos) of each finished part, and why another one failed.

    A process gets its first part once it has loaded the model, so one that waits for a machine to join the cluster
    holds up no part. Ray restarts a process that died, with its part; the part itself detects too many attempts. A
    part that raises is counted as missing, and the others are done.
    """
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    kind: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(PartTagger)
    taggers = [kind.remote(plan) for _ in range(min(cores if workers is None else workers, len(due)))]
    starting = {tagger.__ray_ready__.remote(): tagger for tagger in taggers}
    working: dict[Any, tuple[Any, int]] = {}
    left = deque(due)
    while working or (left and starting):
        [ready], _ = ray.wait([*working, *starting])
        tagger, part = working.pop(ready) if ready in working else (starting.pop(ready), None)
        try:
            outcome = ray.get(ready)
        except RayActorError as error:  # it cannot be started or restarted: others take its part
            if part is not None:
                left.append(part)
            if not working and not starting:
                raise ModelError(
                    f"{plan.model}: no process of the cluster can load it ({_last_line(error)})"
                ) from error
            continue
        except RayError as error:
            outcome = _last_line(error)
        if part is not None:
            yield outcome
        if left:
            following = left.popleft()
            working[tagger.work.remote(following)] = (tagger, following)


def _last_line(error: Exception) -> str:
    """Return what was raised in another process, without the traceback."""
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)
