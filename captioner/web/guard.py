"""What stands before every request: who may ask, and what browsers may do with the answers."""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI middleware: host names, origins, security headers.

    Args:
        app: what answers the requests that are let through.
        hosts: names that the Host header may have; all where None. This keeps a web page elsewhere
            from reaching a server on the loopback under a name of its own (DNS rebinding).
        ending: says whether the server takes no more; answers then tell clients to hang up, so
            that they don't send the next request into a connection that is being closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Iterable[str] | None,
        ending: Callable[[], bool] = lambda: False,
    ):
        self._app = app
        self._ending = ending
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                # Pages are checked anew, so that an update shows; answers are private.
                headers.setdefault("cache-control", "no-cache")
                if self._ending():
                    headers["connection"] = "close"
            await send(message)

        reason = self._refusal(scope["method"], Headers(scope=scope))
        if reason:
            answer = JSONResponse({"error": reason}, status_code=403)
            await answer(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> str:
        """Why a request isn't let through, '' where it is."""
        host = headers.get("host", "")
        name = _hostname(host)
        if self._hosts is not None and name not in self._hosts:
            return f"this server is not {name[:80]!r}; --allow-host lets it answer to that name"
        if method in ("GET", "HEAD"):
            return ""
        # A browser says where a request comes from; other programs don't.
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "requests from other web sites are refused"
        return ""


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:  # a broken IPv6 address
        return ""
