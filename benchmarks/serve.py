"""The service under load, on loopback: speed, overload, and killed workers.

`python benchmarks/serve.py speed PHOTOS` compares requests/s and times at 1, 8, 32 and 128 clients with plain
FastAPI + TorchScript and with LitServe (needs the extras `serve`, `train` and `dev`), and images/s with bulk
tagging. The services take turns, so that other load on the machine affects all of them.

`python benchmarks/serve.py same PHOTOS` compares it with LitServe around the same recogniser: what a server of
others would do with what ours does.

`python benchmarks/serve.py faults PHOTOS --minutes 10` keeps 128 clients at a service with room for 64 images,
then kills workers with signal 9, one and all of them.

`python benchmarks/serve.py hostile PHOTOS` has one hostile client of each kind beside sixteen honest ones.

`python benchmarks/serve.py mixed PHOTOS --minutes 10` has honest, slow, hostile and leaving clients at the service
together, kills a worker each minute and changes the model each two.

PHOTOS is a folder of images. TorchScript runs the same network as the bundled model, EfficientNet-Lite0 with a
linear head; its weights do not matter for its speed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing import Process
from pathlib import Path
from statistics import median, quantiles

from attacks import ATTACKS, attack_for_ever
from load import (
    Load,
    children,
    free_port,
    get,
    json_body,
    load,
    memory,
    metrics_of,
    multipart,
    once,
    post,
)
from mixed_load import mixed, own_copy
from record import record, table

from landmarks.imaging.photos import find_photos
from landmarks.model.folder import DEFAULT_MODEL, find_model
from landmarks.tagging.pipeline import find_tags_parallel
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.workers import cores

CLIENTS = (1, 8, 32, 128)
START_SECONDS = 300
PICTURES = 64  # different ones that are sent in turns
SERVE = [sys.executable, "-m", "landmarks", "serve", "--port"]
PLAIN, LITSERVE, SAME = (Path(__file__).with_name(f"rival_{name}.py") for name in ("plain", "litserve", "same"))
TURNS = 9
SKIPPED = 40 * cores()  # first images of bulk tagging, which do not count


@dataclass(frozen=True)
class Candidate:
    """A service to measure: how to start it on a port, and which requests to send."""

    command: Callable[[int], list[str]]
    requests: Sequence[bytes]


@contextmanager
def running(candidate: Candidate) -> Iterator[tuple[int, int]]:
    """Start a service, wait for its first response, and stop it; yields its port and process ID."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(candidate.command(port), stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + START_SECONDS
            while asyncio.run(once(port, candidate.requests[0]))[0] != 200:
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"{candidate.command(port)} does not answer: {log.read()[-2000:].decode()}")
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(40)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # processes of its own that it has left behind
            process.wait()


def save_network(path: Path, classes: int) -> None:
    """The network of the bundled model as TorchScript, with weights as they come."""
    from torch import nn

    from landmarks.imaging.preprocessing import Preprocessing
    from landmarks.training.export.predictor import make_predictor, save_torchscript
    from landmarks.training.models.backbones import load_backbone

    backbone = load_backbone("efficientnet_lite0")
    network = nn.Sequential(backbone.network, nn.Linear(backbone.size, classes))
    preprocessing = Preprocessing(mean=backbone.mean, std=backbone.std)
    save_torchscript(make_predictor(network, [str(number) for number in range(classes)], preprocessing), path)


def bulk_rate(photos: Sequence[Path], count: int) -> float:
    """Images/s of bulk tagging after start-up."""
    model = find_model(DEFAULT_MODEL)
    return next_rate(find_tags_parallel(model, TagSettings(), islice(cycle(photos), count + SKIPPED)), count)


