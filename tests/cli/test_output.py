"""The JSON that commands print."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.cli.output import print_json, to_json

HOSTILE = {
    "control characters": "a\x00\x1b[2J\x7f\x9b31m\r\n\t",
    "bidirectional": "\u202egnp.exe\u202c \u2066\u2067\u2068\u2069 \u200e\u200f\u061c",
    "line separators": "one\u2028two\u2029three\x85four",
    "invisible": "\u200b\u2060\ufeff\u00ad\U000e0041\U0001d173",
    "no characters": "\ufffe\U0010ffff\ue000",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_printed_json_escapes_characters_that_change_a_terminal(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = HOSTILE[kind]
    print_json(name=text, **{f"{kind} {text}": [text, {text: text}]})
    (line,) = capsys.readouterr().out.split("\n")[:-1]
    assert line.isprintable()
    assert not set(text) & set(line) - set(map(chr, range(32, 127)))
    assert json.loads(line) == {"name": text, f"{kind} {text}": [text, {text: text}]}


def test_printed_json_keeps_letters_of_all_languages() -> None:
    text = "Tür, дверь, ドア, באב, 🐶"
    assert to_json({"camera": text}) == f'{{"camera":"{text}"}}'


@given(st.dictionaries(st.text(), st.text()))
def test_any_text_is_one_printable_line_and_the_same_value(value: dict[str, str]) -> None:
    line = to_json(value)
    assert line.isprintable()
    assert json.loads(line) == value
