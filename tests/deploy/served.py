"""A server in a thread, and a client of it."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import browser as chromium
import httpx
import uvicorn
from helpers import SAMPLE, Recorder

from finetune.deploy import doubt, http_app, predictor, serving
from finetune.deploy.serving import Limits
from finetune.records.unsure import NO_DOUBT, DoubtOptions
from finetune.runs import run_folder
from finetune.workflows import serve as workflow

# Drops files on an element, as from a file manager.
DROP = """([element, files]) => {
  const data = new DataTransfer();
  for (const [name, type, bytes] of files)
    data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name, { type }));
  document.querySelector(element).dispatchEvent(
    new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""
LEAVES = sorted(SAMPLE.rglob("*.jpg"))[::30]


@contextlib.contextmanager
def served(
    run: Path,
    limits: Limits | None = None,
    token: str | None = None,
    doubts: DoubtOptions = NO_DOUBT,
) -> Iterator[tuple[httpx.Client, serving.Server]]:
    """A server of the run on a free port, and a client of it."""
    facts = run_folder.load_facts(run)
    model = predictor.of_run(run, facts, device="cpu", images=1, listener=Recorder())
    policy = doubt.resolve(facts, doubts)
    server = serving.Server(model, policy, limits or Limits(), workflow.heat_of(run, facts))
    place = workflow._bound("127.0.0.1", 0)
    config = uvicorn.Config(http_app.application(server, token), log_level="warning")
    process = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: process.run(sockets=[place]))
    thread.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{place.getsockname()[1]}", timeout=30, trust_env=False
    ) as client:
        while not process.started:
            time.sleep(0.01)
        yield client, server
    process.should_exit = True
    thread.join()
    place.close()


def fields(*paths: Path) -> list[tuple[str, tuple[str, bytes]]]:
    """Multipart fields named `image`."""
    return [("image", (path.name, path.read_bytes())) for path in paths]


def dropped(visit: chromium.Visit, *files: tuple[str, str, bytes]) -> None:
    """Files of a name, a type and bytes, let go over the page."""
    told = [[name, kind, base64.b64encode(content).decode()] for name, kind, content in files]
    visit.page.evaluate(DROP, ["#drop", told])
