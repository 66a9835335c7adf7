"""Flags, variables and the file, read into Settings. Every mistake is a SettingError of one line."""

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dog.errors import SettingError
from dog.settings.fields import CAMERA_SETTINGS, CONFIG, MAIN_CAMERA, SETTINGS, Settings
from dog.settings.retired import RETIRED_SETTINGS, describe_retired
from dog.settings.setting import Setting, Source, flag_of, variable_of
from dog.settings.validation import CAMERA_KINDS, has_password, show, show_camera, split_camera

__all__ = ["load"]

_COMMAND_LINE = "command line"
_ENVIRONMENT = "environment"
_LARGEST_FILE = 1024 * 1024
"""Bytes; no file that a person wrote comes near it."""
Said = tuple[Setting, Any, Source, Path]
"""A value that somebody gave for a setting, its source, and where its paths start."""
_SHOWS_PASSWORD = (
    "everybody on this computer can read a password on the command line. Remove it and name a file that contains it"
    " with --password-file, or write the URL into the variable DOG_CAMERA or into dog.toml."
)
_TOKEN = "DOG_TOKEN"
"""What `dog snap` and others show to a server: no setting of one."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def load(flags: Mapping[str, str | None], environ: Mapping[str, str], folder: Path) -> Settings:
    """The settings of these flags, variables and file.

    `flags` has a setting's name (`dead_time`, `config`) and the text that was given, or None where none was; of
    `environ` only DOG_* is looked at; in `folder`, the working directory, dog.toml is looked for. Relative paths in
    the file start at the file's own folder, all others at the working directory. `~` is the home folder.

    Raises SettingError for the first setting that is wrong. A DOG_* variable that is none of ours is a warning only:
    others may have put it there. A wrong value is an error even where another one counts more.
    """
    named = _name_file(flags, environ, folder)
    file = ConfigFile(*named) if named else None
    said = list(file.settings()) if file else []
    for setting in SETTINGS.values():
        said += [(setting, text, source, Path()) for text, source in _texts(setting, flags, environ)]
    values, sources = _convert_all(said)
    settings = Settings(**values, sources=sources)
    cameras = {} if "camera" not in values else {MAIN_CAMERA: settings}
    for name, where, said in file.cameras() if file else ():
        if name in cameras:
            problem = (
                "the setting `camera` has a camera of this name already. Choose another name, or remove that setting."
            )
            raise SettingError(where.written, where.place, problem)
        values, own = _convert_all(said)
        if "camera" not in values:
            problem = 'this table has no setting `camera`. Add a line such as camera = "v4l2:/dev/video0".'
            raise SettingError(where.written, where.place, problem)
        cameras[name] = msgspec.structs.replace(settings, **values, sources={**sources, **own})
    retired = [*(file.retired() if file else ()), *_retired(flags, environ)]
    warnings = (
        *map(describe_retired, retired),
        *_odd_variables(environ),
        *_readable_passwords(cameras.values(), named[0] if named else None),
    )
    return msgspec.structs.replace(settings, cameras=cameras, warnings=warnings)


def _convert_all(said: Iterable[Said]) -> tuple[dict[str, Any], dict[str, Source]]:
    """The values, and where they came from; what counts more comes later."""
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for setting, value, source, start in said:
        values[setting.name] = _convert(setting, value, source, start)
        sources[setting.name] = source
    return values, sources


def _texts(
    setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str]
) -> Iterator[tuple[str, Source]]:
    """What the environment and the command line say of a setting; what counts more comes later."""
    if (text := environ.get(setting.variable)) is not None:
        yield text, Source(setting.variable, _ENVIRONMENT)
    if (text := flags.get(setting.name)) is not None:
        yield text, Source(setting.flag, _COMMAND_LINE)


def _retired(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Iterator[Source]:
    """Yield the retired settings of the environment and the command line."""
    for name in RETIRED_SETTINGS:
        if variable_of(name) in environ:
            yield Source(variable_of(name), _ENVIRONMENT)
        if flags.get(name) is not None:
            yield Source(flag_of(name), _COMMAND_LINE)


# ---- the file


def _name_file(flags: Mapping[str, str | None], environ: Mapping[str, str], folder: Path) -> tuple[Path, Source] | None:
    """Which file to read, and who named it; None where nobody did and there is no dog.toml."""
    named = list(_texts(CONFIG, flags, environ))
    if named:
        text, source = named[-1]
        return folder / _convert(CONFIG, text, source, Path()), source
    path = folder / CONFIG.default
    return (path, Source(CONFIG.default, "working directory")) if path.exists() else None


class ConfigFile:
    """A file of settings. Raises SettingError where it can't be read or parsed, or sets what is not known."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._text, self._table = _parse_file(path, source)

    def settings(self) -> Iterator[Said]:
        """What it sets, but for the cameras' own tables."""
        for name, value in self._table.items():
            if name != "cameras" and name not in RETIRED_SETTINGS:
                yield self._said(SETTINGS, name, value)

    def cameras(self) -> Iterator[tuple[str, Source, list[Said]]]:
        """The tables [cameras.NAME]: each name, where it stands, and what is set for that camera alone."""
        tables = self._table.get("cameras", {})
        if not isinstance(tables, dict):
            raise SettingError(
                "cameras", self._place("cameras"), "this is not a table. Write [cameras.porch] above its lines."
            )
        for name, table in tables.items():
            where = Source(f"cameras.{name}", self._place("cameras", name))
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
                problem = (
                    f"{show(name)} is not a valid camera name. Use at most 32 of the characters a to z, 0 to 9 and -."
                )
                raise SettingError(show(where.written)[1:-1], where.place, problem)
            if not isinstance(table, dict):
                problem = f"this is not a table. Write [cameras.{name}] above its lines."
                raise SettingError(where.written, where.place, problem)
            yield (
                name,
                where,
                [
                    self._said(CAMERA_SETTINGS, key, value, f"cameras.{name}")
                    for key, value in table.items()
                    if key not in RETIRED_SETTINGS
                ],
            )

    def retired(self) -> Iterator[Source]:
        """Yield the retired settings of the file. `cameras` has checked the tables."""
        tables = {"": self._table} | {
            f"cameras.{name}.": table for name, table in self._table.get("cameras", {}).items()
        }
        for table, keys in tables.items():
            for key in RETIRED_SETTINGS:
                if key in keys:
                    yield Source(table + key, self._place(*(table + key).split(".")))

    def _said(self, known: Mapping[str, Setting], name: str, value: Any, table: str = "") -> Said:
        written = f"{table}.{name}" if table else name
        where = Source(written, self._place(*written.split(".")))
        if name not in known:
            problem = f"unknown setting. {_did_you_mean(name, known)}"
            if table and name in SETTINGS:
                problem = "a single camera cannot have this setting. Move the line above the first line in brackets."
            raise SettingError(where.written, where.place, problem)
        return known[name], value, where, self._path.parent

    def _place(self, *names: str) -> str:
        """The file, and the line where it is plain which one it is."""
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
    import tomllib  # only who has a file pays for it

    try:
        text = _read_bytes(path).decode("utf-8-sig")
        table = tomllib.loads(text)
        repr(table)  # what can't be shown can't be told in an error either
    except OSError as error:
        raise SettingError(
            source.written,
            source.place,
            f"the file {path} can't be read: {_reason(error)}. Name a file that can be read.",
        ) from None
    except UnicodeDecodeError:
        raise SettingError(
            source.written, source.place, f"the file {path} is not UTF-8 text. Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(
            source.written, source.place, f"the file {path} is not valid TOML: {error}. Correct it."
        ) from None
    except RecursionError:
        problem = f"the file {path} has lists or tables that are nested too deeply. No setting needs that; remove them."
        raise SettingError(source.written, source.place, problem) from None
    except ValueError as error:
        # Python's own limit to the digits of a number.
        raise SettingError(
            source.written, source.place, f"the file {path} is not valid: {error}. Correct it."
        ) from None
    return text, table


