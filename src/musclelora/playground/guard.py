"""What stands between a browser and Gradio: who may ask, and what a page may load and run."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# A page asks nothing but its own server, and of the scripts that stand in it only those run that have the
# response's nonce. Gradio's templates are functions made of text, hence 'unsafe-eval'.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers.
        private: only this machine may ask, by one of its own names: a page of the web whose name leads here
            has another one. Nor may a page of another server have a browser here ask for it.
    """

    def __init__(self, app: App, *, private: bool) -> None:
        self._app, self._private = app, private

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":  # the page opens no sockets of the web
            await send({"type": "websocket.close"})
        elif self._private and not _is_own(scope):
            await _refuse(send, 421)
        elif self._private and not _is_of_its_page(scope):
            await _refuse(send, 403)
        else:
            # The page is rewritten, which it cannot be once it is compressed.
            plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            scope = {**scope, "headers": plain} if scope["path"] == "/" else scope
            await self._app(scope, receive, _Answer(send, page=scope["path"] == "/"))


class _Answer:
    """Sends an answer on with the policy; one that is the page waits until it is whole."""

    def __init__(self, send: Send, *, page: bool) -> None:
        self._send, self._page = send, page
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in _HEADERS}
            policy = (b"content-security-policy", _POLICY.format(nonce=self._nonce).encode())
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in own]
            message = {**message, "headers": [*kept, *_HEADERS, policy]}
            if self._page:
                self._start = message
                return
        elif self._page and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page()
            return
        await self._send(message)

    async def _send_page(self) -> None:
        body = self._body.replace(b"<script", b'<script nonce="' + self._nonce.encode() + b'"')
        headers = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_own(scope: Message) -> bool:
    """Whether a request has this machine's own name for its server; an address is no name that leads here."""
    host = _header(scope, b"host")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name.lower() == "localhost"


def _is_of_its_page(scope: Message) -> bool:
    """Whether a request comes from a page of this server, or of none; a browser names the page's server."""
    origin = _header(scope, b"origin")
    return not origin or origin.lower() == f"http://{_header(scope, b'host')}".lower()


def _header(scope: Message, wanted: bytes) -> str:
    return next((value for name, value in scope["headers"] if name == wanted), b"").decode("latin-1")


async def _refuse(send: Send, status: int) -> None:
    body = (
        b"This playground answers its own page at 127.0.0.1 and localhost; start it with --host to open it "
        b"to others.\n"
    )
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
