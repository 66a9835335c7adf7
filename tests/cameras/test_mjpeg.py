"""Images in bodies, in every way that cameras frame them."""

import io
import itertools
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from dog.cameras.mjpeg import MAX_GAP_BYTES, ImageParser
from dog.errors import CameraOffline
from dog.images import MAX_IMAGE_BYTES, inspect
from tests.support.sources.odd_http_camera import stamped_jpeg

JPEGS = [stamped_jpeg(size=size) for size in (0, 40, 700, 3)]


def encode(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 30), 90).save(file, kind)
    return file.getvalue()


def part(
    image: bytes, *headers: str, delimiter: bytes = b"--frame", end: bytes = b"\r\n", after: bytes = b"\r\n"
) -> bytes:
    lines = [delimiter, *(header.encode() for header in headers)]
    return end.join(line for line in lines if line) + end + end + image + after


def length(image: bytes, more: int = 0) -> str:
    return f"Content-Length: {len(image) + more}"


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda image: part(image, "Content-Type: image/jpeg", length(image)),
    "no length": lambda image: part(image, "Content-Type: image/jpeg"),
    "no header": lambda image: part(image),
    "length too long": lambda image: part(image, length(image, 31)),
    "length much too long": lambda image: part(image, length(image, 900_000_000)),
    "length too short": lambda image: part(image, length(image, -17)),
    "length zero": lambda image: part(image, "Content-Length: 0"),
    "nameless line": lambda image: part(image, "Mon, 03 Mar 2014 07:21:09 GMT", length(image)),
    "no delimiter": lambda image: part(image, "Content-Type: image/jpeg", length(image), delimiter=b""),
    "delimiter without dashes": lambda image: part(image, length(image), delimiter=b"frame"),
    "no CRLF": lambda image: part(image, after=b""),
    "LF": lambda image: part(image, length(image), end=b"\n", after=b"\n"),
    "zeros behind": lambda image: part(image, length(image), after=bytes(97) + b"\r\n"),
    "another type": lambda image: part(image, "Content-Type: text/plain", length(image)),
    "status line": lambda image: part(image, "HTTP/1.0 200 OK", "Server: x"),
    "closing delimiter": lambda image: part(image, length(image), after=b"\r\n--frame--\r\n"),
    "nothing": lambda image: image,
    "zeros between": lambda image: image + bytes(50),
}


def parse(body: bytes, cuts: list[int] | None = None) -> tuple[list[bytes], list[bool], ImageParser]:
    parser = ImageParser()
    images = []
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts or ()), len(body)]
    for one, other in itertools.pairwise(edges):
        parser.add(body[one:other])
        while (image := parser.next_image()) is not None:
            images.append(image)
    return [image.data for image in images], [image.is_late for image in images], parser


@pytest.mark.parametrize("framing", FRAMINGS)
def test_each_jpeg_is_found_when_its_last_byte_arrives(framing: str) -> None:
    parser = ImageParser()
    for jpeg in JPEGS * 2:
        framed = FRAMINGS[framing](jpeg)
        end = framed.index(jpeg) + len(jpeg)
        parser.add(framed[: end - 1])
        assert parser.next_image() is None
        parser.add(framed[end - 1 : end])
        image = parser.next_image()
        assert image is not None
        assert (image.data, image.is_late) == (jpeg, False)
        parser.add(framed[end:])
        assert parser.next_image() is None


def test_markers_in_a_comment_do_not_end_an_image() -> None:
    note = b"\xff\xd9 \xff\xd8\xff \r\n--frame\r\n\r\n"
    jpeg = JPEGS[0][:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2) + note + JPEGS[0][2:]
    body = part(jpeg) * 2
    assert parse(body)[0] == [jpeg, jpeg]
    assert parse(body, list(range(len(body))))[0] == [jpeg, jpeg]


