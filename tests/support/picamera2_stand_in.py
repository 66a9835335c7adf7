"""A stand-in for the parts of Picamera2 and libcamera that we use.

They run only on a Raspberry Pi. It follows their documentation and source (same names, order of calls, errors and
leaks), with real pipes, real buffers and frames of another thread. It fails where the real one would wait without end.
It can't show what a real Pi does. A test creates a `Pi` with `Sensor`s, and lets them expose frames.
"""

import enum
import importlib.machinery
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

__all__ = ["Pi", "Sensor"]

ALIGNMENT = 64
"""A line's length in bytes is a multiple of this."""
RGB, YUV = ("BGR888", "RGB888", "XBGR8888", "XRGB8888"), ("YUV420", "YVU420", "NV12", "NV21", "YUYV")


class AfModeEnum(enum.IntEnum):
    Manual = 0
    Auto = 1
    Continuous = 2


class AwbModeEnum(enum.IntEnum):
    Auto = 0
    Incandescent = 1
    Tungsten = 2


class NoiseReductionModeEnum(enum.IntEnum):
    Off = 0
    Fast = 1
    HighQuality = 2


class Transform:
    def __init__(self, rotation: int = 0, hflip: bool = False, vflip: bool = False, transpose: bool = False) -> None:
        self.hflip, self.vflip, self.transpose = hflip, vflip, transpose


class ColorSpace:
    def __init__(self, name: str) -> None:
        self.name = name

    @staticmethod
    def Sycc() -> "ColorSpace":
        return ColorSpace("sYCC")


