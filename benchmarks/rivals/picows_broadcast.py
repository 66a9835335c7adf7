"""picows on uvloop.

The callback of a received frame calls `transport.send` for each viewer.
"""

# Only `make bench` installs these two. mypy also runs without them.
import uvloop  # type: ignore[import-not-found, unused-ignore]
from picows import (  # type: ignore[import-not-found, unused-ignore]
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from benchmarks.rivals.listening import MAX_PENDING_CONNECTIONS, listen

VIEWERS: set[WSTransport] = set()


class Viewer(WSListener):  # type: ignore[misc, unused-ignore]
    def on_ws_connected(self, transport: WSTransport) -> None:
        VIEWERS.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        VIEWERS.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            for viewer in VIEWERS:
                viewer.send(WSMsgType.TEXT, message)


def accept(_: WSUpgradeRequest) -> Viewer:
    return Viewer()


async def main() -> None:
    server = await ws_create_server(accept, sock=listen(), backlog=MAX_PENDING_CONNECTIONS)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
