"""Listening sockets of the rivals: a printed free port and a long queue."""

import asyncio
import socket

from aiohttp import web

__all__ = ["MAX_PENDING_CONNECTIONS", "listen", "serve_aiohttp"]

MAX_PENDING_CONNECTIONS = 1024
"""Connections that may wait to be accepted, as many as in D.O.G."""


def listen() -> socket.socket:
    """Return a listening socket on a free local port, and print the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=MAX_PENDING_CONNECTIONS)
    print("listening on", listener.getsockname()[1], flush=True)
    return listener


def serve_aiohttp(app: web.Application) -> None:
    asyncio.run(_serve(app))


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listen(), backlog=MAX_PENDING_CONNECTIONS).start()
    await asyncio.Event().wait()
