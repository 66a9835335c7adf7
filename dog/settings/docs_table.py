"""The table of settings in the docs."""

from collections.abc import Iterable

from dog.settings.setting import Setting

__all__ = ["settings_table"]


def settings_table(settings: Iterable[Setting]) -> str:
    """Return a table of settings in Markdown."""
    lines = ["| flag | variable | in dog.toml | default | meaning | what to write |", "| --- " * 6 + "|"]
    for one in settings:
        key = f"`{one.name}`" if one.in_file else ""
        default = one.default if one.default == "none" else f"`{one.default}`"
        texts = f"{one.info.meaning} | {one.info.expected}"
        lines.append(f"| `{one.flag}` | `{one.variable}` | {key} | {default} | {texts} |")
    return "\n".join(lines) + "\n"
