"""Who may ask a playground, and what its answers let a page do."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any

import pytest

from musclelora.errors import UsageError
from musclelora.playground.guard import Guard
from musclelora.playground.server import address_of, is_private, listen

PAGE = b"<html><script>one()</script><script type=module src=a.js></script></html>"


async def _page(scope: Any, receive: Any, send: Any) -> None:
    sizes = [(b"content-length", str(len(PAGE)).encode()), (b"cache-control", b"public")]
    await send({"type": "http.response.start", "status": 200, "headers": sizes})
    await send({"type": "http.response.body", "body": PAGE[:20], "more_body": True})
    await send({"type": "http.response.body", "body": PAGE[20:]})


def ask(
    host: str, path: str = "/", *, private: bool = True, origin: str | None = None
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of an answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    named = [] if origin is None else [(b"origin", origin.encode())]
    scope = {"type": "http", "path": path, "headers": [(b"host", host.encode()), *named]}
    asyncio.run(Guard(_page, private=private)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part["body"] for part in sent[1:])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "127.0.0.2:80"])
def test_a_page_of_this_machine_is_answered(host: str) -> None:
    status, headers, body = ask(host)
    assert status == 200
    nonce = re.search(r"'nonce-([\w-]+)'", headers[b"content-security-policy"].decode())
    assert nonce is not None
    mark = f'<script nonce="{nonce[1]}"'.encode()
    assert body == PAGE.replace(b"<script", mark)
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"cache-control"] == b"no-store"


def test_scripts_have_another_nonce_each_time() -> None:
    assert ask("localhost")[2] != ask("localhost")[2]


@pytest.mark.parametrize(
    "host", ["rebound.example:7860", "", "127.0.0.1.example", "[::2]:1", "localhost.example"]
)
def test_a_foreign_name_that_leads_here_is_refused(host: str) -> None:
    status, _, body = ask(host)
    assert (status, b"--host" in body) == (421, True)
    assert ask(host, private=False)[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:7860", 200),
        ("http://rebound.example", 403),
        ("http://127.0.0.1:8888", 403),  # another server of this machine
        ("http://127.0.0.1:7860.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_server_may_not_ask(origin: str, status: int) -> None:
    assert ask("127.0.0.1:7860", "/gradio_api/upload", origin=origin)[0] == status
    assert ask("127.0.0.1:7860", "/gradio_api/upload", origin=origin, private=False)[0] == 200


def test_a_socket_of_the_web_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(Guard(_page, private=True)({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close"}]


def test_what_is_no_page_stays_as_it_is() -> None:
    _, headers, body = ask("localhost", "/assets/a.js")
    assert body == PAGE
    assert b"content-security-policy" in headers


def test_a_free_port_is_found_and_one_in_use_is_refused() -> None:
    with listen() as opened:
        port = opened.getsockname()[1]
        assert address_of(opened) == f"http://127.0.0.1:{port}/"
        assert is_private(opened)
        with pytest.raises(UsageError, match=rf"--port: 127\.0\.0\.1, port {port}: cannot be listened at"):
            listen(port=port)


def test_every_interface_is_not_private() -> None:
    with listen("0.0.0.0") as opened:  # noqa: S104
        assert address_of(opened).startswith("http://127.0.0.1:")
        assert not is_private(opened)


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_the_newer_protocol_is_private_as_well() -> None:
    try:
        opened = listen("::1")
    except UsageError:
        pytest.skip("this machine has no ::1")
    with opened:
        assert address_of(opened).startswith("http://[::1]:")
        assert is_private(opened)


@pytest.mark.parametrize("host", ["no such name", "256.0.0.1", "192.0.2.1", "a" * 300, "a..b"])
def test_a_foreign_address_is_refused(host: str) -> None:
    with pytest.raises(
        UsageError, match=r"^--host: found .*expected one of this machine, such as 127\.0\.0\.1$"
    ):
        listen(host)