def speed(given: argparse.Namespace) -> None:
    photos = find_photos([given.photos])[:PICTURES]
    contents = [photo.read_bytes() for photo in photos]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "network.pt"
        save_network(script, classes=35)
        wide = ["--queue", "256"]  # 128 clients shall be answered here, not turned away
        encoded = [json_body({"picture": base64.b64encode(content).decode()}) for content in contents]
        candidates = {
            "landmarks serve": Candidate(
                lambda port: [*SERVE, str(port), *wide], [multipart([content]) for content in contents]
            ),
            "plain FastAPI + TorchScript": Candidate(
                lambda port: [sys.executable, str(PLAIN), str(port), str(script)],
                [multipart([content], "/tags") for content in contents],
            ),
            "LitServe, batches of 16, TorchScript": Candidate(
                lambda port: [sys.executable, str(LITSERVE), str(port), str(script)],
                [post("/tags", "application/json", body) for body in encoded],
            ),
        }
        seen: dict[str, dict[int, Load]] = {}
        for name, candidate in candidates.items():
            with running(candidate) as (port, _):
                asyncio.run(load(port, candidate.requests, 8, 3))
                seen[name] = {
                    clients: asyncio.run(load(port, candidate.requests, clients, given.seconds))
                    for clients in CLIENTS
                }
        batched = [multipart(list(islice(cycle(contents), at, at + 8))) for at in range(8)]
        ours = candidates["landmarks serve"]
        bulk, single, eights = [], [], []
        for _ in range(3):  # in turns, so that what else the machine does meets all of them
            bulk.append(bulk_rate(photos, given.bulk))
            with running(ours) as (port, _):
                asyncio.run(load(port, ours.requests, 32, 2))
                single.append(asyncio.run(load(port, ours.requests, 32, given.seconds)).rate)
                eights.append(asyncio.run(load(port, batched, 8, given.seconds, per_answer=8)).rate)
    record(
        "serve",
        "The service under load",
        "python benchmarks/serve.py speed PHOTOS",
        report(seen, bulk, single, eights),
        ["onnxruntime", "fastapi", "uvicorn", "litserve", "torch"],
    )


def same(given: argparse.Namespace) -> None:
    """Our service and LitServe with the same recogniser in each, and bulk tagging, in many short turns."""
    photos = find_photos([given.photos])[:PICTURES]
    contents = [photo.read_bytes() for photo in photos]
    encoded = [json_body({"picture": base64.b64encode(content).decode()}) for content in contents]
    ours = lambda port: [*SERVE, str(port), "--queue", "256"]  # noqa: E731
    candidates = {
        "landmarks serve, a form": Candidate(ours, [multipart([content]) for content in contents]),
        "landmarks serve, the photo as the body": Candidate(
            ours, [post("/v1/tags", "image/jpeg", content) for content in contents]
        ),
        "LitServe": Candidate(
            lambda port: [sys.executable, str(SAME), str(port), str(cores())],
            [post("/tags", "application/json", body) for body in encoded],
        ),
    }
    rows, bulk = [], []
    with ExitStack() as stack:
        ports = {name: stack.enter_context(running(each))[0] for name, each in candidates.items()}
        findings = find_tags_parallel(find_model(DEFAULT_MODEL), TagSettings(), cycle(photos))
        for name, each in candidates.items():
            asyncio.run(load(ports[name], each.requests, 8, 3))
        for clients in CLIENTS:
            seen: dict[str, list[Load]] = {name: [] for name in candidates}
            order = deque(candidates)
            for _ in range(TURNS):
                for name in order:
                    requests = candidates[name].requests
                    seen[name].append(asyncio.run(load(ports[name], requests, clients, given.seconds)))
                bulk.append(next_rate(findings, given.bulk))
                time.sleep(3)  # it still fills what it keeps ready
                order.rotate()  # whoever comes next to it has the busiest machine
            theirs = [one.rate for one in seen["LitServe"]]
            for name, loads in seen.items():
                rates = [one.rate for one in loads]
                ratios = [own / other for own, other in zip(rates, theirs, strict=True)]
                shares = [own / whole for own, whole in zip(rates, bulk[-TURNS:], strict=True)]
                low, _, high = quantiles(ratios)
                middle, late = (median(one.quantile(share) for one in loads) * 1000 for share in (0.5, 0.99))
                failed = sum(count for one in loads for status, count in one.statuses.items() if status != 200)
                row = [name, clients, f"{median(rates):.0f}", f"{median(ratios):.2f}", f"{low:.2f} - {high:.2f}"]
                times = [f"{middle:.0f}", f"{late:.0f}", f"{late / middle:.1f}"]
                rows.append([*row, f"{median(shares):.2f}", *times, failed])
    header = ["service", "clients", "requests/s", "times LitServe", "quartiles", "of bulk tagging"]
    record(
        "serve_same",
        "The service and LitServe with the same recogniser",
        f"python benchmarks/serve.py same PHOTOS --seconds {given.seconds:g} --bulk {given.bulk}",
        f"Medians of {TURNS} turns of {given.seconds:g} seconds; every protection of the service is on. Bulk "
        f"tagging, in turns with them: {median(bulk):.0f} images/s.\n\n"
        + table([*header, "p50, ms", "p99, ms", "p99 / p50", "not 200"], rows),
        ["onnxruntime", "fastapi", "uvicorn", "litserve"],
    )


def next_rate(findings: Iterator[object], count: int) -> float:
    """Images/s of bulk tagging that starts or goes on after a pause: what was ready before does not count."""
    for _ in islice(findings, SKIPPED):
        pass
    started = time.perf_counter()
    return sum(1 for _ in islice(findings, count)) / (time.perf_counter() - started)


