"""V4L2 devices: formats, sizes, rates and controls, and the best format.

Only linuxpy's structures and plain calls are used: its own listings fail for drivers with many formats. The calls are
described in the kernel's documentation, "Video for Linux API".
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from linuxpy.ioctl import ioctl  # type: ignore[import-untyped]
from linuxpy.video import device as v4l2  # type: ignore[import-untyped]
from linuxpy.video import raw

from dog.cameras import join_limited, parse_control
from dog.cameras import pixel_formats as pixels
from dog.errors import CameraBusy, CameraOffline, CaptureError

__all__ = [
    "CAPTURE",
    "JPEG",
    "MAX_RATE_DIFFERENCE",
    "MMAP",
    "USABLE",
    "Control",
    "Device",
    "Format",
    "FormatChoice",
    "Mode",
    "choose_format",
    "explain_device_error",
    "is_capture_device",
    "list_controls",
    "list_devices",
    "list_formats",
    "open_device",
    "read_fourcc",
    "read_rate",
    "set_controls",
]


@dataclass(frozen=True, slots=True)
class Control:
    """A control: its name in settings, its limits, and a menu's words."""

    name: str
    kind: str
    minimum: int
    maximum: int
    step: int
    default: int
    menu: Mapping[int, str] = field(default_factory=dict)
    inactive: bool = False
    id: int = 0

    @property
    def limits(self) -> str:
        """The allowed values: "from 0 to 255 in steps of 5", "0 (Off) or 1 (On)"."""
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "button":
            return "true"
        if self.menu:
            return " or ".join(f"{number} ({words})" for number, words in self.menu.items())
        return f"from {self.minimum} to {self.maximum}" + (f" in steps of {self.step}" if self.step > 1 else "")

    def parse(self, value: bool | int | str) -> int:
        """Convert a value to the number to set, or raise ValueError."""
        if isinstance(value, str):
            for number, words in self.menu.items():
                if _name(words) == _name(value):
                    return number
            raise ValueError(value)
        number = int(value)
        if self.menu:
            allowed = number in self.menu
        elif self.kind == "button":
            allowed = number == 1
        else:
            allowed = self.minimum <= number <= self.maximum and (number - self.minimum) % max(self.step, 1) == 0
        if not allowed:
            raise ValueError(value)
        return number


_KINDS = {
    raw.CtrlType.INTEGER: "integer",
    raw.CtrlType.BOOLEAN: "boolean",
    raw.CtrlType.MENU: "menu",
    raw.CtrlType.INTEGER_MENU: "menu",
    raw.CtrlType.BUTTON: "button",
    raw.CtrlType.BITMASK: "bits",
}
"""Types of controls whose value is one number."""


