"""A free port, a queue in which everybody may wait at once, and saying which port it is."""

import asyncio
import socket

from aiohttp import web

__all__ = ["BACKLOG", "listen", "serve_aiohttp"]

BACKLOG = 1024
"""Connections that may wait to be accepted, as many as at D.O.G."""


def listen() -> socket.socket:
    """A listening socket on a free port of this machine, which is told."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print("listening on", listener.getsockname()[1], flush=True)
    return listener


def serve_aiohttp(app: web.Application) -> None:
    asyncio.run(_serve(app))


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listen(), backlog=BACKLOG).start()
    await asyncio.Event().wait()
