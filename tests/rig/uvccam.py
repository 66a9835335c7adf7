#!/usr/bin/env python3
"""A USB webcam in software, plugged into vhci_hcd, for the real uvcvideo.

    uvccam.py --jpeg FILE [--yuyv FILE] [--size 640x480] [--fps 15] [--ctl FIFO]

Speaks the device side of USB/IP over a socketpair whose other end is given to vhci_hcd, so no network and no usbip
tools are needed. Offers MJPEG (the --jpeg file, each frame with its own number and time in a JPEG comment) and YUYV
(the --yuyv file, or grey; the first two pixels are as bright as the frame's number). Video goes over a bulk endpoint.
Commands for FIFO, one per line:

    unplug | plug | freeze | thaw | trunc N (cut the next N frames short) | tables on|off (Huffman tables) | quit

Standard library only; needs root and: modprobe vhci-hcd uvcvideo. The guest's own Python runs it, from 3.9 on.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import struct
import time

ATTACH = "/sys/devices/platform/vhci_hcd.0/attach"
CHUNK = 16384  # one bulk URB = one UVC payload
YUY2 = bytes.fromhex("5955593200001000800000aa00389b71")


def describe(kind: int, body: bytes) -> bytes:
    """Return a USB descriptor: bLength, bDescriptorType, body."""
    return struct.pack("BB", len(body) + 2, kind) + body


def without_tables(jpeg: bytes) -> bytes:
    """Remove the Huffman tables, as many webcams do."""
    kept, position = [jpeg[:2]], 2
    while jpeg[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if jpeg[position + 1] != 0xC4:
            kept.append(jpeg[position:end])
        position = end
    return b"".join([*kept, jpeg[position:]])


class Camera:
    def __init__(self, jpeg: str, yuyv: str | None, size: str, fps: float) -> None:
        self.width, self.height = map(int, size.split("x"))
        with open(jpeg, "rb") as file:
            self.jpeg = file.read()
        self.yuyv = bytes([128]) * (self.width * self.height * 2)
        if yuyv:
            with open(yuyv, "rb") as file:
                self.yuyv = file.read()
        self.interval = round(1e7 / fps)  # in units of 100 ns
        self.largest = max(self.width * self.height * 2, len(self.jpeg) + 256)
        self.strings = ["", "Acme", "Soft Webcam", "SN0001"]
        self.sock: socket.socket | None = None
        self.frozen, self.cut_short, self.frames, self.has_tables = False, 0, 0, True
        self.reset()
        self.device, self.config = self.make_descriptors()

    def reset(self) -> None:
        self.probe = self.commit = self.settings(1)
        self.urbs: list[tuple[int, int]] = []
        self.out: list[bytes] = []
        self.frame_id, self.next, self.brightness = 0, 0.0, 128

    def settings(self, format_index: int) -> bytes:
        """Return the response to probe and commit."""
        return struct.pack("<HBBIHHHHHII", 1, format_index, 1, self.interval, 0, 0, 0, 0, 0, self.largest, CHUNK)

    def make_descriptors(self) -> tuple[bytes, bytes]:
        device = describe(1, struct.pack("<HBBBBHHHBBBB", 0x200, 0xEF, 2, 1, 64, 0x1209, 0x0001, 0x100, 1, 2, 3, 1))
        terminals = (
            describe(0x24, struct.pack("<BBHBBHHHB3s", 2, 1, 0x0201, 0, 0, 0, 0, 0, 3, bytes(3)))  # camera sensor
            + describe(0x24, struct.pack("<BBBHBHB", 5, 2, 1, 0, 2, 1, 0))  # processing: brightness
            + describe(0x24, struct.pack("<BBHBBB", 3, 3, 0x0101, 0, 2, 0))  # USB output
        )
        header = struct.pack("<BHHIBB", 1, 0x100, 13 + len(terminals), 48000000, 1, 1)
        control = describe(0x24, header) + terminals

        color = describe(0x24, struct.pack("BBBB", 0x0D, 1, 1, 4))
        formats = (
            describe(0x24, struct.pack("BBBBBBBBB", 6, 1, 1, 1, 1, 0, 0, 0, 0))
            + self.describe_frame(7)
            + color
            + describe(0x24, struct.pack("<BBB16sBBBBBB", 4, 2, 1, YUY2, 16, 1, 0, 0, 0, 0))
            + self.describe_frame(5)
            + color
        )
        input_header = struct.pack("<BBHBBBBBBBBB", 1, 2, 15 + len(formats), 0x81, 0, 3, 0, 0, 0, 1, 0, 0)
        streaming = describe(0x24, input_header) + formats

        body = (
            describe(11, struct.pack("BBBBBB", 0, 2, 0x0E, 3, 0, 2))
            + describe(4, struct.pack("BBBBBBB", 0, 0, 0, 0x0E, 1, 0, 0))
            + control
            + describe(4, struct.pack("BBBBBBB", 1, 0, 1, 0x0E, 2, 0, 0))
            + streaming
            + describe(5, struct.pack("<BBHB", 0x81, 2, 512, 0))
        )
        config = describe(2, struct.pack("<HBBBBB", 9 + len(body), 2, 1, 0, 0x80, 250)) + body
        return device, config

    def describe_frame(self, subtype: int) -> bytes:
        rate = self.width * self.height * 16 * 30
        size = struct.pack("<BBBHHII", subtype, 1, 0, self.width, self.height, rate, rate)
        return describe(0x24, size + struct.pack("<IIBI", self.largest, self.interval, 1, self.interval))

    # ---- plug and unplug

    def plug(self) -> None:
        if self.sock:
            return
        self.reset()
        self.sock, other = socket.socketpair()
        with open(ATTACH, "w") as file:
            file.write(f"0 {other.fileno()} 65538 3")  # port 0, high speed
        other.close()
        print("plugged", flush=True)

    def unplug(self, message: str = "unplugged") -> None:
        if self.sock:
            self.sock.close()
            self.sock = None
            print(message, flush=True)

    # ---- control endpoint: the response, or None to stall

    def control(self, setup: bytes, data: bytes) -> bytes | None:
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        if kind & 0x60 == 0:
            return self.control_device(kind, request, value)
        entity, selector = index >> 8, value >> 8
        if index & 255 == 1 and selector in (1, 2):
            return self.control_stream(request, selector, data)
        if entity == 2 and selector == 2:
            return self.control_brightness(request, data)
        return None

    def control_device(self, kind: int, request: int, value: int) -> bytes | None:
        """Answer the standard requests."""
        if request == 6:  # GET_DESCRIPTOR
            which, number = value >> 8, value & 255
            if which == 1:
                return self.device
            if which == 2:
                return self.config
            if which == 3 and number == 0:
                return describe(3, b"\x09\x04")
            if which == 3 and number < len(self.strings):
                return describe(3, self.strings[number].encode("utf-16-le"))
            return None
        if request == 1 and kind == 2:  # CLEAR_FEATURE(halt): so uvcvideo stops a bulk stream
            self.out = []
        return {0: b"\0\0", 8: b"\1", 10: b"\0"}.get(request, b"")

    def control_stream(self, request: int, selector: int, data: bytes) -> bytes | None:
        """Answer probe and commit."""
        if request == 1:
            self.probe = self.settings(data[2] if data[2] in (1, 2) else 1)
            if selector == 2:
                self.commit = self.probe
                self.next = time.monotonic()
            return b""
        if request in (0x81, 0x82, 0x83, 0x87):
            return self.probe
        return {0x85: struct.pack("<H", 26), 0x86: b"\3"}.get(request)

    def control_brightness(self, request: int, data: bytes) -> bytes | None:
        if request == 1:
            (self.brightness,) = struct.unpack("<h", data)
            return b""
        value = {0x81: self.brightness, 0x82: 0, 0x83: 255, 0x84: 1, 0x87: 128, 0x85: 2}.get(request)
        if value is not None:
            return struct.pack("<h", value)
        return b"\3" if request == 0x86 else None

    # ---- USB/IP

    def receive(self, count: int) -> bytes:
        assert self.sock is not None
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def reply(self, number: int, status: int, data: bytes = b"", actual: int | None = None) -> None:
        assert self.sock is not None
        count = len(data) if actual is None else actual
        self.sock.sendall(struct.pack(">IIIIIiIiII8x", 3, number, 0, 0, 0, status, count, 0, 0, 0) + data)

    def handle(self) -> None:
        command, number, _, direction, endpoint = struct.unpack(">IIIII", self.receive(20))
        rest = self.receive(28)
        if command == 2:
            self.unlink(number, *struct.unpack_from(">I", rest))
            return
        _, length = struct.unpack_from(">II", rest)
        data = self.receive(length) if direction == 0 and length else b""
        if endpoint == 0:
            answer = self.control(rest[20:28], data)
            if answer is None:
                self.reply(number, -32)
            elif direction == 0:
                self.reply(number, 0, actual=length)
            else:
                self.reply(number, 0, answer[:length])
        elif endpoint == 1 and direction == 1:
            self.urbs.append((number, length))
        else:
            self.reply(number, -32)

    def unlink(self, number: int, victim: int) -> None:
        assert self.sock is not None
        found = any(urb == victim for urb, _ in self.urbs)
        self.urbs = [urb for urb in self.urbs if urb[0] != victim]
        self.sock.sendall(struct.pack(">IIIIIi24x", 4, number, 0, 0, 0, -104 if found else 0))
        if found:
            self.out = []

    # ---- video

    def make_frame(self) -> None:
        self.frames += 1
        if self.commit[2] == 1:
            comment = f"seq={self.frames} t={time.time():.6f}".encode()
            jpeg = self.jpeg if self.has_tables else without_tables(self.jpeg)
            frame = jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + jpeg[2:]
        else:
            grey = self.frames & 255
            frame = bytes([grey, 128, grey, 128]) + self.yuyv[4:]
        if self.cut_short:
            self.cut_short -= 1
            frame = frame[: len(frame) // 2]
        self.frame_id ^= 1
        step = CHUNK - 2
        parts = [frame[start : start + step] for start in range(0, len(frame), step)]
        ends = [0] * (len(parts) - 1) + [2]
        self.out = [bytes([2, 0x80 | self.frame_id | end]) + part for end, part in zip(ends, parts)]  # noqa: B905 (3.9)

    def pump(self) -> float:
        """Send what is due, and return the seconds until the next step."""
        if not self.urbs or self.frozen:
            return 0.5
        if not self.out:
            now = time.monotonic()
            if now < self.next:
                return self.next - now
            self.next = max(self.next + self.interval / 1e7, now)
            self.make_frame()
        while self.urbs and self.out:
            number, length = self.urbs.pop(0)
            self.reply(number, 0, self.out.pop(0)[:length])
        return 0

    def execute(self, line: str) -> bool:
        """Execute one line of the FIFO. Return False for `quit`."""
        words = line.split()
        if not words:
            return True
        if words[0] == "plug":
            self.plug()
        elif words[0] == "unplug":
            self.unplug()
        elif words[0] in ("freeze", "thaw"):
            self.frozen = words[0] == "freeze"
        elif words[0] == "trunc":
            self.cut_short = int(words[1])
        elif words[0] == "tables":
            self.has_tables = words[1] == "on"
        return words[0] != "quit"


def serve(camera: Camera, fifo: int | None) -> None:
    """Run the webcam until the FIFO gets `quit`."""
    camera.plug()
    while True:
        pause = camera.pump() if camera.sock else 0.5
        watched = [source for source in (camera.sock, fifo) if source is not None]
        readable, _, _ = select.select(watched, [], [], max(pause, 0))
        if (
            fifo is not None
            and fifo in readable
            and not all([camera.execute(line) for line in os.read(fifo, 4096).decode().splitlines()])
        ):
            break
        if camera.sock and camera.sock in readable:
            try:
                camera.handle()
            except OSError:
                camera.unplug("detached")
    camera.unplug()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jpeg", required=True)
    parser.add_argument("--yuyv")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--ctl")
    options = parser.parse_args()
    fifo = None
    if options.ctl:
        if not os.path.exists(options.ctl):
            os.mkfifo(options.ctl)
        fifo = os.open(options.ctl, os.O_RDWR | os.O_NONBLOCK)
    serve(Camera(options.jpeg, options.yuyv, options.size, options.fps), fifo)


if __name__ == "__main__":
    main()
