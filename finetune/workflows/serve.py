"""The story of `serve`: a run read, warmed, and answering until it is stopped; torch-free."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path

from finetune.backbones import inference
from finetune.deploy import doubt, explaining, predictor, serving
from finetune.records.errors import RunError, ServeError, UsageError, cause
from finetune.records.events import Listener
from finetune.records.file_names import NETWORK
from finetune.records.run import RunFacts
from finetune.records.unsure import NO_DOUBT, DoubtOptions
from finetune.runs import run_folder

NEEDS = ("fastapi", "uvicorn", "multipart")
_WAITING = 2048  # connections; as uvicorn has it
TOKEN = "FINETUNE_TOKEN"  # where a token is better kept than in a list of processes


def run_serve(
    run: Path,
    host: str,
    port: int,
    token: str | None,
    listener: Listener,
    doubts: DoubtOptions = NO_DOUBT,
) -> None:
    """`finetune serve RUN`: answer over HTTP until a signal ends it.

    Args:
        run: Its folder.
        host: The address to listen on.
        port: 0 for any that is free.
        token: What requests must bear; required where the address is not this machine's own.
        listener: Hears the address.
        doubts: When an answer is to be unsure, unknown, or a set.

    Raises:
        ServeError: packages are missing, or the address cannot be had.
        UsageError: others could ask, and there is no token.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ServeError(
            f"serve needs {', '.join(missing)}, which is not installed",
            hint="pip install 'finetune-images[serve]'",
        )
    token = token or os.environ.get(TOKEN) or None
    local = host in serving.LOOPBACK
    if not local and token is None:
        raise UsageError(
            f"--host {host} lets other machines ask, and there is no token",
            hint=f"Give --token, or set {TOKEN}.",
        )
    facts = run_folder.load_facts(run)
    policy = doubt.resolve(facts, doubts)
    for reason in policy.reasons:
        listener.note(reason)
    listener.step(f"reading {run}")
    model = predictor.of_run(run, facts, device="cpu", images=1, listener=listener)
    model.logits(inference.noise(model.side_px, 1))  # the first answer is slow: not the user's
    server = serving.Server(model, policy, serving.Limits(), heat_of(run, facts))
    place = _bound(host, port)
    import uvicorn  # noqa: PLC0415 - optional, as what it runs

    from finetune.deploy import http_app  # noqa: PLC0415

    app = http_app.application(server, token, local=local)
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=15, lifespan="on")
    name = f"[{host}]" if ":" in host else host
    listener.note(f"answering at http://{name}:{place.getsockname()[1]}; Ctrl-C ends it")
    uvicorn.Server(config).run(sockets=[place])


def heat_of(run: Path, facts: RunFacts) -> serving.Heat:
    """What draws heat maps of a run, torch-free; it is read when the first is asked for."""

    def load() -> explaining.Explainer:
        network = run_folder.load_network(run, facts)
        if network is None:
            raise RunError(f"no {NETWORK[0]} in {run}", hint="Train again.")
        return explaining.of_graph(network, facts)

    return serving.Heat(facts, load)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at that address, so that a port that is taken is told before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = socket.socket(family)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
        place.listen(_WAITING)  # who asks as soon as the address is told waits, and is not refused
    except OSError as error:
        place.close()
        raise ServeError(
            f"cannot listen on {host}:{port}: {cause(error)}", hint="Give another --port or --host."
        ) from error
    return place
