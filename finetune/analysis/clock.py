"""Names each step to the listener and keeps its seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from finetune.records.events import Listener


@dataclass
class Clock:
    """Names each step to the listener and keeps its seconds."""

    listener: Listener
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Time a step; steps of one name add up."""
        self.listener.step(text)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> dict[str, float]:
        """Seconds of every step, and of all since the clock was made."""
        return {**self.seconds, "total": time.perf_counter() - self.began}
