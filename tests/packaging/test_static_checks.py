"""The checks of static/: features that a supported browser lacks."""

import json
import subprocess

import pytest

from tests.support.server_process import ROOT

ESLINT = ROOT / "node_modules" / ".bin" / "eslint"
SCRIPT = """\
structuredClone({});
"text".at(-1);
Object.hasOwn({}, "a");
AbortSignal.timeout(5);
crypto.randomUUID();
new CompressionStream("gzip");
new (class { static { this.a = 1; } })();
/(?<=a)b/.test("ab");

crypto.randomUUID?.();
typeof structuredClone;
new Intl.DateTimeFormat().format(0);
new AbortController().abort();
"""
"""Lines that are refused, an empty line, and lines that are allowed."""
STYLE = """\
p { color: oklch(1 1 1); }
@layer a { p { color: red; } }
p { colour: red; }

p:has(b) { color: blue; }
"""


@pytest.mark.skipif(not ESLINT.exists(), reason="make check has not installed eslint")
@pytest.mark.parametrize(("name", "text"), [("odd.js", SCRIPT), ("odd.css", STYLE)])
def test_features_that_safari_15_lacks_are_refused_unless_listed_or_guarded(name: str, text: str) -> None:
    ended = subprocess.run(
        [ESLINT, "--format", "json", "--stdin", "--stdin-filename", f"static/{name}"],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    [result] = json.loads(ended.stdout)
    refused = text.partition("\n\n")[0].splitlines()
    assert {message["line"] for message in result["messages"]} == set(range(1, len(refused) + 1)), result["messages"]
