"""The live view of a camera: the newest frame for each watcher."""

import asyncio
import email
from collections.abc import Callable

import pytest

import dog.captures.preview
from dog.cameras import OnFrame
from dog.captures.preview import BOUNDARY, END, NEXT_HEADER, Part, Preview, Watcher
from tests.support.pictures import make_picture


class ShownCamera:
    """A live view.

    `shown` records each call of `set_preview`: True with a function, else False.
    """

    has_preview = True

    def __init__(self) -> None:
        self.shown: list[bool] = []
        self.give: OnFrame | None = None

    def set_preview(self, on_frame: OnFrame | None) -> None:
        self.shown.append(on_frame is not None)
        self.give = on_frame

    def film(self, *frames: bytes) -> None:
        assert self.give is not None, "there is no watcher"
        for frame in frames:
            self.give(frame)


@pytest.fixture
def camera() -> ShownCamera:
    return ShownCamera()


@pytest.fixture
def preview(camera: ShownCamera) -> Preview:
    return Preview(camera)  # type: ignore[arg-type]


def read(part: Part) -> bytes:
    """Return the frame of a part."""
    return bytes(part.with_header).split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


async def watch(watcher: Watcher) -> bytes:
    return read(await anext(watcher))


async def test_the_camera_sends_frames_from_the_first_watcher_to_the_last(
    camera: ShownCamera, preview: Preview
) -> None:
    assert camera.shown == []
    with preview.watch():
        assert camera.shown == [True]
        with preview.watch():
            assert preview.count == 2
        assert camera.shown == [True]
    assert camera.shown == [True, False]
    assert preview.count == 0
    with preview.watch() as watcher:
        camera.film(b"again")
        assert await watch(watcher) == b"again"
    assert camera.shown == [True, False, True, False]


async def test_a_watcher_that_leaves_by_an_error_is_removed(camera: ShownCamera, preview: Preview) -> None:
    with pytest.raises(ConnectionResetError), preview.watch():
        raise ConnectionResetError
    assert (camera.shown, preview.count) == ([True, False], 0)


async def test_each_watcher_gets_the_newest_frame_when_it_is_ready(camera: ShownCamera, preview: Preview) -> None:
    with preview.watch() as quick, preview.watch() as slow:
        seen = []
        for number in range(100):
            camera.film(b"%d" % number)
            seen.append(await watch(quick))
        assert seen == [b"%d" % number for number in range(100)]
        assert await watch(slow) == b"99"
        camera.film(b"100", b"101")
        assert [await watch(slow), await watch(quick)] == [b"101", b"101"]


async def test_a_watcher_gets_no_frame_twice_and_none_from_before_it_joined(
    camera: ShownCamera, preview: Preview
) -> None:
    with preview.watch() as early:
        camera.film(b"old")
        assert await watch(early) == b"old"
        with preview.watch() as late:
            waiting = [asyncio.create_task(watch(watcher)) for watcher in (early, late)]
            for _ in range(10):
                await asyncio.sleep(0)
            assert not any(task.done() for task in waiting)
            camera.film(b"new")
            assert await asyncio.gather(*waiting) == [b"new", b"new"]


async def test_a_frame_is_wrapped_once_for_all_watchers(
    camera: ShownCamera, preview: Preview, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = []

    def wrap(frame: bytes) -> Part:
        wrapped.append(frame)
        return Part(frame)

    monkeypatch.setattr(dog.captures.preview, "Part", wrap)
    watchers = [preview.watch() for _ in range(50)]
    parts = [watcher.__enter__() for watcher in watchers]
    camera.film(b"one", b"two")
    got = [await anext(watcher) for watcher in parts]
    assert wrapped == [b"one", b"two"]
    assert len({id(part) for part in got}) == 1
    for watcher in watchers:
        watcher.__exit__(None, None, None)


async def test_closing_the_live_view_ends_all_watchers(camera: ShownCamera, preview: Preview) -> None:
    with preview.watch() as waiting, preview.watch() as late:
        task = asyncio.create_task(_count(waiting))
        camera.film(b"one")
        preview.close()
        assert await task == 0  # the end comes before a frame that was not read yet
        assert await _count(late) == 0
        assert camera.shown == [True, False]
    assert camera.shown == [True, False]
    with preview.watch() as after:
        assert await _count(after) == 0
    preview.close()
    assert camera.shown == [True, False]


async def _count(watcher: Watcher) -> int:
    return len([part async for part in watcher])


SCRIPT = b"\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n"


def hide_script(delimiter: bytes) -> bytes:
    """Return a JPEG with a comment that a browser could take for a next part."""
    comment = b"\r\n--" + delimiter + SCRIPT + b"--" + delimiter + b"--\r\n"
    jpeg = make_picture()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


async def test_a_frame_with_the_delimiter_of_our_stream_is_not_shown(camera: ShownCamera, preview: Preview) -> None:
    with preview.watch() as watcher:
        camera.film(hide_script(BOUNDARY.encode()), b"good")
        assert await watch(watcher) == b"good"


@pytest.mark.parametrize(
    "delimiter",
    [b"frame", b"frame--", b"", BOUNDARY[:-1].encode(), BOUNDARY.upper().encode()],
    ids=["frame", "the end", "dashes", "a part of ours", "ours in capitals"],
)
async def test_a_frame_with_another_delimiter_is_one_part(
    camera: ShownCamera, preview: Preview, delimiter: bytes
) -> None:
    frame = hide_script(delimiter)
    with preview.watch() as watcher:
        camera.film(frame)
        part = await anext(watcher)
    for stream in part.with_header, NEXT_HEADER + part.after_header:
        parts = (b"\r\n" + bytes(stream)).split(b"\r\n--" + BOUNDARY.encode() + b"\r\n")
        assert [bool(one) for one in parts][:2] == [False, True]
        assert parts[1].startswith(b"Content-Type: image/jpeg\r\n")
        assert parts[1].rstrip(b"\r\n").endswith(frame)


@pytest.mark.parametrize(
    "as_stream",
    [
        lambda parts: b"".join(bytes(part.with_header) for part in parts) + END,
        lambda parts: NEXT_HEADER + b"".join(bytes(part.after_header) for part in parts) + END,
    ],
    ids=["with_header", "after_header"],
)
def test_both_forms_of_a_part_are_parsed_by_another_library(
    as_stream: Callable[[list[Part]], bytes],
) -> None:
    frames = [make_picture(seed=seed) for seed in range(3)]
    head = f"Content-Type: multipart/x-mixed-replace; boundary={BOUNDARY}\r\n\r\n".encode()
    message = email.message_from_bytes(head + as_stream([Part(frame) for frame in frames]))
    parts = [one for one in message.get_payload() if isinstance(one, email.message.Message)]
    assert [part.get_content_type() for part in parts][:3] == ["image/jpeg"] * 3
    assert [part.get_payload(decode=True) for part in parts][:3] == frames
    lengths = [part.get("Content-Length") for part in parts]
    assert lengths[:3] in ([str(len(frame)) for frame in frames], [None] * 3)
