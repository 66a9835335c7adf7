"""Settings: every choice a person has about this service, from flags, DOG_* variables and dog.toml, in this order.

Each setting is one field of Settings, and all that is said of it stands beside it: its name, type, default, meaning
and limits (fields.py). The options of `dog serve`, its help, the errors and the table in docs/settings.md are made from
these fields; `dog serve --help` and the README show the common ones only. A wrong setting is a SettingError that names
it as the person wrote it, says where, and what would be right (reading.py). Nothing here does I/O except reading the
one file: other modules find out whether a folder can be written or a program can be run, and report it with
`Settings.error`.
"""

from dog.settings.docs_table import describe
from dog.settings.exposure import check_exposure, find_warnings
from dog.settings.fields import (
    ALL_SETTINGS,
    CAMERA_SETTINGS,
    COMMON_SETTINGS,
    CONFIG,
    MAIN_CAMERA,
    SETTINGS,
    Settings,
)
from dog.settings.loading import load
from dog.settings.retired import RETIRED_SETTINGS
from dog.settings.setting import Setting, Source
from dog.settings.validation import CAMERA_KINDS, split_camera

__all__ = [
    "ALL_SETTINGS",
    "CAMERA_KINDS",
    "CAMERA_SETTINGS",
    "COMMON_SETTINGS",
    "CONFIG",
    "MAIN_CAMERA",
    "RETIRED_SETTINGS",
    "SETTINGS",
    "Setting",
    "Settings",
    "Source",
    "check_exposure",
    "describe",
    "find_warnings",
    "load",
    "split_camera",
]
