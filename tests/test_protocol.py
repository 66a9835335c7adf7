"""The protocol: messages from JSON and to JSON, and any other text."""

import datetime as dt
import json

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from dog.errors import RequestError
from dog.protocol import Capture, Error, Ping, Ready, Reply, Resume, encode, parse_request, parse_timestamp, timestamp

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(["type", "request", "camera", "max_age", "cursor", "token", "x"])
VALUES = JSON | st.sampled_from(["capture", "resume", "auth", "ping", "main", 0, -1, 1e308])


def test_a_capture_request_needs_only_its_type() -> None:
    assert parse_request('{"type":"capture"}') == Capture()
    assert parse_request('{"type":"capture","max_age":0,"camera":null}') == Capture(max_age=0)
    assert parse_request('{"cursor":"1-2","type":"resume"}') == Resume(cursor="1-2")


def test_default_values_are_omitted_but_the_type_is_not() -> None:
    assert encode(Reply(outcome="started", capture=1)) == b'{"type":"reply","outcome":"started","capture":1}'
    assert json.loads(encode(Error(code="bad_json", message="m", temporary=False)))["temporary"] is False


def test_ready_has_all_fields_of_a_snapshot() -> None:
    ready = Ready(
        seq=2,
        cursor="1-2",
        at="t",
        camera="main",
        capture=1,
        snapshot="s",
        url="u",
        page="p",
        thumbnail="n",
        captured_at="c",
        width=1,
        height=2,
        bytes=3,
        content_type="image/jpeg",
    )
    assert msgspec.json.decode(encode(ready), type=Ready) == ready
    assert json.loads(encode(ready))["type"] == "ready"


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(FIELDS, VALUES).map(json.dumps))
def test_any_text_is_a_request_or_raises_one_of_three_errors(text: str) -> None:
    try:
        parsed = parse_request(text)
    except RequestError as error:
        assert error.code in ("bad_json", "bad_message", "unknown_type")  # noqa: PT017 - a refusal is one of two good ends
        encode(Error(request=error.request, code=error.code, message=error.message, temporary=False))
    else:
        encode(Reply(request=parsed.request, outcome="started", capture=1))


@given(st.text(max_size=128))
def test_a_request_key_is_returned_unchanged(key: str) -> None:
    parsed = parse_request(json.dumps({"type": "ping", "request": key}))
    assert parsed == Ping(request=key)
    assert json.loads(encode(Reply(request=key, outcome="started", capture=1))).get("request") == key


@given(st.datetimes(timezones=st.timezones()))
def test_a_timestamp_is_in_utc_with_milliseconds_and_can_be_parsed(moment: dt.datetime) -> None:
    try:
        text = timestamp(moment)
    except OverflowError:
        return
    assert len(text) == 24
    assert text.endswith("Z")
    assert abs(parse_timestamp(text) - moment) < dt.timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["", "now", "2026-11-22", "2026-11-22T10:00:00", "2026-13-01T00:00:00Z"])
def test_a_timestamp_without_offset_or_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_timestamp(text)