def _name(words: str) -> str:
    """Return a name as v4l2-ctl writes it, such as exposure_time_absolute."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def list_controls(descriptor: int) -> Iterator[Control]:
    """Yield the controls that can be set."""
    flags = raw.ControlFlag
    entry = raw.v4l2_query_ext_ctrl(id=flags.NEXT_CTRL)
    while True:
        try:
            ioctl(descriptor, raw.IOC.QUERY_EXT_CTRL, entry)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        number = entry.id
        if entry.type in _KINDS and not entry.flags & (flags.DISABLED | flags.READ_ONLY):
            yield Control(
                name=_name(entry.name.decode(errors="replace")),
                kind=_KINDS[entry.type],
                minimum=entry.minimum,
                maximum=entry.maximum,
                step=entry.step,
                default=entry.default_value,
                menu=_read_menu(descriptor, entry),
                inactive=bool(entry.flags & (flags.INACTIVE | flags.GRABBED)),
                id=number,
            )
        entry.id = number | flags.NEXT_CTRL


def _read_menu(descriptor: int, control: Any) -> dict[int, str]:
    if _KINDS[control.type] != "menu":
        return {}
    menu: dict[int, str] = {}
    for index in range(control.minimum, control.maximum + 1):
        item = raw.v4l2_querymenu(id=control.id, index=index)
        with contextlib.suppress(OSError):  # a menu may skip numbers
            ioctl(descriptor, raw.IOC.QUERYMENU, item)
            menu[index] = str(item.value) if control.type == raw.CtrlType.INTEGER_MENU else item.name.decode("latin-1")
    return menu


def set_controls(descriptor: int, wanted: Mapping[str, bool | int | str]) -> None:
    """Set controls; retry those that another locks (auto_exposure does)."""
    waiting = dict(wanted)
    while waiting:
        offered = {control.name: control for control in list_controls(descriptor)}
        values = {name: parse_control(name, value, offered) for name, value in waiting.items()}
        refusals: dict[str, str] = {}
        for name, value in values.items():
            if offered[name].inactive:
                refusals[name] = "another control locks it, such as an automatic one; set that too"
                continue
            try:
                v4l2.set_control(descriptor, offered[name].id, value)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise
                refusals[name] = f"the camera refuses it ({error.strerror})"
        if len(refusals) == len(waiting):
            name, reason = next(iter(refusals.items()))
            raise CameraOffline(f"The control {name} can't be set to {waiting[name]}: {reason}. Set another value.")
        waiting = {name: waiting[name] for name in refusals}


MIN_GOOD_RATE = 10
"""Frames a second. A larger but slower mode is chosen only if the settings require it."""
JPEG = ("MJPG", "JPEG")
USABLE = (*JPEG, *pixels.FORMATS)
"""Supported formats, the best first."""

MAX_RATE_DIFFERENCE = 0.01
"""Relative difference up to which two rates count as equal: 29.97 is called 30."""
COMMON_SIZES = ((320, 240), (640, 480), (800, 600), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
"""Sizes that are listed for a camera that supports a range."""

CAPTURE, MMAP = raw.BufType.VIDEO_CAPTURE, raw.Memory.MMAP
VIDEO4LINUX = Path("/sys/class/video4linux")
STABLE_NAMES = (Path("/dev/v4l/by-id"), Path("/dev/v4l/by-path"))


@dataclass(frozen=True, slots=True)
class Mode:
    """A size of a format, and its rates: some, a range, or often none."""

    width: int
    height: int
    rates: tuple[Fraction, ...] = ()
    all_between: bool = False

    def find_rate(self, wanted: float) -> Fraction | None:
        if self.all_between and self.rates[0] <= wanted <= self.rates[-1]:
            return Fraction(wanted).limit_denominator(1001)
        return next((rate for rate in self.rates if abs(rate - wanted) <= MAX_RATE_DIFFERENCE * wanted), None)

    def __str__(self) -> str:
        rates = (" to " if self.all_between else ", ").join(f"{float(rate):g}" for rate in self.rates)
        return f"{self.width}x{self.height} at {rates}/s" if rates else f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Format:
    """A format of a device. `grid` is a range of widths and one of heights."""

    fourcc: str
    description: str
    modes: tuple[Mode, ...] = ()
    grid: tuple[range, range] | None = None

    @property
    def usable(self) -> bool:
        return self.fourcc in USABLE

    def __str__(self) -> str:
        return f"{self.fourcc} {'; '.join(map(str, self.modes))}"


@dataclass(frozen=True, slots=True)
class Device:
    """A connected camera for a person to choose.

    `path` is the name for the settings, a stable one if there is one. `problem` is why it can't be used now, "" if it
    can. If it can't be opened, nothing else is known.
    """

    path: str
    node: str
    name: str = ""
    driver: str = ""
    formats: tuple[Format, ...] = ()
    controls: tuple[Control, ...] = ()
    problem: str = ""


def list_devices() -> list[Device]:
    """List all cameras: only nodes that capture video, not metadata or output."""
    names = sorted(VIDEO4LINUX.glob("video*"), key=lambda path: int(path.name.removeprefix("video") or 0))
    devices = (_describe_device(Path("/dev", name.name)) for name in names)
    return [device for device in devices if device is not None]


def _describe_device(node: Path) -> Device | None:
    """Describe a node, or return None if it is not a camera."""
    path = _stable_name(node)
    try:
        descriptor = open_device(str(node))
    except CaptureError as error:
        return Device(path, str(node), _read_name(node), problem=error.message) if _is_first(node) else None
    try:
        capability = v4l2.read_capabilities(descriptor)
        if not is_capture_device(capability):
            return None
        return Device(
            path,
            str(node),
            capability.card.decode(errors="replace"),
            capability.driver.decode(errors="replace"),
            tuple(list_formats(descriptor)),
            tuple(list_controls(descriptor)),
            _find_problem(descriptor, str(node)),
        )
    except OSError as error:
        return Device(path, str(node), _read_name(node), problem=f"It can't be opened: {error.strerror}.")
    finally:
        os.close(descriptor)


def _find_problem(descriptor: int, node: str) -> str:
    try:
        v4l2.free_buffers(descriptor, CAPTURE, MMAP)  # we have none, but this fails if another program has some
    except OSError as error:
        if error.errno == errno.EBUSY:
            return _busy_error(node).message
        raise
    return ""


def _stable_name(node: Path) -> str:
    for folder in STABLE_NAMES:
        for link in sorted(folder.glob("*")):
            if link.resolve() == node:
                return str(link)
    return str(node)


def _is_first(node: Path) -> bool:
    """Return True for a device's first node, usually the one with video."""
    try:
        return (VIDEO4LINUX / node.name / "index").read_text().strip() == "0"
    except OSError:
        return False


