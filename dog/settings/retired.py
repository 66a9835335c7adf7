"""Settings that have become constants and give only a warning."""

from dog.settings.setting import Source

__all__ = ["RETIRED_SETTINGS", "retired_warning"]

RETIRED_SETTINGS = ("black_share", "settle")
"""Names whose flags, variables and keys are ignored. The constants are in dog/cameras/frame_quality.py."""


def retired_warning(source: Source) -> str:
    """Return the warning for a retired setting, as the person wrote it."""
    return f"{source.written} ({source.place}): this is no longer a setting and is ignored. Remove it."
