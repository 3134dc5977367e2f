"""Pictures of many requests to one network: decoded in threads, answered in batches; torch-free."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finetune.deploy import explained, outputs
from finetune.deploy.doubt import Policy
from finetune.deploy.explaining import Explainer
from finetune.deploy.predictor import Predictor
from finetune.heads import calibration
from finetune.pictures import decoding
from finetune.pictures.opening import Content, Member
from finetune.records.codec import to_builtins
from finetune.records.errors import FinetuneError, first_line, printable
from finetune.records.run import RunFacts
from finetune.sources.archives import Found
from finetune.storage.arrays import Array

_Row = tuple[Array, float | None]  # logits float64[C], distance from the training images
_Asked = asyncio.Future[_Row]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for: bytes of a file and of all, files, seconds; and classes told.

    Pixels are limited by the decoder (`opening.MOST_PIXELS`).
    """

    file_bytes: int = 32_000_000
    body_bytes: int = 128_000_000
    files: int = 64
    seconds: float = 60.0
    batch: int = 32
    waiting: int = 512
    top: int = 5


class RefusedError(Exception):
    """A request that is not answered: its code, why, and what to do."""

    def __init__(self, code: int, text: str, hint: str) -> None:
        super().__init__(text)
        self.code, self.text, self.hint = code, printable(text), printable(hint)


