"""V4L2 cameras: USB webcams and other /dev/video* devices, by linuxpy.

Devices are listed with their formats, sizes, rates and controls, and the best format is chosen. For that, only
linuxpy's structures and plain calls are used: its own listings fail for drivers with many formats. The calls are
described in the kernel's documentation, "Video for Linux API".

JPEGs are passed on unchanged. Raw frames are encoded only when their image is needed.
"""

import contextlib
import errno
import logging
import mmap
import os
import re
import select
import stat
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from linuxpy.ioctl import ioctl  # type: ignore[import-untyped]
from linuxpy.video import device as v4l2  # type: ignore[import-untyped]
from linuxpy.video import raw

from dog.cameras import join_limited, parse_control
from dog.cameras import pixel_formats as pixels
from dog.errors import BadImage, CameraBusy, CameraOffline, CaptureError

__all__ = ["FormatChoice", "V4l2Source", "choose_format", "find_exposure_start", "list_devices", "read_layout"]

BUFFER_COUNT = 5
"""Two held frames, one to fill, and two more so that no frame is lost."""
MAX_HELD_FRAMES = 2
"""Frames that are still valid."""

FLAG = raw.BufferFlag
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

log = logging.getLogger(__name__)


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
        if _read_attribute(node, "index") != "0":  # a device's first node is usually the one with video
            return None
        return Device(path, str(node), _read_attribute(node, "name"), problem=error.message)
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
        return Device(path, str(node), _read_attribute(node, "name"), problem=f"It can't be opened: {error.strerror}.")
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


def _read_attribute(node: Path, name: str) -> str:
    """Return what the system knows of a node, or "" if it is gone."""
    try:
        return (VIDEO4LINUX / node.name / name).read_text().strip()
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


class _Frame:
    """A frame: a buffer that is not queued again yet. Raw ones have a layout."""

    exposure = None  # the exposure control has the wanted value, of later frames

    def __init__(self, data: memoryview, exposure_start: float, layout: pixels.RawLayout | None, damage: str) -> None:
        self.raw = data
        self.exposure_start = exposure_start
        self._layout = layout
        self._damage = damage
        self._image: bytes | None = None

    def image(self) -> bytes:
        if self._damage:
            raise BadImage("The camera's frame is damaged. Check the cable, then press again.", detail=self._damage)
        if self._image is None:
            self._image = bytes(self.raw) if self._layout is None else pixels.encode(self.raw, self._layout)
        return self._image

    def preview(self) -> bytes:
        if self._layout is None or self._damage:
            return pixels.shrink_to_preview(self.image())
        return pixels.encode_preview(self.raw, self._layout)


