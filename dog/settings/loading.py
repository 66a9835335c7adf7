"""Load Settings from flags, variables and dog.toml."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dog.errors import SettingError, short_reason
from dog.files import open_regular
from dog.settings.fields import (
    ALL_SETTINGS,
    CAMERA_SETTINGS,
    COMMAND_LINE,
    CONFIG,
    ENVIRONMENT,
    MAIN_CAMERA,
    RETIRED_SETTINGS,
    SETTINGS,
    Setting,
    Settings,
    Source,
    convert,
    flag_of,
    shorten,
    variable_of,
)
from dog.settings.security_checks import find_readable_passwords

__all__ = ["load"]

_MAX_CONFIG_FILE_BYTES = 1024 * 1024
"""Maximum size of dog.toml."""
GivenValue = tuple[Setting, Any, Source, Path]
"""A setting, the value that a person gave it, its source, and the folder of relative paths."""
_CLIENT_TOKEN = "DOG_TOKEN"
"""The variable that `dog snap` and others read. It is not a setting."""


def load(flags: Mapping[str, str | None], environ: Mapping[str, str], folder: Path) -> Settings:
    """Return the settings of these flags, DOG_* variables and the file.

    `flags` has the text of each setting by name (`dead_time`, `config`); None if it was not given. `folder` is the
    working directory, in which dog.toml is looked up. Relative paths in the file start at the file's folder, all others
    at the working directory. `~` is the home folder.

    Raise SettingError for the first wrong setting, even if another value overrides it. An unknown DOG_* variable is
    only a warning, because another program may have set it.
    """
    named = _find_config_file(flags, environ, folder)
    file = ConfigFile(*named) if named else None
    given = list(file.settings()) if file else []
    for setting in SETTINGS.values():
        given += [(setting, text, source, Path()) for text, source in _given_texts(setting, flags, environ)]
    values, sources = _convert_all(given)
    settings = Settings(**values, sources=sources)
    cameras = {} if "camera" not in values else {MAIN_CAMERA: settings}
    for name, where, given in file.cameras() if file else ():
        if name in cameras:
            raise where.error(
                "the setting `camera` has a camera of this name already. Choose another name, or remove that setting."
            )
        values, own_sources = _convert_all(given)
        if "camera" not in values:
            raise where.error('this table has no setting `camera`. Add a line such as camera = "v4l2:/dev/video0".')
        cameras[name] = msgspec.structs.replace(settings, **values, sources={**sources, **own_sources})
    retired = [*(file.retired() if file else ()), *_given_retired(flags, environ)]
    warnings = (
        *(
            f"{one.written} ({one.place}): this setting was removed and has no effect. Delete it here."
            for one in retired
        ),
        *_unknown_variables(environ),
        *find_readable_passwords(cameras.values(), named[0] if named else None),
    )
    return msgspec.structs.replace(settings, cameras=cameras, warnings=warnings)


def _convert_all(given: Iterable[GivenValue]) -> tuple[dict[str, Any], dict[str, Source]]:
    """Return the values and sources by name. Later ones override others."""
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for setting, value, source, start in given:
        values[setting.name] = convert(setting, value, source, start)
        sources[setting.name] = source
    return values, sources


def _given_texts(
    setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str]
) -> Iterator[tuple[str, Source]]:
    """Yield the texts of a setting and their sources, the last one to use."""
    if (text := environ.get(setting.variable)) is not None:
        yield text, Source(setting.variable, ENVIRONMENT)
    if (text := flags.get(setting.name)) is not None:
        yield text, Source(setting.flag, COMMAND_LINE)


def _given_retired(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Iterator[Source]:
    """Yield the retired settings of the environment and the command line."""
    for name in RETIRED_SETTINGS:
        if variable_of(name) in environ:
            yield Source(variable_of(name), ENVIRONMENT)
        if flags.get(name) is not None:
            yield Source(flag_of(name), COMMAND_LINE)


# ---- the file


def _find_config_file(
    flags: Mapping[str, str | None], environ: Mapping[str, str], folder: Path
) -> tuple[Path, Source] | None:
    """Return the file to read and the source of its name, if any."""
    named = list(_given_texts(CONFIG, flags, environ))
    if named:
        text, source = named[-1]
        return folder / convert(CONFIG, text, source, Path()), source
    path = folder / CONFIG.default
    return (path, Source(CONFIG.default, "working directory")) if path.exists() else None


class ConfigFile:
    """A settings file. Raise SettingError if it has a mistake."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._text, self._table = _parse_file(path, source)

    def settings(self) -> Iterator[GivenValue]:
        """Yield the values outside the cameras' tables."""
        for name, value in self._table.items():
            if name != "cameras" and name not in RETIRED_SETTINGS:
                yield self._given_value(SETTINGS, name, value)

    def cameras(self) -> Iterator[tuple[str, Source, list[GivenValue]]]:
        """Yield the name, the source and the values of each [cameras.NAME]."""
        tables = self._table.get("cameras", {})
        if not isinstance(tables, dict):
            raise Source("cameras", self._location("cameras")).error(
                "`cameras` is not a table. Write the settings of each camera below a line such as [cameras.porch]."
            )
        for name, table in tables.items():
            where = Source(f"cameras.{name}", self._location("cameras", name))
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
                problem = "is not a valid camera name. Use at most 32 of the characters a to z, 0 to 9 and -."
                raise SettingError(shorten(where.written)[1:-1], where.place, f"{shorten(name)} {problem}")
            if not isinstance(table, dict):
                raise where.error(
                    f"it is not a table. Write the settings of this camera below a line [cameras.{name}]."
                )
            used = {key: value for key, value in table.items() if key not in RETIRED_SETTINGS}
            yield name, where, [self._given_value(CAMERA_SETTINGS, *item, f"cameras.{name}") for item in used.items()]

    def retired(self) -> Iterator[Source]:
        """Yield the retired settings of the file, which `cameras` has checked."""
        tables = {"": self._table} | {
            f"cameras.{name}.": table for name, table in self._table.get("cameras", {}).items()
        }
        for table, keys in tables.items():
            for key in RETIRED_SETTINGS:
                if key in keys:
                    yield Source(table + key, self._location(*(table + key).split(".")))

    def _given_value(self, known: Mapping[str, Setting], name: str, value: Any, table: str = "") -> GivenValue:
        written = f"{table}.{name}" if table else name
        where = Source(written, self._location(*written.split(".")))
        if name not in known:
            problem = f"unknown setting. {_did_you_mean(name, known)}"
            if table and name in SETTINGS:
                problem = "a single camera cannot have this setting. Move the line above the first line in brackets."
            raise where.error(problem)
        return known[name], value, where, self._path.parent

    def _location(self, *names: str) -> str:
        """Return the file's path, with the line number if it is unambiguous."""
        *table, name = names
        section, found = "", []
        for number, line in enumerate(self._text.split("\n"), 1):
            if header := re.match(r"\s*\[+\s*([^]]*?)\s*\]", line):
                section = header[1]
                if section in (name, ".".join(names)):
                    found.append(number)
            elif section == ".".join(table) and re.match(rf"\s*([\"']?){re.escape(name)}\1\s*[=.]", line):
                found.append(number)
        return f"{self._path} line {found[0]}" if len(found) == 1 else str(self._path)