@dataclass
class Metrics:
    """What `/metrics` tells, in Prometheus' text form."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    images: int = 0
    batches: int = 0
    seconds: float = 0.0
    began: float = field(default_factory=time.time)

    def add(self, path: str, code: int, seconds: float) -> None:
        """One request was answered."""
        self.requests[path, code] += 1
        self.seconds += seconds
        for bound in _BUCKETS_S:
            self.buckets[bound] += seconds <= bound

    def text(self) -> str:
        """All of it."""
        total = sum(self.requests.values())
        lines = [
            "# TYPE finetune_requests_total counter",
            *(
                f'finetune_requests_total{{path="{path}",code="{code}"}} {count}'
                for (path, code), count in sorted(self.requests.items())
            ),
            "# TYPE finetune_request_seconds histogram",
            *(f'finetune_request_seconds_bucket{{le="{b}"}} {self.buckets[b]}' for b in _BUCKETS_S),
            f'finetune_request_seconds_bucket{{le="+Inf"}} {total}',
            f"finetune_request_seconds_sum {self.seconds:.6f}",
            f"finetune_request_seconds_count {total}",
            "# TYPE finetune_images_total counter",
            f"finetune_images_total {self.images}",
            "# TYPE finetune_batches_total counter",
            f"finetune_batches_total {self.batches}",
            "# TYPE finetune_start_time_seconds gauge",
            f"finetune_start_time_seconds {self.began:.3f}",
        ]
        return "\n".join(lines) + "\n"


class _MissingError(Exception):
    """No heat maps can be had here, and why."""


class Heat:
    """Heat maps of one run; its second network is read with the first of them."""

    def __init__(self, facts: RunFacts, load: Callable[[], Explainer]) -> None:
        """Read nothing yet.

        Args:
            facts: Of the run.
            load: Gives what explains it without torch.
        """
        self._facts, self._load = facts, load
        self._made: Explainer | None = None
        self._lock = threading.Lock()  # a network answers one at a time

    def of(self, name: str, content: bytes, label: int) -> dict[str, Any]:
        """A picture's heat map for a class: a PNG as a data URL, the box with most, the method.

        Or an `error` alone: of a run that cannot be explained without torch.
        """
        if self._facts.target is not None and self._facts.target.kind == "number":
            return {"error": outputs.NO_EVIDENCE}
        item = Found(name, Member(name, lambda: content))

        def explain(pixels: decoding.Pixels, wanted: int | None) -> Any:
            with self._lock:
                return self._ready()(pixels, wanted)

        try:
            record = explained.picture(item, explain, self._facts, label)
        except _MissingError as error:
            return {"error": printable(str(error))}
        if record.error is not None:
            return {"error": record.error}
        png = base64.b64encode(explained.drawn(record, item, self._facts.preprocess)).decode()
        told = to_builtins(record)
        kept = {key: told[key] for key in ("method", "box", "size", "map")}
        return {"image": f"data:image/png;base64,{png}", **kept}

    def _ready(self) -> Explainer:
        if self._made is None:
            try:
                self._made = self._load()
            except Exception as error:  # no pooled features, no OpenVINO, one too old
                text = f"no heat maps of this run without torch: {first_line(error)}"
                raise _MissingError(f"{text}; finetune explain has them") from error
        return self._made


class Server:
    """Decodes in threads, hands pictures that wait together to the network as one batch."""

    def __init__(self, model: Predictor, policy: Policy, limits: Limits, heat: Heat) -> None:
        self.model, self.policy, self.limits, self.heat = model, policy, limits, heat
        self.metrics = Metrics()
        self._queue: queue.Queue[tuple[decoding.Pixels, _Asked] | None]
        self._loop: asyncio.AbstractEventLoop
        self._decoders: ThreadPoolExecutor

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The network takes batches inside."""
        self._loop, self._queue = asyncio.get_running_loop(), queue.Queue(self.limits.waiting)
        network = threading.Thread(target=self._work, name="network")
        network.start()
        try:
            with ThreadPoolExecutor(os.cpu_count()) as self._decoders:
                yield
        finally:
            self._queue.put(None)
            network.join()

    async def predictions(
        self, files: list[tuple[str, bytes]], *, heat: bool = False
    ) -> list[dict[str, Any]]:
        """An answer for each file, in their order.

        Args:
            files: Names and bytes.
            heat: With a heat map of each answer.

        Raises:
            RefusedError: a file that cannot be read, or no answer in time.
        """
        maps: list[dict[str, Any]] = [{} for _ in files]
        try:
            async with asyncio.timeout(self.limits.seconds):
                rows = await asyncio.gather(*(self._answer(*file) for file in files))
                if heat:
                    wanted = zip(files, rows, strict=True)
                    maps = await asyncio.gather(
                        *(self._heat(*file, row[0]) for file, row in wanted)
                    )
        except TimeoutError as error:
            text = f"no answer within {self.limits.seconds:g} s"
            raise RefusedError(503, text, "Send fewer pictures at once, or later.") from error
        except FinetuneError as error:
            raise RefusedError(400, error.message, error.hint) from error
        self.metrics.images += len(rows)
        return [{**self._told(*row), **drawn} for row, drawn in zip(rows, maps, strict=True)]

    async def _heat(self, name: str, content: bytes, row: Array) -> dict[str, Any]:
        label, loop = int(row.argmax()), asyncio.get_running_loop()
        made = await loop.run_in_executor(self._decoders, self.heat.of, name, content, label)
        return {"heat": made}

    async def _answer(self, name: str, content: bytes) -> _Row:
        # From thread to thread, and back here with the answer alone: each change waits its turn.
        asked: _Asked = self._loop.create_future()
        self._decoders.submit(self._decode, Content(name, content), asked)
        return await asked

    def _decode(self, content: Content, asked: _Asked) -> None:
        if asked.done():  # its request has been given up
            return
        model = self.model
        try:
            pixels = decoding.decode(content, model.side_px, model.scales, model.box)
        except Exception as error:  # told to who asked
            self._loop.call_soon_threadsafe(_settle, [(asked, error)])
        else:
            self._queue.put((pixels, asked))

    def _work(self) -> None:
        """Batches of pictures through the network, until there is None in place of one."""
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < self.limits.batch and not self._queue.empty():
                if (item := self._queue.get()) is None:
                    return
                batch.append(item)
            batch = [(pixels, asked) for pixels, asked in batch if not asked.done()]
            if batch:
                rows = self._rows([pixels for pixels, _ in batch])
                found = [(asked, row) for (_, asked), row in zip(batch, rows, strict=True)]
                self._loop.call_soon_threadsafe(_settle, found)

    def _rows(self, pictures: list[decoding.Pixels]) -> Sequence[_Row | Exception]:
        try:
            logits, far = self.model.answers(np.stack(pictures))
        except Exception as error:  # told to each that waits; the next batch may do
            return [error] * len(pictures)
        self.metrics.batches += 1
        distances = [None] * len(logits) if far is None else far.tolist()
        return list(zip(logits, distances, strict=True))

    def _told(self, logits: Array, distance: float | None) -> dict[str, Any]:
        policy = self.policy
        if policy.target is not None:
            told = outputs.prediction("", logits, policy.target, policy.classes)
            found = to_builtins(told)
            wanted = ("labels", "value", "within", "values")
            return {name: found[name] for name in wanted if found[name] is not None}
        likely = calibration.probabilities(logits[None], self.model.temperature)[0]
        told = policy.prediction("", likely, distance, self.limits.top)
        unused = ("path", "error", "labels", "value", "within", "values")
        return {n: v for n, v in to_builtins(told).items() if n not in unused}


def _settle(found: Sequence[tuple[_Asked, _Row | Exception]]) -> None:
    """Hand answers to those who wait for them; runs where they wait."""
    for asked, row in found:
        if asked.done():
            continue
        if isinstance(row, Exception):
            asked.set_exception(row)
        else:
            asked.set_result(row)