@dataclass(eq=False)
class V4l2Source:
    """A camera by its path, such as /dev/video0, resolved at each opening.

    A path below /dev/v4l/by-id/ is stable. The default `resolution` is the largest with at least 10 frames a second;
    JPEG is preferred to raw formats unless `pixel_format` names one (such as YUYV). The default `frame_rate` is the
    driver's. `controls` have the names that `dog cameras` lists; a menu's value is a number or a word. Other controls
    are not changed.

    The driver's timestamps are trusted. uvcvideo, for USB, stamps the arrival of a frame's first byte, after the
    exposure. `latency` is the time from the start of the exposure to that, in seconds.
    """

    device: str
    _: KW_ONLY
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None
    pixel_format: str | None = None
    latency: float = 0.0
    controls: Mapping[str, bool | int | str] = field(default_factory=dict)

    streams = True
    settles = True

    def __post_init__(self) -> None:
        self._descriptor = -1
        self._maps: list[mmap.mmap] = []
        self._poll = select.poll()
        self._layout: pixels.RawLayout | None = None
        self._interval = 0.0
        self._held: deque[tuple[int, memoryview]] = deque()
        self._last_stamp: float | None = None
        self._empty_at = 0.0
        self._errors = 0

    def open(self) -> None:
        self._descriptor = open_device(self.device)
        try:
            if not is_capture_device(v4l2.read_capabilities(self._descriptor)):
                raise CameraOffline(
                    "The device is not a camera. Choose one that `dog cameras` lists.", detail=self.device
                )
            fourcc = self._set_format()
            set_controls(self._descriptor, self.controls)
            # Controls may change the layout: one rotates, another sets the range.
            pix_format = v4l2.get_raw_format(self._descriptor, CAPTURE).fmt.pix
            self._layout = None if fourcc in JPEG else read_layout(pix_format)
            self._start()
        except OSError as error:
            raise explain_device_error(error, self.device, "started") from error

    def _set_format(self) -> str:
        """Set the format and the rate, and return the format."""
        formats = list(list_formats(self._descriptor))
        choice = choose_format(formats, self.resolution, self.frame_rate, self.pixel_format)
        pix_format = v4l2.set_format(self._descriptor, CAPTURE, choice.width, choice.height, choice.fourcc).fmt.pix
        got = (read_fourcc(pix_format.pixelformat), pix_format.width, pix_format.height)
        if got != (choice.fourcc, choice.width, choice.height):
            raise CameraOffline(
                f"The camera gave {got[0]} {got[1]}x{got[2]} instead of"
                f" {choice.fourcc} {choice.width}x{choice.height}. Set another `resolution`."
            )
        if choice.rate is not None:
            v4l2.set_fps(self._descriptor, CAPTURE, choice.rate)
        self._interval = self._read_interval()
        log.info("%s gives %s %dx%d", self.device, *got)
        return choice.fourcc

    def _read_interval(self) -> float:
        """Return the seconds from frame to frame, or 0 if unknown."""
        try:
            rate = read_rate(v4l2.get_parm(self._descriptor, CAPTURE).parm.capture.timeperframe)
        except OSError:
            return 0.0
        if rate is None:
            return 0.0
        if self.frame_rate is not None and abs(rate - self.frame_rate) > MAX_RATE_DIFFERENCE * self.frame_rate:
            raise CameraOffline(
                f"The camera gives {float(rate):g} frames a second instead of {self.frame_rate:g}."
                " Set another `frame_rate`."
            )
        return float(1 / rate)

    def _start(self) -> None:
        count = v4l2.request_buffers(self._descriptor, CAPTURE, MMAP, BUFFER_COUNT).count
        for index in range(count):
            buffer = v4l2.query_buffer(self._descriptor, CAPTURE, MMAP, index)
            self._maps.append(v4l2.mmap_from_buffer(self._descriptor, buffer))
            v4l2.enqueue_buffer(self._descriptor, CAPTURE, MMAP, 0, index)
        self._empty_at = time.monotonic()
        v4l2.stream_on(self._descriptor, CAPTURE)
        self._poll.register(self._descriptor, select.POLLIN)

    def read(self, timeout: float) -> _Frame:
        try:
            self._requeue_oldest()
            buffer = self._dequeue(timeout)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise CameraOffline("The camera was unplugged. Plug it in again.", detail=self.device) from error
            raise CameraOffline(
                f"The camera's driver reports: {error.strerror}. Reconnect the camera.",
                detail=f"{self.device}: {error}",
            ) from error
        if buffer is None:
            exposure_start = self._empty_at - self._interval - self.latency
            return _Frame(memoryview(b""), exposure_start, None, "the driver reports: I/O error")
        data = memoryview(self._maps[buffer.index])[: buffer.bytesused]
        self._held.append((buffer.index, data))
        damage = ""
        if buffer.flags & FLAG.ERROR:
            damage = "the driver reports an error"
        elif not buffer.bytesused:
            damage = "it is empty"
        return _Frame(data, self._find_exposure_start(buffer), self._layout, damage)

    def _requeue_oldest(self) -> None:
        """Queue the oldest held buffers, to be filled again."""
        while len(self._held) >= MAX_HELD_FRAMES:
            index, data = self._held.popleft()
            data.release()
            v4l2.enqueue_buffer(self._descriptor, CAPTURE, MMAP, 0, index)

    def _dequeue(self, timeout: float) -> Any:
        """Wait for a buffer; None if it was lost. Raises OSError, CameraOffline."""
        now = time.monotonic()
        ready = self._poll.poll(0)
        if not ready:
            self._empty_at = now
            ready = self._poll.poll(timeout * 1000)
        if not ready:
            raise CameraOffline(f"The camera sent no frame for {timeout:g} s. Reconnect it.", detail=self.device)
        try:
            buffer = v4l2.dequeue_buffer(self._descriptor, CAPTURE, MMAP)
        except OSError as error:
            # VIDIOC_DQBUF's documentation: EIO may be temporary, such as a lost signal, and lose the buffer. It may
            # also be the end of the stream, which poll then reports as well.
            self._errors += 1
            if error.errno == errno.EIO and not ready[0][1] & select.POLLERR and self._errors < len(self._maps):
                return None
            if error.errno == errno.EAGAIN:
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
            raise
        self._errors = 0
        return buffer

    def _find_exposure_start(self, buffer: Any) -> float:
        stamp: float = buffer.timestamp.secs + buffer.timestamp.usecs * 1e-6
        last, self._last_stamp = self._last_stamp, stamp
        exposure_start = find_exposure_start(
            stamp, buffer.flags, last=last, interval=self._interval, empty_at=self._empty_at, now=time.monotonic()
        )
        return exposure_start - self.latency

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError, KeyError):
            self._poll.unregister(descriptor)
        with contextlib.suppress(OSError):
            v4l2.stream_off(descriptor, CAPTURE)
        for _, data in self._held:
            data.release()
        self._held.clear()
        for buffer in self._maps:
            try:
                buffer.close()
            except BufferError:
                log.warning(
                    "%s: the buffer of a frame was not released, because the frame is still in use", self.device
                )
        self._maps.clear()
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def is_back(self) -> bool:
        try:
            is_device = stat.S_ISCHR(os.stat(self.device).st_mode)
        except OSError:
            return False
        # A new device belongs to root for a moment, until udev has changed its group.
        return is_device and os.access(self.device, os.R_OK | os.W_OK)


