"""Plain English in the docs: the rules that a program can check.

To add a page, rewrite it, append its name to PAGES, and run this test. Examples are not checked. In tables and in
headings, long sentences are allowed.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.examples import strip_examples
from tests.support.server_process import ROOT

PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/album.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/cameras.md",
    "docs/clients.md",
    "docs/deploying.md",
    "docs/metrics.md",
    "docs/protocol.md",
    "docs/security.md",
    "docs/settings.md",
)

MAX_WORDS = 30
"""Maximum number of words in a sentence. A longer one has more than one idea."""

FORBIDDEN = {
    "a filler": re.compile(r"\b(for ever|anew|beside|meanwhile|theirs)\b", re.IGNORECASE),
    "write 'is not a' or 'has no'": re.compile(r"(?<!there )\b(is|are|was|were) (none|no(?! longer))\b", re.IGNORECASE),
    "begin with a noun": re.compile(r"^(Who|Whose|Whoever|What|Whatever|Whether|Where|Of) (?!.*\?$)"),
}
"""Patterns that no sentence may have, with the rule for each."""


def read_sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each sentence of a page, and True if it is prose.

    Tables and headings are not prose. Code is one word, a link is its text, and comments are skipped.
    """
    text = re.sub(r"<!--.*?-->\n?", "", text)
    text = re.sub(r"`[^`]+`", "`code`", strip_examples(text))
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^ *([-*]|\d+\.) ", "\n", text, flags=re.MULTILINE)  # each list item is a paragraph
    for paragraph in re.split(r"\n\s*\n", text):
        is_table, is_heading = paragraph.startswith("|"), paragraph.startswith("#")
        for part in re.split(r"[|\n]", paragraph) if is_table else [paragraph.lstrip("# ")]:
            for sentence in re.split(r"(?<=[.!?])[)*_]*\s+(?=\W*[A-Z`])", " ".join(part.split())):
                yield sentence.lstrip("(*_"), not is_table and not is_heading


def find_faults(text: str) -> list[str]:
    """Return each sentence that breaks a rule, with the rule."""
    faults = []
    for sentence, is_prose in read_sentences(text):
        faults += [f"{name}: {sentence}" for name, pattern in FORBIDDEN.items() if pattern.search(sentence)]
        count = len(re.findall(r"\S*\w\S*", sentence))
        if is_prose and count > MAX_WORDS:
            faults.append(f"{count} words: {sentence}")
    return faults


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_in_plain_english(page: str) -> None:
    assert find_faults((ROOT / page).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "It goes on for ever.",
        "A file\nbeside the photo.",
        "Meanwhile, nothing happens.",
        "An address that is none.",
        "| setting | A camera is no printer. |",
        "One sentence. Who watches is a viewer.",
        "- What is lost stays lost.",
        "## What its failures are called",
        f"It is {'very ' * 30}long.",
        f"- `a b` {'very ' * 15}\n  {'very ' * 15} long.",
    ],
)
def test_a_broken_rule_is_found(text: str) -> None:
    assert len(find_faults(f"# A page\n\nIt is plain.\n\n{text}\n\nIt ends.\n")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There is no camera. It is no longer there.",
        "What is a viewer?",
        "```\nWho is none, for ever\n```",
        "Write:\n\n    dog serve    # for ever",
        f"`{'a ' * 40}` is one word, and so is [a link](docs/for-ever.md).",
        f"{'very ' * 20} long. {'Very ' * 20} long.",
        f"| {'very ' * 40} long |",
        f"<!-- a -->\n| {'very ' * 40} long |\n<!-- end -->",
    ],
)
def test_plain_text_and_examples_are_fine(text: str) -> None:
    assert find_faults(f"# A page\n\n{text}\n") == []


MAX_FIRST_LINE = 72
"""Characters of a docstring's first line."""
FIRST_WORDS = re.compile(r"(Who|Whose|Whoever|What|Whatever|Where|Whether|Of|By|As|How|That)\b")
"""Words that a docstring must not begin with: a verb and its object, or the thing itself, begins it."""


def find_docstring_faults(source: str) -> list[str]:
    """Return the rules that a module's docstrings break."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        first = text.split("\n")[0]
        if FIRST_WORDS.match(first):
            faults.append(f"begin with a verb or a noun: {first}")
        if len(first) > MAX_FIRST_LINE:
            faults.append(f"{len(first)} characters: {first}")
        if match := FORBIDDEN["a filler"].search(text):
            faults.append(f"a filler, {match[0]}: {first}")
    return faults


@pytest.mark.parametrize("folder", ["benchmarks", "dog", "tests"])
def test_docstrings_are_in_plain_english(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    faults = [
        f"{file.relative_to(ROOT)}: {fault}" for file in files for fault in find_docstring_faults(file.read_text())
    ]
    assert faults == []


@pytest.mark.parametrize("docstring", ["What it does.", "Do it.\n\n    Meanwhile, wait.", f"Do {'very ' * 15}much."])
def test_a_docstring_that_breaks_a_rule_is_found(docstring: str) -> None:
    assert len(find_docstring_faults(f'def act() -> None:\n    """{docstring}"""\n')) == 1