@given(
    framing=st.sampled_from(sorted(FRAMINGS)),
    order=st.lists(st.sampled_from(JPEGS), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_images_do_not_depend_on_how_the_body_is_split(framing: str, order: list[bytes], cuts: list[int]) -> None:
    images, late, _ = parse(b"".join(map(FRAMINGS[framing], order)), cuts)
    assert images == order
    assert not any(late)


@given(
    lost=st.integers(3, len(JPEGS[2]) - 1),
    framing=st.sampled_from(["length", "no length", "LF"]),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
)
def test_a_cut_off_image_spoils_no_other(lost: int, framing: str, cuts: list[int]) -> None:
    cut = JPEGS[2][:lost]
    assume(framing == "length" or lost > JPEGS[2].index(b"\xff\xda"))  # else the end of a segment is unknown
    images, late, _ = parse(b"".join(map(FRAMINGS[framing], [JPEGS[0], cut, JPEGS[1], JPEGS[3]])), cuts)
    assert (images[0], images[2:]) == (JPEGS[0], [JPEGS[1], JPEGS[3]])
    assert images[1].removesuffix(b"\r") == cut.removesuffix(b"\r")
    assert late == [False, True, False, False]


def test_an_image_without_an_end_marker_ends_with_its_length_or_the_next_part() -> None:
    endless = JPEGS[0][:-2]
    for framing in ("length", "no length"):
        images, late, _ = parse(FRAMINGS[framing](endless) + FRAMINGS[framing](JPEGS[1]))
        assert images == [endless, JPEGS[1]]
        assert late == [True, False]


def test_a_preview_behind_an_image_is_no_frame_of_its_own() -> None:
    body = b"".join(part(jpeg + stamped_jpeg()) for jpeg in JPEGS)
    assert parse(body)[0] == JPEGS


@pytest.mark.parametrize("kind", ["PNG", "WebP", "GIF"])
@pytest.mark.parametrize("has_length", [True, False])
def test_images_of_other_kinds_are_found_by_their_headers(kind: str, has_length: bool) -> None:
    one, other = encode(kind), encode(kind)
    body = b"".join(part(image, length(image) if has_length else "X: y") for image in (one, other)) + part(JPEGS[0])
    assert parse(body)[0] == [one, other, JPEGS[0]]
    assert parse(body, list(range(0, len(body), 7)))[0] == [one, other, JPEGS[0]]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html>" + b"x" * MAX_GAP_BYTES, "gives a web page"),
        (encode("GIF") + bytes(MAX_GAP_BYTES), "a GIF"),
        (b"busy " * 4000, "text, not an image"),
        (b"\0\1\2\3" * 5000, "not an image"),
        (JPEGS[0] + b"--frame\r\n" + b"a: b\r\n" * 3000, "text, not an image"),
    ],
)
def test_a_body_without_images_is_refused_with_what_it_is(body: bytes, reason: str) -> None:
    with pytest.raises(CameraOffline, match=reason):
        parse(body)


def test_an_endless_image_is_refused() -> None:
    parser = ImageParser()
    parser.add(JPEGS[0][:-2])
    for _ in range(7):
        parser.add(bytes(MAX_IMAGE_BYTES // 8))
        assert parser.next_image() is None
    parser.add(bytes(MAX_IMAGE_BYTES // 8))
    with pytest.raises(CameraOffline, match="more than 64 MiB"):
        parser.next_image()


@given(
    st.lists(
        st.sampled_from([b"--f\r\n", b"\n", b"Content-Length: 3\r\n", b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda\0"])
    )
)
def test_any_body_is_parsed_or_refused(pieces: list[bytes]) -> None:
    parser = ImageParser()
    for piece in pieces:
        parser.add(piece)
        while parser.next_image() is not None:
            pass


def test_a_long_body_is_not_searched_from_its_start_again() -> None:
    for body, count in {b"\xff\xd8\xff\xd9": 40_000, part(b"\xff\xd8\xff\xd9"): 10_000, JPEGS[2]: 500}.items():
        images = parse(body * count, list(range(0, count * len(body), 65536)))[0]
        assert len(images) == count


def test_parsed_images_are_whole() -> None:
    for image in parse(b"".join(map(FRAMINGS["length too short"], JPEGS)))[0]:
        assert inspect(image).width == 48