def find_exposure_start(
    stamp: float, flags: int, *, last: float | None, interval: float, empty_at: float, now: float
) -> float:
    """Return the start of a frame's exposure as a time.monotonic().

    That is the clock of the drivers' timestamps. A timestamp is of the exposure's start, or of the frame's end. In the
    latter case, the exposure took at most one interval. The interval grows in the dark, so the time since the last
    frame counts if that is longer. Without such a timestamp, the frame ended after `empty_at`, the last time when no
    frame was ready.
    """
    if flags & FLAG.TIMESTAMP_MASK != FLAG.TIMESTAMP_MONOTONIC or not 0 < stamp <= now:
        return empty_at - interval
    if flags & FLAG.TSTAMP_SRC_MASK == FLAG.TSTAMP_SRC_SOE:
        return stamp
    return stamp - max(interval, stamp - last if last is not None else 0.0)


def read_layout(pix_format: Any) -> pixels.RawLayout:
    """Return a format's layout, with the defaults of linux/videodev2.h.

    The defaults (V4L2_MAP_..._DEFAULT) do not cover grey. Monochrome sensors, and vivid, have the full range.
    """
    space, encoding, range_ = raw.Colorspace, raw.YcbcrEncoding, raw.Quantization
    fourcc = read_fourcc(pix_format.pixelformat)
    if pix_format.quantization == range_.DEFAULT:
        limited = fourcc not in ("RGB3", "BGR3", "GREY") and pix_format.colorspace != space.JPEG
    else:
        limited = pix_format.quantization == range_.LIM_RANGE
    if pix_format.ycbcr_enc == encoding.DEFAULT:
        bt709 = pix_format.colorspace in (space.REC709, space.DCI_P3)
    else:
        bt709 = pix_format.ycbcr_enc in (encoding._709, encoding.XV709)
    return pixels.RawLayout(fourcc, pix_format.width, pix_format.height, pix_format.bytesperline, limited, bt709)