def report(
    seen: dict[str, dict[int, Load]], bulk: Sequence[float], single: Sequence[float], eights: Sequence[float]
) -> str:
    """The tables of a run."""
    rows = []
    for name, loads in seen.items():
        for clients, each in loads.items():
            base = seen["plain FastAPI + TorchScript"][clients].rate
            middle, late = each.quantile(0.5), each.quantile(0.99)
            failed = sum(count for status, count in each.statuses.items() if status != 200)
            times = [f"{middle * 1000:.0f}", f"{late * 1000:.0f}", f"{late / middle:.1f}"]
            rows.append([name, clients, f"{each.rate:.0f}", f"{each.rate / base:.1f}", *times, failed])
    body = table(
        ["service", "clients", "requests/s", "times plain", "p50, ms", "p99, ms", "p99 / p50", "not 200"], rows
    )
    rates = {
        "bulk tagging (`landmarks tag`)": bulk,
        "service, 32 clients, one picture per request": single,
        "service, 8 clients, 8 pictures per request": eights,
    }
    rows = [
        [
            name,
            f"{median(values):.0f}",
            f"{min(values):.0f} - {max(values):.0f}",
            f"{median(values) / median(bulk):.2f}",
        ]
        for name, values in rates.items()
    ]
    return body + "\n\n" + table(["images/s", "median of 3", "from - to", "of bulk tagging"], rows)


def busy() -> None:
    """Keep a core busy, as a client on the same machine does."""
    while True:
        pass


def hostile(given: argparse.Namespace) -> None:
    """Sixteen honest clients, alone and beside a hostile one of each kind, in turns."""
    photos = find_photos([given.photos])[:PICTURES]
    candidate = Candidate(lambda port: [*SERVE, str(port)], [multipart([photo.read_bytes()]) for photo in photos])
    rows = []
    with running(candidate) as (port, _):
        honest = lambda: asyncio.run(load(port, candidate.requests, 16, given.seconds, apart=True))  # noqa: E731
        honest()
        for kind in ("no client, but a loop", *ATTACKS):
            alone = honest()
            attack = ATTACKS.get(kind)
            other = Process(target=attack_for_ever, args=(port, *attack)) if attack else Process(target=busy)
            other.start()
            time.sleep(1)
            beside = honest()
            other.kill()
            other.join()
            late = [one.quantile(0.99) for one in (alone, beside)]
            answered = [f"{one.rate:.0f}" for one in (alone, beside)]
            failed = sum(count for status, count in beside.statuses.items() if status != 200)
            times = [f"{value * 1000:.0f}" for value in late]
            rows.append([kind, *answered, *times, f"{late[1] / late[0]:.1f}", failed])
    header = ["beside", "requests/s alone", "beside it", "p99 alone, ms", "beside it, ms", "times", "not 200"]
    record(
        "serve_hostile",
        "One hostile client beside sixteen honest ones",
        f"python benchmarks/serve.py hostile PHOTOS --seconds {given.seconds:g}",
        table(header, rows) + "\n\nAll clients are on the machine of the service, which therefore loses a core to "
        "a hostile one that never waits: the first row has a loop that keeps a core busy without any connection.",
        ["onnxruntime", "fastapi", "uvicorn"],
    )


def faults(given: argparse.Namespace) -> None:
    photos = find_photos([given.photos])[:PICTURES]
    requests = [multipart([photo.read_bytes()]) for photo in photos]
    candidate = Candidate(lambda port: [*SERVE, str(port)], requests)
    with running(candidate) as (port, pid):
        overload, samples = asyncio.run(overloaded(port, pid, requests, given.minutes * 60))
        alive = asyncio.run(once(port, requests[0]))[0] == 200
        killed = [asyncio.run(killing(port, pid, requests, count)) for count in (1, cores())]
    rows = [[f"{minute:.1f}", f"{main:.0f}", f"{workers:.0f}"] for minute, main, workers in spread(samples)]
    answered = ", ".join(f"{status}: {count}" for status, count in sorted(overload.statuses.items()))
    body = (
        f"128 clients, room for 64 pictures, {given.minutes:g} minutes; a client waits 50 ms after a 429.\n\n"
        f"Answers by status: {answered}. {overload.rate:.0f} answers/s with 200, p50 {overload.quantile(0.5):.2f} "
        f"s, p99 {overload.quantile(0.99):.2f} s. Afterwards the service "
        f"{'answers' if alive else 'DOES NOT answer'}.\n\n"
        + table(["minute", "service, MiB", "workers together, MiB"], rows)
        + "\n\nWorkers killed with signal 9 under 8 clients:\n\n"
        + table(["killed", "requests lost", "next answer after, s", "all workers ready after, s"], killed)
    )
    record(
        "serve_faults",
        "The service under overload and with killed workers",
        f"python benchmarks/serve.py faults PHOTOS --minutes {given.minutes:g}",
        body,
        ["onnxruntime", "fastapi", "uvicorn"],
    )


