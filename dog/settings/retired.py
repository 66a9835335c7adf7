"""Settings that have become constants: old setups that set them still start, with a warning for each."""

from dog.settings.setting import Source

__all__ = ["RETIRED_SETTINGS", "describe_retired"]

RETIRED_SETTINGS = ("black_share", "settle")
"""Names whose flags, variables and keys are accepted and ignored. The constants are in dog/cameras/frame_quality.py."""


def describe_retired(source: Source) -> str:
    """Return the warning for a retired setting, as the person wrote it."""
    return f"{source.written} ({source.place}): this is no longer a setting and is ignored. Remove it."