def _read_name(node: Path) -> str:
    try:
        return (VIDEO4LINUX / node.name / "name").read_text().strip()
    except OSError:
        return ""


def is_capture_device(capability: Any) -> bool:
    every = capability.capabilities
    own = capability.device_caps if every & raw.Capability.DEVICE_CAPS else every
    return bool(own & raw.Capability.VIDEO_CAPTURE and own & raw.Capability.STREAMING)


def _list_entries(descriptor: int, request: int, entry: Any) -> Iterator[Any]:
    """Yield each entry of a numbered list, in the same structure."""
    index = 0
    while True:
        entry.index = index
        try:
            ioctl(descriptor, request, entry)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                return
            raise
        yield entry
        index += 1


def read_fourcc(number: int) -> str:
    """Return a format's four characters. The highest bit is the byte order."""
    name: str = v4l2.human_pixel_format(number & ~(1 << 31))
    return f"{name}-BE" if number >> 31 else name


def list_formats(descriptor: int) -> Iterator[Format]:
    """Yield formats in order; sizes only of supported ones, as some have many."""
    entry = raw.v4l2_fmtdesc(type=CAPTURE)
    for found in _list_entries(descriptor, raw.IOC.ENUM_FMT, entry):
        number = found.pixelformat
        fourcc = read_fourcc(number)
        description = found.description.decode(errors="replace")
        if fourcc in USABLE:
            modes, grid = _list_modes(descriptor, number)
            yield Format(fourcc, description, modes, grid)
        else:
            yield Format(fourcc, description)


def _list_modes(descriptor: int, pixel_format: int) -> tuple[tuple[Mode, ...], tuple[range, range] | None]:
    sizes: list[tuple[int, int]] = []
    grid = None
    for entry in _list_entries(descriptor, raw.IOC.ENUM_FRAMESIZES, raw.v4l2_frmsizeenum(pixel_format=pixel_format)):
        if entry.type == raw.Frmsizetypes.DISCRETE:
            sizes.append((entry.discrete.width, entry.discrete.height))
            continue
        limits = entry.stepwise
        grid = (
            range(limits.min_width, limits.max_width + 1, limits.step_width or 1),
            range(limits.min_height, limits.max_height + 1, limits.step_height or 1),
        )
        sizes = [
            *(size for size in COMMON_SIZES if size[0] in grid[0] and size[1] in grid[1]),
            (grid[0][-1], grid[1][-1]),
        ]
        break  # a range is the only entry
    return tuple(_read_mode(descriptor, pixel_format, *size) for size in dict.fromkeys(sizes)), grid


def _read_mode(descriptor: int, pixel_format: int, width: int, height: int) -> Mode:
    entry = raw.v4l2_frmivalenum(pixel_format=pixel_format, width=width, height=height)
    rates: list[Fraction] = []
    for found in _list_entries(descriptor, raw.IOC.ENUM_FRAMEINTERVALS, entry):
        if found.type != raw.Frmivaltypes.DISCRETE:
            slowest, fastest = read_rate(found.stepwise.max), read_rate(found.stepwise.min)
            between = (slowest or Fraction(0), fastest) if fastest else ()
            return Mode(width, height, between, all_between=bool(between))
        if rate := read_rate(found.discrete):
            rates.append(rate)
    return Mode(width, height, tuple(sorted(rates)))


def read_rate(interval: Any) -> Fraction | None:
    """Convert a driver's frame interval to frames a second, or None."""
    if not interval.numerator or not interval.denominator:
        return None
    return Fraction(interval.denominator, interval.numerator)


# ---- choosing a format


@dataclass(frozen=True, slots=True)
class FormatChoice:
    """The format, size and rate that were chosen."""

    fourcc: str
    width: int
    height: int
    rate: Fraction | None


