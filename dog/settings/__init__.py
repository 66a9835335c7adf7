"""Settings from flags, DOG_* variables and dog.toml.

The earlier of the three has priority. Each setting is one field of Settings with its type, default, help and limits
(fields.py). The options and the help of `dog serve`, the errors and the table in docs/settings.md are made from these
fields. A wrong setting is a SettingError with its name and place as the person wrote it, and a valid example
(loading.py). The only I/O here is reading the file: other modules check folders and programs, and report problems with
`Settings.error`.
"""

from dog.settings.fields import (
    ALL_SETTINGS,
    CAMERA_SETTINGS,
    COMMON_SETTINGS,
    CONFIG,
    RETENTION_SETTINGS,
    RETIRED_SETTINGS,
    SETTINGS,
    Setting,
    Settings,
    Source,
    settings_table,
    split_camera,
)
from dog.settings.loading import load
from dog.settings.security_checks import check_exposure, find_warnings

__all__ = [
    "ALL_SETTINGS",
    "CAMERA_SETTINGS",
    "COMMON_SETTINGS",
    "CONFIG",
    "RETENTION_SETTINGS",
    "RETIRED_SETTINGS",
    "SETTINGS",
    "Setting",
    "Settings",
    "Source",
    "check_exposure",
    "find_warnings",
    "load",
    "settings_table",
    "split_camera",
]
