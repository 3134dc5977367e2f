"""A served run under load: requests a second, latencies, failures, memory (docs/serve.md).

    python benchmarks/serve_load.py RUN --images DIR [--connections 1 8 64] [--requests 200]
    python benchmarks/serve_load.py RUN --images DIR --minutes 10 [--connections 4]

`finetune serve RUN` is a process of its own; clients are threads of this one, each with a
connection that it keeps, one picture a request. The engine's rate, `predict`'s decoder and network
on the same pictures in this process, is measured by turns with the requests, in blocks, since the
rest of a shared machine changes from minute to minute. With --minutes the load goes on so long, and
memory is read each half minute.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune.deploy import predictor
from finetune.pictures import decoding
from finetune.records.events import Silent
from finetune.runs import run_folder
from finetune.sources import files

_BOUNDARY = "0123456789abcdef"
_BATCH, _TURNS = 32, 6


@dataclass
class Load:
    """What the clients saw: seconds of each request, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


def main() -> None:
    """Measure and print a row for each number of connections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--minutes", type=float)
    asked = parser.parse_args()
    listed = files.list_images([asked.images])
    paths = [p for i, p in enumerate(listed.files) if i not in listed.faults][::7][:200]
    bodies = [body(path) for path in paths]
    with served(asked.run) as (port, process):
        if asked.minutes is not None:
            endure(port, process.pid, bodies, asked.connections[0], 60 * asked.minutes)
            return
        answer = engine(asked.run, len(paths))
        print("| connections | requests/s | 50 % ms | 99 % ms | failed | MB | of the engine |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for count in asked.connections:
            load, spent, alone = Load(), 0.0, 0.0
            few = asked.requests // _TURNS
            for _ in range(_TURNS):
                alone += answer([paths[i % len(paths)] for i in range(few)])
                began = time.perf_counter()
                some = under(port, bodies, count, few)
                spent += time.perf_counter() - began
                load.seconds += some.seconds
                load.failed += some.failed
            rate = len(load.seconds) / spent
            best = len(load.seconds) / alone
            middle, late = (1000 * np.percentile(load.seconds, q) for q in (50, 99))
            print(
                f"| {count} | {rate:.1f} | {middle:.0f} | {late:.0f} | {load.failed} | "
                f"{resident_mb(process.pid):.0f} | {rate / best:.2f} of {best:.1f}/s |",
                flush=True,
            )


@contextmanager
def served(run: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`finetune serve` on a free port."""
    command = [sys.executable, "-m", "finetune", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = 0
        while not port:
            line = process.stderr.readline()
            if not line:
                sys.exit("serve ended")
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            port = int(found[1]) if found else 0
        try:
            yield port, process
        finally:
            process.terminate()


def body(path: Path) -> bytes:
    """One multipart field."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def under(port: int, bodies: Sequence[bytes], connections: int, requests: int) -> Load:
    """So many requests over so many connections."""
    load, left, lock = Load(), iter(range(requests)), threading.Lock()

    def client(_: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for number in iter(lambda: next(left, None), None):
            seconds, good = ask(link, bodies[number % len(bodies)])
            with lock:
                load.seconds.append(seconds)
                load.failed += not good
        link.close()

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(client, range(connections)))
    return load


def ask(link: http.client.HTTPConnection, content: bytes) -> tuple[float, bool]:
    """Seconds of one request, and whether it was answered."""
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    began = time.perf_counter()
    try:
        link.request("POST", "/predict", content, {"Content-Type": kind})
        response = link.getresponse()
        text = response.read()
        good = response.status == 200 and b'"label"' in text
    except (OSError, http.client.HTTPException):
        link.close()
        good = False
    return time.perf_counter() - began, good


def endure(port: int, pid: int, bodies: Sequence[bytes], connections: int, seconds: float) -> None:
    """Load for so long; memory each half minute."""
    began = time.perf_counter()
    total, failed, seen = 0, 0, []
    while time.perf_counter() - began < seconds:
        part = time.perf_counter()
        while time.perf_counter() - part < min(30.0, seconds / 4):
            load = under(port, bodies, connections, 10 * connections)
            total += len(load.seconds)
            failed += load.failed
        seen.append(resident_mb(pid))
        print(
            f"{time.perf_counter() - began:.0f} s: {total} requests, {seen[-1]:.1f} MB", flush=True
        )
    print(f"{total} requests, {failed} failed; memory {seen[0]:.1f} MB first, {seen[-1]:.1f} last")


def engine(run: Path, images: int) -> Callable[[Sequence[Path]], float]:
    """Seconds that `predict` takes for files: decoding in threads, one network."""
    facts = run_folder.load_facts(run)
    model = predictor.of_run(run, facts, device="cpu", images=images, listener=Silent())
    about, workers = facts.preprocess, os.cpu_count() or 1

    def seconds(paths: Sequence[Path]) -> float:
        began = time.perf_counter()
        for _, pixels, _ in decoding.stream(
            paths, about.side_px, _BATCH, workers, about.scales, about.box
        ):
            model.logits(pixels)
        return time.perf_counter() - began

    return seconds


def resident_mb(pid: int) -> float:
    """Memory of a process, as Linux has it."""
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    main()