class Sensor:
    """A camera: its modes, and counters of its frames.

    A mode is ((width, height), rate), and the smallest is the first.
    """

    def __init__(self, model: str = "imx708", *, usb: bool = False, focuses: bool = True) -> None:
        self.model = model
        self.usb = usb
        self.id = f"/base/scb/pcie@7d500000/usb@0/{model}" if usb else f"/base/soc/i2c0mux/i2c@1/{model}@1a"
        self.modes = [((328, 246), 60.0), ((656, 492), 20.0)]
        self.controls: dict[str, tuple[Any, Any, Any]] = {
            "AeEnable": (False, True, True),
            "AnalogueGain": (1.0, 16.0, 1.0),
            "AwbMode": (0, 7, 0),
            "ColourGains": (0.0, 32.0, None),
            "ExposureTime": (26, 0, None),
            "FrameDurationLimits": (33333, 120000, None),
            "NoiseReductionMode": (0, 4, 0),
            "ScalerCrop": ((0, 0, 64, 64), (0, 0, 656, 492), (0, 0, 656, 492)),
        }
        if focuses:
            self.controls |= {"AfMode": (0, 2, 0), "LensPosition": (0.0, 15.0, 1.0)}
        self.is_taken = False
        self.breaks: dict[str, Exception] = {}
        self.camera: Any = None
        self.exposed = self.dropped = self.copied = 0
        self.handed_out: list[Any] = []

    @property
    def has_job(self) -> bool:
        """True if a job waits for the next frame."""
        camera = self.camera
        return camera is not None and camera.started and bool(camera._job_list)

    def expose(
        self,
        colour: tuple[int, int, int] = (120, 128, 128),
        *,
        exposure_start: float | None = None,
        lasts: float = 0.002,
    ) -> dict[str, Any]:
        """Expose a frame of that luma, blue and red. Its first bytes are unique.

        Return its metadata.
        """
        self.exposed += 1
        stamp = (time.monotonic() - lasts if exposure_start is None else exposure_start) + lasts
        metadata = {"SensorTimestamp": round(stamp * 1e9), "ExposureTime": round(lasts * 1e6), "FrameDuration": 50000}
        camera = self.camera
        if camera is not None:
            camera._complete(self.exposed, colour, metadata)
        return metadata

    @contextmanager
    def running(self) -> Iterator[None]:
        """Expose frames all the time, like a real sensor."""
        stop = threading.Event()

        def expose_all() -> None:
            while not stop.wait(0.002):
                self.expose()

        thread = threading.Thread(target=expose_all)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Pi:
    """A Raspberry Pi: its sensors, and the bytes of memory for cameras."""

    def __init__(self, *sensors: Sensor) -> None:
        self.sensors = list(sensors)
        self.memory = 64_000_000
        self.made: list[Any] = []
        self.infos = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the two modules by the stand-in."""
        for name, has in (("picamera2", {"Picamera2": make_class(self)}), ("libcamera", make_libcamera())):
            module = ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.__dict__.update(has)
            monkeypatch.setitem(__import__("sys").modules, name, module)


def make_libcamera() -> dict[str, Any]:
    draft = SimpleNamespace(NoiseReductionModeEnum=NoiseReductionModeEnum)
    controls = SimpleNamespace(AfModeEnum=AfModeEnum, AwbModeEnum=AwbModeEnum, draft=draft)
    return {"Transform": Transform, "ColorSpace": ColorSpace, "controls": controls}


class Job:
    def __init__(self) -> None:
        self._future: Future[Any] = Future()

    def get_result(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "without a time limit it may wait for ever"
        return self._future.result(timeout=timeout)


class Request:
    """A CompletedRequest.

    Its buffer is reused when its last holder has released it.
    """

    def __init__(self, camera: Any, buffer: bytearray, metadata: Mapping[str, Any]) -> None:
        self.ref_count = 1
        self.picam2 = camera
        self.stop_count = camera.stop_count
        self.stream_map: dict[str, object] | None = {"main": object(), "lores": None, "raw": None}
        self._buffer = buffer
        self._metadata = metadata

    def release(self) -> None:
        self.ref_count -= 1
        if self.ref_count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        camera = self.picam2
        with camera.lock:
            if camera.started and self.stop_count == camera.stop_count:
                camera._free.append(self._buffer)
            if self in camera.sensor.handed_out:
                camera.sensor.handed_out.remove(self)
        self.stream_map = None

    def get_metadata(self) -> dict[str, Any]:
        assert self.stream_map is not None, "it is no longer ours"
        return dict(self._metadata)

    def make_buffer(self, name: str) -> bytearray:
        if self.stream_map.get(name) is None:  # type: ignore[union-attr]  # as the real one fails
            raise RuntimeError(f"Stream {name!r} is not defined")
        self.picam2.sensor.copied += 1
        return bytearray(self._buffer)


def align(stream: dict[str, Any]) -> dict[str, Any]:
    width, height = stream["size"]
    return stream | {"size": (width - width % 2, height - height % 2)}


def make_class(pi: Pi) -> type:
    class Picamera2:
        def __init__(self, camera_num: int = 0) -> None:
            self.notifyme_r, self.notifyme_w = os.pipe2(os.O_NONBLOCK)
            self.notifymeread = os.fdopen(self.notifyme_r, "rb")
            self.is_open = False
            pi.made.append(self)
            self.sensor = pi.sensors[self.global_camera_info()[camera_num]["Num"]]
            self.camera_config: dict[str, Any] | None = None
            self.started = False
            self.stop_count = 0
            self.lock = threading.RLock()
            self._job_list: list[Job] = []
            self.completed_requests: list[Request] = []
            self._free: list[bytearray] = []
            self.set: dict[str, Any] = {}
            self.started_with: dict[str, Any] = {}
            try:
                if self.sensor.is_taken:
                    raise RuntimeError("Failed to acquire camera: Device or resource busy")
                self.sensor.is_taken = True
                self.is_open = True
                self._break("__init__")
            except Exception:
                raise RuntimeError("Camera __init__ sequence did not complete.")  # noqa: B904 - as the real one does
            self.camera_controls = dict(self.sensor.controls)
            self.sensor_resolution = self.sensor.modes[-1][0]
            self.sensor.camera = self

        @staticmethod
        def global_camera_info() -> list[dict[str, Any]]:
            pi.infos += 1
            return [
                {"Model": sensor.model, "Location": 2, "Rotation": 0, "Id": sensor.id, "Num": number}
                for number, sensor in enumerate(pi.sensors)
            ]

        @property
        def sensor_modes(self) -> list[dict[str, Any]]:
            self._break("sensor_modes")
            assert not self.started, "it configures the camera for each mode"
            return [
                {"format": f"SRGGB{bits}", "bit_depth": bits, "size": size, "fps": rate}
                for bits in (8, 10)
                for size, rate in self.sensor.modes
            ]

        def create_still_configuration(
            self,
            main: dict[str, Any] = {},  # noqa: B006 - as the real one has it
            lores: dict[str, Any] | None = None,
            raw: dict[str, Any] | None = {},  # noqa: B006
            transform: Transform | None = None,
            colour_space: ColorSpace | None = None,
            buffer_count: int = 1,
            queue: bool = True,
        ) -> dict[str, Any]:
            if bad := set(main) - {"format", "size", "stride", "preserve_ar"}:
                raise ValueError(f"Bad key {bad.pop()!r}")
            return {
                "transform": transform or Transform(),
                "colour_space": colour_space or ColorSpace.Sycc(),
                "buffer_count": buffer_count,
                "queue": queue,
                "main": align({"format": "BGR888", "size": self.sensor_resolution} | main),
                "lores": lores,
                "raw": None if raw is None else {"size": main.get("size", self.sensor_resolution)} | raw,
            }

        def configure(self, config: dict[str, Any]) -> None:
            if self.started:
                raise RuntimeError("Camera must be stopped before configuring")
            self._break("configure")
            main = dict(config["main"])
            if main["format"] not in RGB + YUV:
                raise RuntimeError(f"Bad format {main['format']} in stream main")
            if type(main["size"]) is not tuple:
                raise RuntimeError("size in main stream should be (width, height)")
            if not isinstance(config["transform"], Transform):
                raise RuntimeError("Transform has incorrect type")
            largest = self.sensor_resolution
            _, rate = next((mode for mode in self.sensor.modes if mode[0] >= main["size"]), self.sensor.modes[-1])
            main["size"] = (min(main["size"][0], largest[0]), min(main["size"][1], largest[1]))
            if self.sensor.usb:
                main["format"] = "YUYV"
            main["stride"] = -(-main["size"][0] // ALIGNMENT) * ALIGNMENT
            main["framesize"] = main["stride"] * main["size"][1] * 3 // 2
            raw = 0 if config["raw"] is None else main["stride"] * main["size"][1] * 2
            if (main["framesize"] + raw) * config["buffer_count"] > pi.memory:
                raise RuntimeError("failed to allocate capture buffers for stream 0")
            self.camera_controls |= {
                "FrameDurationLimits": (round(1e6 / rate), 120_000_000, (33333, 33333)),
                "ExposureTime": (26, 119_000_000, 20000),
            }
            self.camera_config = config | {"main": main}
            self.set = {}

        def camera_configuration(self) -> dict[str, Any] | None:
            return self.camera_config

        def set_controls(self, controls: Mapping[str, Any]) -> None:
            for name in controls:
                if name not in self.camera_controls:
                    raise RuntimeError(f"Control {name} is not advertised by libcamera")
            self.set |= controls

        def start(self, config: object = None, show_preview: bool | None = False) -> None:
            if self.camera_config is None:
                raise RuntimeError("Camera has not been configured")
            assert show_preview is False, "None: nothing takes the frames; True: a window"
            self._break("start")
            for name, value in self.set.items():
                limit = self.camera_controls[name][0]
                kind = type(limit[0] if isinstance(limit, tuple) else limit)
                for one in value if isinstance(value, tuple) else (value,):
                    if not isinstance(one, (int, float) if kind is float else kind):
                        raise RuntimeError(f"Unable to cast Python instance of type {type(one)} to C++ type")
            size = self.camera_config["main"]["framesize"]
            self._free = [bytearray(size) for _ in range(self.camera_config["buffer_count"])]
            self.started_with, self.set = self.set, {}
            self.started = True

        def _complete(self, number: int, colour: tuple[int, int, int], metadata: dict[str, Any]) -> None:
            """Handle a frame of the sensor, like Picamera2's threads."""
            with self.lock:
                if not self.started or self.camera_config is None:
                    return
                if not self._free:
                    self.sensor.dropped += 1
                    return
                buffer = self._free.pop(0)
                main = self.camera_config["main"]
                paint(buffer, main["size"], main["stride"], colour, number)
                self.completed_requests.append(Request(self, buffer, metadata))
                if self._job_list:
                    request = self.completed_requests.pop(0)
                    self.sensor.handed_out.append(request)
                    job = self._job_list.pop(0)
                    job._future.set_result(request)
                most = 1 if self.camera_config["queue"] and self.camera_config["buffer_count"] > 1 else 0
                while len(self.completed_requests) > most:
                    self.completed_requests.pop(0).release()

        def capture_request(self, wait: bool | float | None = None) -> Any:
            self._break("capture_request")
            assert self.started, "it would wait for ever"
            job = Job()
            with self.lock:
                if self.completed_requests:
                    request = self.completed_requests.pop(0)
                    self.sensor.handed_out.append(request)
                    job._future.set_result(request)
                else:
                    self._job_list.append(job)
            return job if wait is False else job.get_result(None if wait is True else wait)

        def cancel_all_and_flush(self) -> None:
            with self.lock:
                for job in self._job_list:
                    job._future.set_exception(CancelledError())
                self._job_list = []

        def close(self) -> None:
            if not self.is_open:
                return
            self._break("close")
            assert not self._job_list, "a job that nobody cancelled"
            with self.lock:
                self.started = False
                self.stop_count += 1
                while self.completed_requests:
                    self.completed_requests.pop(0).release()
            self.sensor.is_taken = False
            self.is_open = False
            self.camera_config = None
            self.notifymeread.close()
            os.close(self.notifyme_w)

        def _break(self, name: str) -> None:
            if name in self.sensor.breaks:
                raise self.sensor.breaks[name]

    return Picamera2


def paint(buffer: bytearray, size: tuple[int, int], stride: int, colour: tuple[int, int, int], number: int) -> None:
    """Fill a frame in YUV420 with padded lines.

    It has a plane of luma, and blue and red at half the size.
    """
    at = 0
    for value, width, height, step in zip(
        colour,
        (size[0], size[0] // 2, size[0] // 2),
        (size[1], size[1] // 2, size[1] // 2),
        (stride, stride // 2, stride // 2),
        strict=True,
    ):
        line = bytes([value]) * width + b"\xff" * (step - width)
        buffer[at : at + step * height] = line * height
        at += step * height
    buffer[0:4] = number.to_bytes(4, "big")
