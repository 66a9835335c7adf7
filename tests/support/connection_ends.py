"""Every way in which a connection ends."""

import contextlib

from dog.web.app_keys import APP_STATE
from tests.support.guarded_service import GuardedService
from tests.support.raw_client import REQUEST, RawClient
from tests.support.running import until
from tests.support.websocket_frames import UPGRADE, build_client_frame

__all__ = ["WAYS_TO_END"]


async def _disconnect(client: RawClient, _guarded: GuardedService) -> None:
    client.close()


async def _disconnect_after_responses(client: RawClient, _guarded: GuardedService) -> None:
    assert [await client.request(), await client.request()] == [200, 200]
    client.close()


async def _shut_down_the_sending_half(client: RawClient, _guarded: GuardedService) -> None:
    client.writer.write_eof()
    await client.read_to_end()


async def _request_connection_close(client: RawClient, _guarded: GuardedService) -> None:
    assert await client.request(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 200
    assert await client.reader.read() == b""


async def _use_http_1_0(client: RawClient, _guarded: GuardedService) -> None:
    assert await client.request(b"GET /healthz HTTP/1.0\r\n\r\n") == 200
    assert await client.reader.read() == b""


async def _be_reset(client: RawClient, _guarded: GuardedService) -> None:
    client.reset()


async def _be_reset_within_a_head(client: RawClient, _guarded: GuardedService) -> None:
    await client.send(REQUEST[:20])
    client.reset()


async def _be_reset_within_a_body(client: RawClient, _guarded: GuardedService) -> None:
    await client.send(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    client.reset()


async def _be_reset_while_a_photo_is_taken(client: RawClient, guarded: GuardedService) -> None:
    camera = guarded.app[APP_STATE].find_camera(None)
    await client.send(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: camera.running is not None or camera.latest is not None)
    client.reset()


async def _send_malformed_http(client: RawClient, _guarded: GuardedService) -> None:
    assert await client.request(b"\0\r\n\r\n") == 400
    await client.read_to_end()


async def _request_push_without_upgrade(client: RawClient, _guarded: GuardedService) -> None:
    assert await client.request(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 426
    await client.read_to_end()


async def _request_push_from_another_site(client: RawClient, _guarded: GuardedService) -> None:
    assert await client.request(UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n")) == 403
    client.close()


async def _open_push(client: RawClient) -> None:
    assert await client.request(UPGRADE) == 101


async def _watch_and_close(client: RawClient, _guarded: GuardedService) -> None:
    await _open_push(client)
    await client.send(build_client_frame(8, b"\x03\xe8"))
    await client.read_to_end()


async def _watch_and_disconnect(client: RawClient, _guarded: GuardedService) -> None:
    await _open_push(client)
    client.close()


async def _watch_and_be_reset(client: RawClient, _guarded: GuardedService) -> None:
    await _open_push(client)
    client.reset()


async def _disconnect_with_the_handshake(client: RawClient, _guarded: GuardedService) -> None:
    await client.send(UPGRADE)
    client.reset()


async def _close_with_the_handshake(client: RawClient, _guarded: GuardedService) -> None:
    await client.send(UPGRADE + build_client_frame(8, b"\x03\xe8"))
    client.writer.write_eof()
    await client.read_to_end()


async def _watch_and_violate_the_protocol(client: RawClient, _guarded: GuardedService) -> None:
    await _open_push(client)
    await client.send(b"\x83\x80")
    await client.read_to_end()


async def _watch_and_be_dropped(client: RawClient, guarded: GuardedService) -> None:
    await _open_push(client)
    (viewer,) = (viewer for lane in guarded.app[APP_STATE].hub._ping_groups for viewer in lane)
    guarded.app[APP_STATE].hub.drop(viewer, "silent")
    await client.read_to_end()


async def _watch_and_read_nothing(client: RawClient, guarded: GuardedService) -> None:
    await _open_push(client)
    resume = build_client_frame(1, b'{"type":"resume"}') * 1000
    with contextlib.suppress(ConnectionError):
        while guarded.app[APP_STATE].hub.count:
            await client.send(resume)
    client.close()


WAYS_TO_END = [
    _disconnect,
    _disconnect_after_responses,
    _shut_down_the_sending_half,
    _request_connection_close,
    _use_http_1_0,
    _be_reset,
    _be_reset_within_a_head,
    _be_reset_within_a_body,
    _be_reset_while_a_photo_is_taken,
    _send_malformed_http,
    _request_push_without_upgrade,
    _request_push_from_another_site,
    _watch_and_close,
    _watch_and_disconnect,
    _watch_and_be_reset,
    _disconnect_with_the_handshake,
    _close_with_the_handshake,
    _watch_and_violate_the_protocol,
    _watch_and_be_dropped,
    _watch_and_read_nothing,
]