async def overloaded(
    port: int, pid: int, requests: Sequence[bytes], seconds: float
) -> tuple[Load, list[tuple[float, float, float]]]:
    """Run 128 clients; return their results, and the memory of the service and its workers over time."""
    samples: list[tuple[float, float, float]] = []
    started = time.monotonic()

    async def watch() -> None:
        while True:
            workers = sum(memory(child) for child in children(pid))
            samples.append(((time.monotonic() - started) / 60, memory(pid), workers))
            await asyncio.sleep(2)

    watching = asyncio.create_task(watch())
    seen = await load(port, requests, 128, seconds, pause=0.05)
    watching.cancel()
    return seen, samples


def spread(samples: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """About ten samples over the whole time."""
    step = max(1, len(samples) // 10)
    return [*samples[step // 2 :: step], samples[-1]]


async def killing(port: int, pid: int, requests: Sequence[bytes], count: int) -> list[object]:
    """Kill workers under load; return how many, the lost requests, and the seconds until the service recovered."""
    busy = asyncio.create_task(load(port, requests, 8, 8))
    await asyncio.sleep(2)
    for child in children(pid)[:count]:
        os.kill(child, signal.SIGKILL)
    started = time.perf_counter()
    answered = ready = None
    while ready is None:
        await asyncio.sleep(0.05)
        if answered is None and (await once(port, requests[0]))[0] == 200:
            answered = time.perf_counter() - started
        values = metrics_of((await once(port, get("/metrics")))[1])
        if values.get("landmarks_workers_ready") == cores():
            ready = time.perf_counter() - started
    seen = await busy
    lost = sum(number for status, number in seen.statuses.items() if status != 200)
    return [f"{count} of {cores()}", lost, f"{answered or ready:.2f}", f"{ready:.2f}"]


def mixed_load(given: argparse.Namespace) -> None:
    photos = find_photos([given.photos])[:PICTURES]
    requests = [multipart([photo.read_bytes()]) for photo in photos]
    with tempfile.TemporaryDirectory() as folder:
        model = own_copy(find_model("world"), Path(folder))
        candidate = Candidate(lambda port: [*SERVE, str(port), "--model", str(model)], requests)
        with running(candidate) as (port, pid):
            seen = asyncio.run(mixed(port, pid, requests, model, given.minutes * 60))
            values = metrics_of(asyncio.run(once(port, get("/metrics")))[1])
            alive = asyncio.run(once(port, requests[0]))[0] == 200
    reloads = {
        name: values.get(f'landmarks_model_reloads_total{{outcome="{name}"}}', 0) for name in ("done", "failed")
    }
    told = lambda counts: ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))  # noqa: E731
    rows = [
        ["16 honest clients", told(seen.honest.statuses)],
        ["uploads at 16 kB/s", told(seen.slow)],
        ["hostile clients (0: closed)", told(seen.hostile)],
        ["clients that left", str(seen.left)],
    ]
    memories = [
        [f"{minute:.1f}", f"{main:.0f}", f"{workers:.0f}"] for minute, main, workers in spread(seen.samples)
    ]
    honest = seen.honest
    body = (
        f"{given.minutes:g} minutes. {seen.killed} workers were killed. The "
        f"model was changed {seen.changed} times: {reloads['done']:.0f} reloads, {reloads['failed']:.0f} failed. "
        f"Honest clients: {honest.rate:.0f} answers/s, p50 {honest.quantile(0.5):.2f} s, p99 "
        f"{honest.quantile(0.99):.2f} s. Afterwards the service {'answers' if alive else 'DOES NOT answer'}.\n\n"
        + table(["clients", "answers by status"], rows)
        + "\n\n"
        + table(["minute", "service, MiB", "workers together, MiB"], memories)
    )
    record(
        "serve_mixed",
        "The service with clients of every kind",
        f"python benchmarks/serve.py mixed PHOTOS --minutes {given.minutes:g}",
        body,
        ["onnxruntime", "fastapi", "uvicorn"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "same", "hostile", "faults", "mixed"])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--bulk", type=int, default=1200, help="pictures of bulk tagging")
    parser.add_argument("--minutes", type=float, default=10.0, help="of overload or mixed load")
    given = parser.parse_args()
    modes = {"speed": speed, "same": same, "hostile": hostile, "faults": faults, "mixed": mixed_load}
    modes[given.what](given)


if __name__ == "__main__":
    main()
