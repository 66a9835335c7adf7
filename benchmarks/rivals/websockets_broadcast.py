"""websockets with `broadcast()`.

Compression and keepalive are off: they would only cost time here.
"""

import asyncio
import contextlib

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.rivals.listening import listen

VIEWERS: set[ServerConnection] = set()


async def watch(viewer: ServerConnection) -> None:
    VIEWERS.add(viewer)
    try:
        with contextlib.suppress(ConnectionClosed):
            async for message in viewer:
                broadcast(VIEWERS, message)
    finally:
        VIEWERS.discard(viewer)


async def main() -> None:
    async with serve(watch, sock=listen(), compression=None, ping_interval=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
