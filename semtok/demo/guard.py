"""Which requests the page's server answers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """Refuses requests that name another host, and uploads once those of all visitors take too much room.

    A site on the internet can have its name resolve to this machine ("DNS rebinding"), and its script then reaches a
    page that listens to this machine alone; but the browser still sends the site's name as the host.

    Args:
        app: what answers the other requests.
        hosts: names by which the page may be reached; None takes all.
        folder: of uploads and of what is made of them.
        max_bytes: of all files there.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, folder: Path, max_bytes: int) -> None:
        self._app, self._hosts, self._folder, self._max_bytes = app, hosts, folder, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
                refusal = PlainTextResponse(f"this page is at {' or '.join(sorted(self._hosts))} only", 403)
                await refusal(scope, receive, send)
                return
            if scope.get("method") == "POST" and scope["path"].endswith("/upload") and self._is_full(headers):
                await PlainTextResponse("too much is uploaded at the moment: try again later", 507)(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)

    def _is_full(self, headers: Headers) -> bool:
        coming = headers.get("content-length", "")
        stored = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        return stored + (int(coming) if coming.isdecimal() else 0) > self._max_bytes


def _host_name(host: str) -> str | None:
    """Of a Host header "name:port"; None if it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
