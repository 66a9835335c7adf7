"""aiohttp's simplest WebSocket server: it upgrades, then reads."""

from aiohttp import web

from benchmarks.rivals.listening import serve_aiohttp


async def watch(request: web.Request) -> web.WebSocketResponse:
    viewer = web.WebSocketResponse()
    await viewer.prepare(request)
    async for _ in viewer:
        pass
    return viewer


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/ws", watch)
    serve_aiohttp(app)
