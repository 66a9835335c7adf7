"""static/state.js in a browser, and the messages that change its state."""

import json
from typing import Any

__all__ = ["CAMERA", "CLOCK", "HELLO", "LIVE", "PRESS", "Reducer", "event", "photo", "ready", "reply"]

AT = "2026-01-01T00:00:00.000Z"
CLOCK = 1_767_225_600_000  # AT, in ms
CAMERA = {"name": "main", "state": "idle", "dead_time": 5, "ready_at": AT, "latest": None}

HELLO = {"type": "hello", "at": AT, "epoch": 1, "seq": 0, "recovered": False, "viewers": 1, "cameras": [CAMERA],
         "role": "manage"}  # fmt: skip

PRESS = {"act": "press", "request": "r"}

RUN = """async (steps) => {
    const { initialState, receive, act } = await import("./static/state.js");
    const freeze = (value) => {
        if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
        return value;
    };
    let state = freeze(initialState({ stripLength: 3 }));
    for (const [now, step] of steps) state = freeze(step.act ? act(state, step, now) : receive(state, step, now));
    return state;
}"""


def photo(capture: int) -> dict[str, Any]:
    name = f"s{capture}"
    return {"camera": "main", "capture": capture, "snapshot": name, "url": f"/{name}.jpg", "page": f"/{name}",
            "thumbnail": f"/{name}/t.jpg", "captured_at": AT, "width": 4, "height": 3, "bytes": 9,
            "content_type": "image/jpeg"}  # fmt: skip


def ready(seq: int, capture: int) -> dict[str, Any]:
    return {"type": "ready", "seq": seq, "cursor": f"1-{seq}", "at": AT, **photo(capture)}


def event(kind: str, seq: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "seq": seq, "cursor": f"1-{seq}", "at": AT, "camera": "main", **fields}


def reply(outcome: str, capture: int, **fields: Any) -> dict[str, Any]:
    return {"type": "reply", "request": "r", "outcome": outcome, "capture": capture, **fields}


class Reducer:
    def __init__(self, window: Any) -> None:
        self.window = window

    async def run(self, *steps: dict[str, Any], times: dict[int, int] | None = None) -> dict[str, Any]:
        """Return the state after these steps.

        Each is at CLOCK plus `times` (ms, by the step's index).
        """
        timed = [[CLOCK + (times or {}).get(place, 0), step] for place, step in enumerate(steps)]
        state: dict[str, Any] = await self.window.read(RUN, json.loads(json.dumps(timed)))
        return state


LIVE = {"act": "live", "on": True}
