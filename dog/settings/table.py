"""The table of all settings, for the docs."""

from dog.settings.fields import CONFIG, SETTINGS

__all__ = ["describe"]


def describe() -> str:
    """The table of all settings, in Markdown; docs/settings.md and the README have it, and a test compares."""
    lines = ["| flag | variable | in dog.toml | default | meaning | what to write |", "| --- " * 6 + "|"]
    for one in (*SETTINGS.values(), CONFIG):
        key = "" if one is CONFIG else f"`{one.name}`"
        default = one.default if one.default == "none" else f"`{one.default}`"
        said = f"{one.about.meaning} | {one.about.right}"
        lines.append(f"| `{one.flag}` | `{one.variable}` | {key} | {default} | {said} |")
    return "\n".join(lines) + "\n"