def _parse_file(path: Path, source: Source) -> tuple[str, dict[str, Any]]:
    import tomllib  # slow to import, and not always needed

    try:
        data = _read_bytes(path)
        if len(data) > _MAX_CONFIG_FILE_BYTES:
            raise source.error(f"the file {path} is larger than 1 MiB. Name another file.")
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
        repr(table)  # a value that can't be shown could not be in an error message
    except OSError as error:
        problem = f"can't be read: {short_reason(error)}. Name a file that can be read."
    except UnicodeDecodeError:
        problem = "is not UTF-8 text. Save it as UTF-8."
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}. Correct it."
    except RecursionError:
        problem = "has lists or tables that are nested too deeply. No setting needs that; remove them."
    except ValueError as error:  # Python's own limit to the digits of a number
        problem = f"is not valid: {error}. Correct it."
    else:
        return text, table
    raise source.error(f"the file {path} {problem}")


def _read_bytes(path: Path) -> bytes:
    """Read a regular file up to its limit and one byte, or raise OSError."""
    if os.path.samestat(os.stat(path), os.stat(os.devnull)):
        return b""
    with open_regular(path) as file:
        return file.read(_MAX_CONFIG_FILE_BYTES + 1)


# ---- unknown names


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [setting.variable for setting in ALL_SETTINGS]
    others = {_CLIENT_TOKEN, *map(variable_of, RETIRED_SETTINGS)}
    for name in sorted(environ):
        if name.startswith("DOG_") and name not in (*known, *others):
            yield f"{shorten(name)[1:-1]} ({ENVIRONMENT}): unknown setting. {_did_you_mean(name, known)}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # slow to import, and rarely needed

    close = get_close_matches(name.replace("-", "_"), known, n=1)
    return f"Did you mean {close[0]}?" if close else f"The settings are {', '.join(known)}."
