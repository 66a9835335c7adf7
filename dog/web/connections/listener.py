"""Accept connections, each in the turn of its client address.

asyncio would accept all that wait, and make a task and a transport for each, whatever its address. Here the connections
of an address whose time is used up wait as bare sockets (dog.web.loop_time). Most of a flood costs nothing more: its
clients close them before their turn.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

from aiohttp import web

from dog.tls import Tls
from dog.web.connections.connection_limits import Connections
from dog.web.loop_time import CONNECTION_MS, HANDSHAKE_MS

__all__ = ["Listener", "listen"]

MAX_ACCEPTED_AT_ONCE = 32
"""Connections that are accepted in one step of the event loop."""
RETRY_DELAY = 1.0
"""Seconds until the next attempt if all descriptors are in use."""
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


async def listen(
    connections: Connections, server: web.Server, host: str | None, port: int, tls: Tls | None = None
) -> "Listener":
    """Listen on all addresses of a host. Raises the errors of `create_server`."""
    factory = connections.make_protocol_factory(server, tls)
    bound = await asyncio.get_running_loop().create_server(factory, host, port, start_serving=False)
    try:
        ms = CONNECTION_MS if tls is None else HANDSHAKE_MS
        return Listener(connections, factory, [listening.dup() for listening in bound.sockets], ms)
    finally:
        bound.close()


class Listener:
    """The listening sockets, and the connections that wait for their turn."""

    def __init__(
        self,
        connections: Connections,
        factory: Callable[[], asyncio.Protocol],
        sockets: list[socket.socket],
        connection_ms: float,
    ) -> None:
        self.sockets = sockets
        self.connections = connections
        self.connection_ms = connection_ms
        self.waiting: set[_Accepted] = set()
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        for listening in sockets:
            listening.setblocking(False)
            listening.listen(connections.backlog)
            self._resume(listening)

    def close(self) -> None:
        """Close the sockets, and the connections that wait."""
        for listening in self.sockets:
            self._loop.remove_reader(listening)
            listening.close()
        for accepted in tuple(self.waiting):
            accepted.close()

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            try:
                connection, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_DESCRIPTOR:
                    raise
                self._loop.call_exception_handler({"message": "no connection can be accepted", "exception": error})
                self._loop.remove_reader(listening)  # or it would be called again at once
                self._loop.call_later(RETRY_DELAY, self._resume, listening)
                return
            connection.setblocking(False)
            _Accepted(self, connection, peer[0]).request_turn()

    def start(self, connection: socket.socket) -> None:
        """Give an accepted connection its transport and protocol."""
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Accepted:
    """An accepted connection until its turn."""

    __slots__ = ("_address", "_connection", "_listener", "_on_end", "_peer")

    def __init__(self, listener: Listener, connection: socket.socket, peer: str) -> None:
        self._listener = listener
        self._connection = connection
        self._peer = peer
        self._address = listener.connections.limited_address(peer)
        self._on_end: Callable[[], None] | None = None

    def request_turn(self) -> None:
        """Start it now, or let it wait, or refuse it if too many do."""
        connections = self._listener.connections
        if connections.loop_time.request_turn(self._address, self, self._listener.connection_ms):
            return
        self._on_end = connections.register_waiting(self._peer)
        self._listener.waiting.add(self)
        if self._on_end is None:
            connections.record_refusal(self._peer, "address")
            self.close()

    def take_turn(self, _charged_ms: float) -> None:
        self._end()
        try:
            is_closed = not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            is_closed = False
        except OSError:
            is_closed = True
        if is_closed:
            self._connection.close()
        else:
            self._listener.start(self._connection)

    def close(self) -> None:
        self._listener.connections.loop_time.cancel(self._address, self)
        self._end()
        self._connection.close()

    def _end(self) -> None:
        self._listener.waiting.discard(self)
        if self._on_end is not None:
            self._on_end()