def _read_bytes(path: Path) -> bytes:
    """A regular file that is not too large, or the empty /dev/null. Raises OSError for everything else."""
    # Opening a pipe must not wait for somebody to write to it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, os.stat(os.devnull)):
            raise OSError("It is not a regular file")
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise OSError("It is larger than 1 MiB")
    return data


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _readable_passwords(cameras: Iterable[Settings], file: Path | None) -> Iterator[str]:
    """The files with passwords that everybody on the computer may read: the one of the settings, and the cameras'."""
    found = {one.password_file for one in cameras if one.password_file is not None}
    from_file = (one.camera for one in cameras if one.source_of("camera").place not in (_COMMAND_LINE, _ENVIRONMENT))
    if file is not None and any(map(has_password, from_file)):
        found.add(file)
    for path in sorted(found):
        with contextlib.suppress(OSError):  # whoever needs it will say so
            if path.stat().st_mode & stat.S_IROTH:
                yield f"Everybody on this computer can read the password in {path}. Run: chmod 600 {path}"


# ---- names that are not known


def _odd_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [setting.variable for setting in (*SETTINGS.values(), CONFIG)]
    others = {_TOKEN, *map(variable_of, RETIRED_SETTINGS)}
    for name in sorted(environ):
        if name.startswith("DOG_") and name not in (*known, *others):
            yield f"{show(name)[1:-1]} ({_ENVIRONMENT}): unknown setting. {_did_you_mean(name, known)}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only who has mistyped pays for it

    close = get_close_matches(name.replace("-", "_"), known, n=1)
    return f"Did you mean {close[0]}?" if close else f"The settings are {', '.join(known)}."


