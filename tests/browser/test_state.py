"""static/state.js, run in a browser: pure functions of the page's state."""

from typing import Any

import pytest

from tests.browser.conftest import OpenWindow
from tests.support.page_state import CAMERA, CLOCK, HELLO, LIVE, PRESS, Reducer, event, photo, ready, reply
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = {"act": "lost"}


def camera_is(state: str, seq: int) -> dict[str, Any]:
    return event("camera", seq, state=state, reason="It is gone." if state == "offline" else None)


async def test_state_applies_events_and_replies(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run

    # A repeated event changes nothing.
    once = await run(HELLO, event("capturing", 1, capture=1), ready(2, 1))
    assert once == await run(HELLO, event("capturing", 1, capture=1), ready(2, 1), event("capturing", 1, capture=1))
    assert [one["snapshot"] for one in once["photos"]] == ["s1"]
    assert once["shown"]["snapshot"] == "s1"
    assert once["own"] == []

    # Unknown types are ignored, also the name of a method of all objects.
    assert once == await run(
        HELLO, event("capturing", 1, capture=1), ready(2, 1), {"type": "news"}, {"type": "toString"}
    )

    # The dead time runs from the exposure's start.
    assert once["cameras"]["main"]["readyAt"] == CLOCK + 5000

    # A press owns only the photo of its capture, also if the photo comes before the reply.
    for steps in ([reply("started", 1), ready(1, 1)], [ready(1, 1), reply("joined", 1)]):
        state = await run(HELLO, PRESS, *steps)
        assert (state["own"], state["press"]) == (["s1"], None)
    state = await run(HELLO, PRESS, reply("queued", 2, retry_after=3), ready(1, 1))
    assert (state["own"], state["press"]["startsAt"]) == ([], CLOCK + 3000)

    # A reply to another request is ignored.
    state = await run(HELLO, PRESS, {**reply("cached", 1, snapshot="s1"), "request": "other"})
    assert state["own"] == []

    # A cached photo that was not received yet is wanted, and shown when it arrives.
    state = await run(HELLO, PRESS, reply("cached", 1, snapshot="s1"))
    assert (state["wanted"], state["own"]) == ("s1", ["s1"])
    state = await run(
        HELLO, PRESS, reply("cached", 1, snapshot="s1"), {"act": "photos", "photos": [photo(2), photo(1)]}
    )
    assert (state["wanted"], state["shown"]["snapshot"]) == (None, "s1")

    # A refusal without `request` ends the press that waits for its reply.
    refusal = {"type": "error", "code": "rate_limited", "message": "Slower.", "temporary": True}
    state = await run(HELLO, PRESS, refusal)
    assert (state["press"], state["notice"]["text"]) == (None, "Slower.")
    state = await run(HELLO, PRESS, reply("started", 1), refusal)
    assert state["press"] is not None

    # A press before the first hello waits for it.
    state = await run(PRESS, HELLO)
    assert (state["press"]["epoch"], state["press"]["camera"], state["press"]["outcome"]) == (1, "main", None)


async def test_press_is_kept_when_the_connection_is_lost(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run
    again = {**HELLO, "seq": 9}
    restarted = {**HELLO, "epoch": 2}

    # An unanswered press is repeated after a short loss, and dropped after a long one.
    assert (await run(HELLO, PRESS, LOST, again))["press"] is not None
    state = await run(HELLO, PRESS, LOST, again, times={2: 20_000, 3: 20_000})
    assert (state["press"], state["notice"]["kind"]) == (None, "lost")

    # An answered press waits for its capture, or finds it in the missed photos.
    state = await run(HELLO, PRESS, reply("queued", 4), LOST, again)
    assert state["press"]["capture"] == 4
    newer = {**again, "cameras": [{**CAMERA, "latest": photo(5)}]}
    state = await run(HELLO, PRESS, reply("queued", 4), LOST, newer)
    assert (state["missed"], state["press"]["capture"]) == (True, 4)
    state = await run(HELLO, PRESS, reply("queued", 4), LOST, newer, {"act": "photos", "photos": [photo(5), photo(4)]})
    assert (state["own"], state["shown"]["snapshot"], state["missed"]) == (["s4"], "s4", False)

    # A restart ends a waiting press, with a notice.
    state = await run(HELLO, PRESS, reply("queued", 4), LOST, restarted)
    assert (state["press"], state["notice"]["kind"]) == (None, "lost")

    # A restart resets the event numbers; a recovered connection continues them.
    assert (await run(HELLO, ready(8, 1), LOST, {**restarted, "seq": 2}, ready(3, 2)))["shown"]["snapshot"] == "s2"
    promised = {**HELLO, "seq": 12, "recovered": True}
    assert (await run(HELLO, ready(8, 1), LOST, promised, ready(9, 2)))["shown"]["snapshot"] == "s2"
    assert (await run(HELLO, ready(8, 1), LOST, promised, ready(8, 2)))["shown"]["snapshot"] == "s1"


async def test_failure_notice_ends_with_its_cause(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run
    gone = event("failed", 2, capture=1, code="camera_offline", message="It is gone.", retry_after=0)
    failed = [HELLO, event("capturing", 1, capture=1), gone]

    # The notice stays while the camera is offline, also after a short loss, and ends when it is back.
    assert (await run(*failed))["notice"]["text"] == "It is gone."
    away = {**HELLO, "seq": 2, "cameras": [{**CAMERA, "state": "offline", "reason": "It is gone."}]}
    assert (await run(*failed, LOST, away))["notice"]["text"] == "It is gone."
    assert (await run(*failed, camera_is("offline", 3)))["notice"]["text"] == "It is gone."
    assert (await run(*failed, camera_is("idle", 3)))["notice"] is None
    assert (await run(*failed, LOST, {**HELLO, "seq": 3}))["notice"] is None

    # A restarted server does not repeat the failure, but reports the camera's reason.
    assert (await run(*failed, LOST, {**HELLO, "epoch": 2}))["notice"] is None
    restarted = await run(*failed, LOST, {**away, "epoch": 2})
    assert (restarted["notice"], restarted["cameras"]["main"]["reason"]) == (None, "It is gone.")

    # Another camera's return does not end the notice, and a camera's return does not end other notices.
    both = {**HELLO, "cameras": [CAMERA, {**CAMERA, "name": "yard"}]}
    yard = {**camera_is("idle", 3), "camera": "yard"}
    assert (await run(both, *failed[1:], yard))["notice"]["text"] == "It is gone."
    refusal = {"type": "error", "code": "rate_limited", "message": "Slower.", "temporary": True}
    assert (await run(*failed, refusal, camera_is("idle", 3)))["notice"]["text"] == "Slower."


async def test_dead_time_counts_from_the_start_of_the_exposure(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    window = await open_window(idle_server.url)
    state = await Reducer(window).run(HELLO, event("capturing", 1, capture=1), ready(2, 1))
    phases = await window.read(
        """async ([state, times]) => {
            const { cameraPhase } = await import("./static/state.js");
            return times.map((now) => cameraPhase(state.cameras.main, now));
        }""",
        [state, [CLOCK, CLOCK + 2500, CLOCK + 4999, CLOCK + 5000]],
    )
    assert [(one["phase"], one["left"], one["share"]) for one in phases] == [
        ("cooling", 5000, 1),
        ("cooling", 2500, 0.5),
        ("cooling", 1, 0.0002),
        ("idle", 0, 0),
    ]


async def test_strip_keeps_its_length(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    window = await open_window(idle_server.url)
    state = await Reducer(window).run(HELLO, *(ready(number, number) for number in range(1, 6)))
    assert [one["snapshot"] for one in state["photos"]] == ["s5", "s4", "s3"]


async def test_state_keeps_two_cameras_apart(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    window = await open_window(idle_server.url)
    both = {**HELLO, "cameras": [CAMERA, {**CAMERA, "name": "yard"}]}
    capturing = {**event("capturing", 2, capture=2), "camera": "yard"}
    run = Reducer(window).run
    state = await run(both, ready(1, 1), capturing)
    assert (state["cameras"]["main"]["state"], state["cameras"]["yard"]["state"]) == ("idle", "capturing")
    state = await run(both, ready(1, 1), capturing, {**ready(3, 2), "camera": "yard"})
    assert [one["snapshot"] for one in state["photos"]] == ["s1"]
    assert state["shown"]["snapshot"] == "s1"
    assert state["cameras"]["yard"]["state"] == "idle"

    # Another camera's failure gives no notice here, and its events end none.
    gone = {**event("failed", 3, capture=2, code="camera_error", message="It is gone."), "camera": "yard"}
    assert (await run(both, ready(1, 1), capturing, gone))["notice"] is None
    ours = event("failed", 2, capture=1, code="camera_error", message="The lens cap is on.")
    yard = [{**capturing, "seq": 3}, {**ready(4, 2), "camera": "yard"}, {**gone, "seq": 5}]
    assert (await run(both, event("capturing", 1, capture=1), ours, *yard))["notice"]["text"] == "The lens cap is on."
    assert (await run(both, event("capturing", 1, capture=1), ours, event("capturing", 3, capture=3)))["notice"] is None


OFF = {"act": "live", "on": False}


async def test_live_view_state_covers_the_photo_and_counts_new_ones(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run

    # Every photo counts as new until the live view ends.
    state = await run(HELLO, ready(1, 1), LIVE, ready(2, 2), ready(3, 3))
    assert (state["live"], state["unseen"], state["shown"]["snapshot"]) == (True, 2, "s3")
    state = await run(HELLO, ready(1, 1), LIVE, ready(2, 2), OFF)
    assert (state["live"], state["unseen"], state["shown"]["snapshot"]) == (False, 0, "s2")

    # A press keeps the live view on, and its photo counts as new, also a cached one.
    state = await run(HELLO, ready(1, 1), LIVE, PRESS, reply("started", 2), ready(2, 2))
    assert (state["live"], state["unseen"], state["own"]) == (True, 1, ["s2"])
    state = await run(HELLO, ready(1, 1), LIVE, PRESS, reply("cached", 1, snapshot="s1"))
    assert (state["live"], state["unseen"], state["own"]) == (True, 1, ["s1"])

    # Missed photos count as new, too.
    state = await run(HELLO, ready(1, 1), LIVE, {"act": "photos", "photos": [photo(3), photo(2), photo(1)]})
    assert (state["live"], state["unseen"]) == (True, 2)

    # Choosing a photo ends the live view; walking starts at the newest photo.
    for step, shown in (
        ({"act": "show", "snapshot": "s1"}, "s1"),
        ({"act": "walk", "by": 1}, "s2"),
        ({"act": "newest"}, "s2"),
    ):
        state = await run(HELLO, ready(1, 1), ready(2, 2), LIVE, step)
        assert (state["live"], state["shown"]["snapshot"]) == (False, shown)
    state = await run(HELLO, ready(1, 1), LIVE, {"act": "walk", "by": -1})
    assert state["live"]
    state = await run(HELLO, LIVE, {"act": "walk", "by": 1})
    assert state["live"], "there is no photo to walk to"

    # After the live view, an older photo is shown again, and new ones are counted.
    walked = [HELLO, ready(1, 1), ready(2, 2), {"act": "walk", "by": 1}, LIVE, ready(3, 3), OFF]
    state = await run(*walked)
    assert (state["shown"]["snapshot"], state["unseen"]) == ("s1", 1)


async def test_frames_are_requested_only_while_visible_and_available(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    window = await open_window(idle_server.url)

    async def has_frames(*steps: dict[str, Any]) -> bool:
        state = await Reducer(window).run(*steps)
        streams: bool = await window.read('async (state) => (await import("./static/state.js")).streams(state)', state)
        return streams

    shows = {**HELLO, "cameras": [{**CAMERA, "preview": True}]}
    assert await has_frames(shows, LIVE)
    assert not await has_frames(shows)
    assert not await has_frames(LIVE)
    assert not await has_frames(shows, LIVE, OFF)
    assert not await has_frames(HELLO, LIVE)
    assert not await has_frames(shows, LIVE, LOST)
    assert await has_frames(shows, LIVE, LOST, shows)
    assert not await has_frames(shows, LIVE, camera_is("offline", 1))
    assert await has_frames(shows, LIVE, camera_is("offline", 1), camera_is("idle", 2))
    assert await has_frames(shows, LIVE, event("capturing", 1, capture=1))
    hidden = {"act": "seen", "seen": False}
    assert not await has_frames(shows, LIVE, hidden)
    assert await has_frames(shows, LIVE, hidden, {"act": "seen", "seen": True})


async def test_quality_of_a_photo_is_kept_when_the_photo_list_lacks_it(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run
    black = {"verdict": "black", "brightness": 0.0}
    pushed = {**ready(1, 1), "quality": black}
    state = await run(HELLO, pushed, {"act": "photos", "photos": [photo(2), photo(1)]})
    assert [one.get("quality") for one in state["photos"]] == [None, black]
