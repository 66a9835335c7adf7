"""A browser's window with static/dog-client.js in it."""

from typing import Any

from tests.browser.conftest import TIMEOUT_MS
from tests.browser.windows import Window
from tests.support.browser_pages import UNREACHABLE
from tests.support.server_process import ROOT

__all__ = ["DOCUMENT", "EMPTY", "ClientWindow"]

DOCUMENT = ROOT / "docs" / "clients.md"
EMPTY = "/healthz"
"""A URL of the service without a script, so that only the test's client is connected."""

START_CLIENT = """async ([module, url, token]) => {
    const { DogClient } = await import(module);
    window.received = [];
    window.ends = [];
    window.asked = []; // the client's state each time that it requested its token
    const give = async (fails) => {
        if (asked.push(window.dog?.state) === 1 && fails) throw new Error("away");
        await new Promise((resolve) => setTimeout(resolve));
        return token[1];
    };
    const ways = { text: token?.[1], later: () => give(false), failing: () => give(true) };
    window.dog = new DogClient(url ?? undefined, token ? { token: ways[token[0]] } : undefined);
    const types = ["hello", "reply", "error", "capturing", "ready", "failed", "news", "missed", "statechange"];
    for (const type of types) dog.addEventListener(type, ({ detail }) => received.push({ ...detail, type }));
    window.press = (wish) => dog.capture(wish).then(
        (photo) => ends.push({ photo }),
        ({ name, code = null, message, retryAfter = null }) => ends.push({ name, code, message, retryAfter }),
    );
}"""


class ClientWindow:
    """A window with a DogClient, and all events that it received."""

    def __init__(self, window: Window) -> None:
        self.window = window
        window.accepted.append(UNREACHABLE)

    @classmethod
    async def start(
        cls,
        window: Window,
        *,
        module: str = "./static/dog-client.js",
        url: str | None = None,
        token: tuple[str, str] | None = None,
    ) -> "ClientWindow":
        """Start the client.

        `token` is the way to give it the token (see START_CLIENT), and the token.
        """
        client = cls(window)
        await window.read(START_CLIENT, [module, url, token])
        return client

    async def wait_until(self, state: str) -> None:
        await self.window.page.wait_for_function("(state) => dog.state === state", arg=state, timeout=TIMEOUT_MS)

    async def press(self, **options: Any) -> None:
        """Request a capture without waiting for its end."""
        await self.window.read("(wish) => { press(wish); }", options)

    async def wait_for_end(self, number: int = 0) -> dict[str, Any]:
        """Return the result of a capture.

        It is `photo`, or the error's `name`, `code`, `message` and `retryAfter`.
        """
        await self.window.page.wait_for_function("(number) => ends.length > number", arg=number, timeout=TIMEOUT_MS)
        ended: dict[str, Any] = await self.window.read("(number) => ends[number]", number)
        return ended

    async def capture(self, **options: Any) -> dict[str, Any]:
        photo: dict[str, Any] = await self.window.read("(wish) => dog.capture(wish)", options)
        return photo

    async def received(self, kind: str | None = None) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = await self.window.read("() => received")
        return [one for one in received if kind in (None, one["type"])]

    async def wait_for(self, kind: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Return the `count`th event of this type and with these fields."""
        found = """([kind, count, fields]) => received.filter((one) => one.type === kind
            && Object.entries(fields).every(([name, value]) => one[name] === value))[count - 1]"""
        handle = await self.window.page.wait_for_function(found, arg=[kind, count, fields], timeout=TIMEOUT_MS)
        event: dict[str, Any] = await handle.json_value()
        return event
