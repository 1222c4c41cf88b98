"""The server of a playground, which is asked by this machine alone unless it is told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from musclelora.data.messages import one_line, shown
from musclelora.errors import UsageError
from musclelora.playground.batch import BYTES
from musclelora.playground.guard import Guard
from musclelora.playground.models import Playground
from musclelora.playground.page import make_page, need_gradio, theme

HOST: Final = "127.0.0.1"


def listen(host: str = HOST, port: int = 0) -> socket.socket:
    """A socket to serve at.

    Args:
        host: the name or address that is listened at.
        port: the port; 0: a free one.

    Raises:
        UsageError: there is no such address on this machine, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise _no_address(host, error) from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host, error) from error
        raise UsageError(
            f"--port: {host}, port {port}: cannot be listened at ({error.strerror}); name another port, or "
            "leave it out for a free one"
        ) from error
    return opened


def _no_address(host: str, error: Exception) -> UsageError:
    return UsageError(
        f"--host: found {shown(host)} ({one_line(error)}), expected one of this machine, such as {HOST}"
    )


def address_of(opened: socket.socket) -> str:
    """The address that a browser on this machine asks."""
    host, port = opened.getsockname()[:2]
    host = {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104  # of every interface
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_private(opened: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback


def serve(playground: Playground, opened: socket.socket, ready: Callable[[str], object]) -> None:
    """Serve a playground until the process is interrupted.

    Args:
        playground: the models.
        opened: what :func:`listen` gave.
        ready: called with the page's address once it answers.

    Raises:
        UsageError: Gradio is not installed.
    """
    need_gradio()
    import uvicorn

    with TemporaryDirectory(prefix="musclelora-play-") as scratch, opened:
        app = _app(playground, Path(scratch), private=is_private(opened))

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(address_of(opened))

        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", server_header=False)
        Server(config).run(sockets=[opened])


def _app(playground: Playground, scratch: Path, *, private: bool) -> Guard:
    gr = need_gradio()
    from fastapi import FastAPI

    # Where uploaded files lie: for this process's user alone, and removed when it ends.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        make_page(playground, scratch),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css_paths=[Path(__file__).with_name("page.css")],
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return Guard(app, private=private)
