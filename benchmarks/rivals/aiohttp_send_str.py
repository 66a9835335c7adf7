"""aiohttp with `await send_str` to each viewer in turn, as in its demos."""

from aiohttp import web

from benchmarks.rivals.listening import serve_aiohttp

VIEWERS = web.AppKey("viewers", set[web.WebSocketResponse])


async def watch(request: web.Request) -> web.WebSocketResponse:
    viewer = web.WebSocketResponse(compress=False)
    await viewer.prepare(request)
    viewers = request.app[VIEWERS]
    viewers.add(viewer)
    try:
        async for message in viewer:
            for other in tuple(viewers):
                await other.send_str(message.data)
    finally:
        viewers.discard(viewer)
    return viewer


if __name__ == "__main__":
    app = web.Application()
    app[VIEWERS] = set()
    app.router.add_get("/ws", watch)
    serve_aiohttp(app)