# ---- the values


def _parse(setting: Setting, text: str) -> Any:
    """A flag's or a variable's text as what dog.toml would have: a list or a number where the setting is one."""
    if setting.kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",")] if text.strip() else []
    if setting.kind in (int, float, bool):
        try:
            return msgspec.convert(text, setting.kind, strict=False)
        except msgspec.ValidationError:
            return text
    if setting.info.metavar == "CONTROLS":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        controls = {name.strip(): _parse_control(value.strip()) for name, _, value in pairs}
        if "" in controls or len(controls) < len(pairs) or not all(equals for _, equals, _ in pairs):
            raise ValueError
        return controls
    return text


def _parse_control(text: str) -> bool | int | float | str:
    """A control's value as dog.toml would have it."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,18}\.\d{1,18}", text, re.ASCII) else text


def _convert(setting: Setting, said: Any, source: Source, start: Path) -> Any:
    """The value as the setting's type and within its limits; paths from `start`. Raises SettingError."""
    info = setting.info
    shown = show_camera(said) if setting.name == "camera" else show(said)
    if isinstance(said, str) and said in info.none_texts:
        return None
    try:
        value = _parse(setting, said) if source.place in (_COMMAND_LINE, _ENVIRONMENT) else said
        if value == "":
            raise ValueError
        for one in value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, str) and _CONTROL.search(one):
                raise ValueError(f"{shown} contains a control character. Write {info.expected}.")
        value = msgspec.convert(value, setting.type, dec_hook=_to_path)
        if info.check is not None:
            value = info.check(value)
        if setting.name == "camera":
            if source.place == _COMMAND_LINE and has_password(value):
                raise ValueError(_SHOWS_PASSWORD)
            return _place_camera(value, start)
    except ValueError as error:
        # msgspec's own words speak to programmers; ours may be the cause of them
        better = error.__cause__ if isinstance(error, msgspec.ValidationError) else error
        problem = str(better or "") or f"{shown} is not valid. Write {info.expected}{_hint(setting, said, source)}."
        raise SettingError(source.written, source.place, problem) from None
    return start / value if isinstance(value, Path) else value


def _hint(setting: Setting, said: Any, source: Source) -> str:
    """What else to do, for a number that stands in quotes in dog.toml."""
    from_file = source.place not in (_COMMAND_LINE, _ENVIRONMENT)
    return ", without quotes" if from_file and isinstance(said, str) and setting.kind in (int, float) else ""


def _place_camera(camera: str, start: Path) -> str:
    """The camera with its program's path, like every other, from `start`."""
    kind, argument = split_camera(camera)
    return f"{kind}:{start / _to_path(Path, argument)}" if CAMERA_KINDS[kind] == ":PATH" else camera


def _to_path(kind: type, value: Any) -> Any:
    """For msgspec, which does not know paths. Raises ValueError for what is none."""
    if not isinstance(value, str):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{show(value)} begins with an unknown home folder. Write the whole path.") from None
