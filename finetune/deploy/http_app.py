"""A run over HTTP: what requests may ask, and the pages and numbers beside the answers."""

# No `from __future__ import annotations`: FastAPI reads the annotations of functions in functions.

import contextlib
import hmac
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune.deploy.serving import LOOPBACK, Limits, RefusedError, Server
from finetune.records.errors import printable

FIELD = "image"
# The page loads nothing from elsewhere and may ask nobody but this server.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
_HOW = f"curl -F {FIELD}=@photo.jpg ADDRESS/predict"


def application(server: Server, token: str | None = None, *, local: bool = True) -> FastAPI:
    """The ASGI application.

    Args:
        server: What answers.
        token: What requests must bear (`Authorization: Bearer …`), all but `/health`; None for
            none.
        local: Only requests for this machine by a name of its own are answered, so that no web
            page of another name reaches it (DNS rebinding).
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(title="finetune", lifespan=lifespan, docs_url=None, redoc_url=None)

    app.add_middleware(_Guard, server=server, token=token, local=local)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ready", "classes": len(server.policy.classes)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        return server.metrics.text()

    @app.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        return HTMLResponse(_page("page.html"), headers={"Content-Security-Policy": _POLICY})

    @app.get("/docs", response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page("docs.html"), headers={"Content-Security-Policy": _POLICY})

    @app.post("/predict", openapi_extra=_BODY)
    async def predict(request: Request, heat: str = "false") -> Any:
        try:
            drawn = _yes("heat", heat)
            files = await _files(request, server.limits)
            found = await server.predictions(files, heat=drawn)
            return JSONResponse({"predictions": found})
        except RefusedError as refusal:
            told = {"error": refusal.text, "hint": refusal.hint}
            return JSONResponse(told, refusal.code)

    return app


class _Guard:
    """What every request passes: refused by its head, or answered, counted, and marked.

    Written for ASGI itself: FastAPI's `middleware("http")` runs each request as two tasks.
    """

    def __init__(self, app: ASGIApp, server: Server, token: str | None, *, local: bool) -> None:
        self._app, self._server, self._token, self._local = app, server, token, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cache-Control"] = "no-store"
                path = getattr(scope.get("route"), "path", "other")
                self._server.metrics.add(path, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            _admit(Request(scope), self._server.limits, self._token, local=self._local)
        except RefusedError as refusal:
            response = JSONResponse({"error": refusal.text, "hint": refusal.hint}, refusal.code)
            await response(scope, receive, marked)
        else:
            await self._app(scope, receive, marked)


def _page(name: str) -> str:
    return resources.files("finetune.deploy").joinpath(name).read_text("utf-8")


def _yes(name: str, value: str) -> bool:
    """A parameter that is true or false."""
    if value not in ("true", "false"):
        raise RefusedError(400, f"{name} is {value}", f"Give {name}=true, or leave it out.")
    return value == "true"


def _admit(request: Request, limits: Limits, token: str | None, *, local: bool) -> None:
    """Refuse a request by its head alone."""
    host = request.headers.get("host", "").rsplit(":", 1)[0].strip("[]")
    if local and host not in LOOPBACK:
        raise RefusedError(421, f"this server is not {host}", "Ask it as 127.0.0.1.")
    path = request.url.path
    if token is not None and path not in ("/health", "/", "/docs"):
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise RefusedError(401, "no token, or another", "Send Authorization: Bearer TOKEN.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limits.body_bytes:
        text = f"{length} bytes are too many: at most {limits.body_bytes} a request"
        raise RefusedError(413, text, "Send fewer pictures at once.")


async def _files(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """The names and bytes of the pictures of a request."""
    many = f"more than {limits.files} files"
    try:
        async with _counted(request, limits).form(
            max_files=limits.files, max_fields=limits.files
        ) as form:
            parts = form.getlist(FIELD)
            if not parts:
                text = f"no field named {FIELD}"
                raise RefusedError(400, text, _HOW)
            found = []
            for part in parts:
                if not isinstance(part, UploadFile):
                    text = f"the field {FIELD} is text, not a file"
                    raise RefusedError(400, text, _HOW)
                if (part.size or 0) > limits.file_bytes:
                    text = f"{part.filename} has {part.size} bytes, at most {limits.file_bytes}"
                    raise RefusedError(413, text, "Send a smaller picture.")
                found.append((printable(part.filename or "picture"), await part.read()))
            return found
    except HTTPException as error:
        text = many if "Too many" in str(error.detail) else str(error.detail)
        raise RefusedError(400, text, f"Send multipart fields named {FIELD}.") from error


def _counted(request: Request, limits: Limits) -> Request:
    """The request, which ends with a refusal once its body is too long: its length may be a lie."""
    receive, total = request.receive, 0

    async def counted() -> Any:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limits.body_bytes:
            text = f"more than {limits.body_bytes} bytes"
            raise RefusedError(413, text, "Send fewer pictures at once.")
        return message

    return Request(request.scope, counted)