def choose_format(
    formats: list[Format], resolution: tuple[int, int] | None, frame_rate: float | None, pixel_format: str | None
) -> FormatChoice:
    """Choose the best offered format, or raise CameraOffline with the offers."""
    offered = [one for one in formats if one.usable and (pixel_format is None or one.fourcc == pixel_format)]
    if not offered:
        names = [one.fourcc for one in formats if one.usable] or [one.fourcc for one in formats] or ["none"]
        wanted = pixel_format or " or ".join(USABLE)
        raise CameraOffline(f"The camera does not offer the format {wanted}. It offers: {join_limited(names)}.")
    candidates = [(one, mode) for one in offered for mode in _candidates(one, resolution)]
    if frame_rate is not None:
        candidates = [(one, mode) for one, mode in candidates if mode.find_rate(frame_rate) or not mode.rates]
    if not candidates:
        raise CameraOffline(
            f"The camera does not offer {_describe_wanted(resolution, frame_rate)}, but"
            f" {_describe(offered, resolution)}. Set `resolution` and `frame_rate` to one of them."
        )

    def rank(candidate: tuple[Format, Mode]) -> tuple[bool, bool, int, int]:
        one, mode = candidate
        fast = not mode.rates or mode.rates[-1] >= MIN_GOOD_RATE
        return one.fourcc in JPEG, fast or frame_rate is not None, mode.width * mode.height, -USABLE.index(one.fourcc)

    best, mode = max(candidates, key=rank)
    rate = None if frame_rate is None else mode.find_rate(frame_rate) or Fraction(frame_rate).limit_denominator(1001)
    return FormatChoice(best.fourcc, mode.width, mode.height, rate)


def _candidates(one: Format, resolution: tuple[int, int] | None) -> list[Mode]:
    if resolution is None:
        return list(one.modes)
    if one.grid and all(side in steps for side, steps in zip(resolution, one.grid, strict=True)):
        return [Mode(*resolution)]
    return [mode for mode in one.modes if (mode.width, mode.height) == resolution]


def _describe_wanted(resolution: tuple[int, int] | None, frame_rate: float | None) -> str:
    size = "" if resolution is None else f"{resolution[0]}x{resolution[1]}"
    rate = "" if frame_rate is None else f"{frame_rate:g} frames a second"
    return " at ".join(part for part in (size, rate) if part)


def _describe(formats: list[Format], resolution: tuple[int, int] | None) -> str:
    """Describe sizes with their best rate, or all rates of `resolution`."""
    modes = [mode for one in formats for mode in one.modes]
    modes.sort(key=lambda mode: (mode.width * mode.height, mode.width, mode.rates[-1:]))
    best = {(mode.width, mode.height): mode for mode in modes}
    if resolution in best:
        return str(best[resolution])
    return join_limited([str(replace(mode, rates=mode.rates[-1:])) for mode in best.values()], "; ")


# ---- opening


def open_device(path: str) -> int:
    """Open a device. Raises CameraOffline and CameraBusy, with the remedy."""
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            message = "The camera's path is not a device. Choose one that `dog cameras` lists."
            raise CameraOffline(message, detail=path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise explain_device_error(error, path, "opened") from error


def explain_device_error(error: OSError, path: str, doing: str) -> CaptureError:
    """Explain a device's error for a person, with the remedy."""
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.ENOTDIR:
            message = "The camera is not there. Plug it in, or choose one that `dog cameras` lists."
        case errno.EBUSY:
            return _busy_error(path)
        case errno.EACCES | errno.EPERM:
            message = "The camera may not be opened. Add the user that runs dog to the group video."
        case errno.ENOTTY:
            message = "The device is not a camera. Choose one that `dog cameras` lists."
        case _:
            message = f"The camera can't be {doing}: {error.strerror}. Reconnect it."
    return CameraOffline(message, detail=f"{path}: {error}")


def _busy_error(path: str) -> CameraBusy:
    users = ", ".join(_find_users(path)) or "another program"
    return CameraBusy(f"The camera is in use by {users}. Close that program, then press again.", detail=path)


def _find_users(path: str) -> Iterator[str]:
    """Yield the programs that have the device open, if this user can see them."""
    node = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.name != str(os.getpid()) and any(
                os.readlink(link) == node for link in (process / "fd").iterdir()
            ):
                yield (process / "comm").read_text().strip()
