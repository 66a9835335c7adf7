"""Odd RTSP cameras, as a program.

Their URLs are rtsp://127.0.0.1:PORT/cam?OPTION=VALUE&... PyAV encodes their frames. Run it with `python -m
tests.support.sources.odd_rtsp_camera [--port PORT]`. It prints `listening PORT` when it listens, and each request on
standard error. Each frame shows its time, as rtsp_camera's do. Each client has its own camera, which begins with a
keyframe.
"""

import argparse
import base64
import contextlib
import hashlib
import os
import random
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import av
from av.video.frame import VideoFrame

BITS, ACROSS, BLOCK = 32, 8, 16
MAX_PAYLOAD_BYTES = 100
"""Small, so that frames have several packets."""
PASSWORD = "s@cr/et:1"

CLOCKS: dict[str, Callable[[float, int], float]] = {
    "right": lambda passed, number: passed,
    "slow": lambda passed, number: passed * 0.87,
    "half": lambda passed, number: passed * 0.5,
    "fast": lambda passed, number: passed * 1.08,
    "double": lambda passed, number: passed * 2,
    "back": lambda passed, number: passed - 0.7 * (passed // 5),
    "forward": lambda passed, number: passed + 1.3 * (passed // 5),
    "still": lambda passed, number: 5.0,
    "night": lambda passed, number: number / 20,
}
"""The timestamps: seconds, by the seconds since the first frame and its number."""


def parse_options(url: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--codec", choices=["h264", "hevc"], default="h264")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--night-rate", type=float, help="after 4 s")
    parser.add_argument("--gop", type=int, default=10)
    parser.add_argument("--between", type=int, default=0, help="B-frames")
    parser.add_argument("--slices", type=int, default=1, help="of each frame; each one is marked as the last")
    parser.add_argument("--refresh", type=int, default=0, help="1: in columns, instead of keyframes")
    parser.add_argument("--format", default="yuv420p")
    parser.add_argument("--aspect", help="of a pixel, such as 4:3")
    parser.add_argument("--size", default="128x144")
    parser.add_argument("--clock", choices=CLOCKS, default="right")
    parser.add_argument("--lose", choices=["frame", "first", "middle", "last", "keyframe"], help="these, now and then")
    parser.add_argument("--end-after", type=int, help="frames")
    parser.add_argument("--late", type=float, default=0.0, help="seconds until the first frame")
    parser.add_argument("--udp", type=int, default=0, help="1: refuse TCP")
    parser.add_argument("--auth", help="challenges, such as MD5,SHA-256,Basic; the first one is right")
    parser.add_argument("--session", type=float, help="its lifetime in seconds, without a keepalive")
    return parser.parse_args([f"--{option}" for option in urlsplit(url).query.split("&") if option])


class Encoder:
    """The video: frames that show their time."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.is_hevc = chosen.codec == "hevc"
        self.width, self.height = map(int, chosen.size.split("x"))
        codec: Any = av.CodecContext.create("libx265" if self.is_hevc else "libx264", "w")
        codec.width, codec.height, codec.pix_fmt = self.width, self.height, chosen.format
        codec.time_base, codec.framerate = Fraction(1, 1000), Fraction(round(max(1, chosen.rate)), 1)
        codec.gop_size, codec.max_b_frames, codec.thread_count = chosen.gop, chosen.between, 1
        if chosen.aspect:
            codec.sample_aspect_ratio = Fraction(*map(int, chosen.aspect.split(":")))
        name = "x265-params" if self.is_hevc else "x264-params"
        options = f"keyint={chosen.gop}:min-keyint={chosen.gop}:scenecut=0:bframes={chosen.between}:repeat-headers=1"
        options += ":log-level=none:pools=none:frame-threads=1" if self.is_hevc else ":threads=1"
        options += f":rc-lookahead={chosen.between + 1 if self.is_hevc and chosen.between else 0}"
        options += ":intra-refresh=1" if chosen.refresh else ""
        options += f":slices={chosen.slices}" if chosen.slices > 1 else ""
        codec.options = {"preset": "ultrafast", name: options} | ({} if chosen.between else {"tune": "zerolatency"})
        self.codec = codec
        self.depth = 4 if "10" in chosen.format else 1

    def encode(self, seconds: float) -> list[tuple[list[bytes], float, bool]]:
        """Draw and encode a frame.

        Return NAL units, time, and True for a keyframe, of each frame that is ready.
        """
        frame = VideoFrame(self.width, self.height, self.codec.pix_fmt)
        stamp = int(time.monotonic() * 1000) & ((1 << BITS) - 1)
        noise = os.urandom(self.width)  # so that lost frames are seen
        blocks = b"".join(
            (
                b"".join(bytes((235 if stamp >> first + bit & 1 else 16,)) * BLOCK for bit in range(ACROSS))
                + noise[ACROSS * BLOCK :]
            )
            * BLOCK
            for first in range(0, BITS, ACROSS)
        )
        luma = blocks + noise * (self.height - 2 * len(blocks) // self.width) + blocks
        grey = bytes((128,)) * (self.width * self.height // 4)
        for plane, data in zip(frame.planes, (luma, grey, grey), strict=True):
            line = plane.width
            if self.depth > 1:
                data, line = b"".join((value * self.depth).to_bytes(2, "little") for value in data), 2 * line
            rows = (data[start : start + line].ljust(plane.line_size, b"\0") for start in range(0, len(data), line))
            plane.update(b"".join(rows))
        frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
        return [
            ([unit for unit in re.split(rb"\0\0\0?\x01", bytes(one)) if unit], one.pts / 1000, one.is_keyframe)
            for one in self.codec.encode(frame)
        ]

    def payloads(self, unit: bytes) -> list[bytes]:
        """Return the payloads of a NAL unit's packets."""
        if len(unit) <= MAX_PAYLOAD_BYTES:
            return [unit]
        if self.is_hevc:
            kind, head, body = unit[0] >> 1 & 0x3F, bytes((unit[0] & 0x81 | 49 << 1, unit[1])), unit[2:]
        else:
            kind, head, body = unit[0] & 0x1F, bytes((unit[0] & 0xE0 | 28,)), unit[1:]
        starts = range(0, len(body), MAX_PAYLOAD_BYTES)
        flags = {at: 0x80 * (at == starts[0]) | 0x40 * (at == starts[-1]) for at in starts}
        return [head + bytes((kind | flags[at],)) + body[at : at + MAX_PAYLOAD_BYTES] for at in starts]


class Client(threading.Thread):
    """An RTSP connection of a client."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.lock = threading.Lock()
        self.chosen: argparse.Namespace | None = None
        self.nonce = secrets.token_hex(8)
        self.udp: tuple[socket.socket, tuple[str, int]] | None = None
        self.heard_at = time.monotonic()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.sock, self.sock.makefile("rb") as file:
            while line := file.readline():
                lines = [line.decode().strip()]
                while word := file.readline().decode().strip():
                    lines.append(word)
                method, url, _ = lines[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])}
                self.chosen = self.chosen or parse_options(url)
                self.heard_at = time.monotonic()
                print(method, headers.get("authorization", "").partition(" ")[0], file=sys.stderr, flush=True)
                status, extra, body = self.respond(method, url, headers)
                head = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", *extra, f"Content-Length: {len(body)}"]
                self.send(("\r\n".join(head) + "\r\n\r\n").encode() + body)
                if method == "PLAY":
                    threading.Thread(target=self.push, daemon=True).start()

    def send(self, data: bytes) -> None:
        with self.lock:
            self.sock.sendall(data)

    def respond(self, method: str, url: str, headers: dict[str, str]) -> tuple[str, list[str], bytes]:
        chosen = self.chosen
        assert chosen is not None
        kinds = chosen.auth.split(",") if chosen.auth else []
        if kinds and method != "OPTIONS" and not self.is_authorized(kinds[0], method, headers.get("authorization", "")):
            return "401 Unauthorized", [f"WWW-Authenticate: {self.challenge(kind)}" for kind in kinds], b""
        if method == "DESCRIBE":
            name = "H265" if chosen.codec == "hevc" else "H264"
            sdp = (
                "v=0\r\ns=cam\r\nm=audio 0 RTP/AVP 0\r\na=control:track1\r\nm=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 {name}/90000\r\na=control:track2\r\n"
            )
            return "200 OK", ["Content-Type: application/sdp", f"Content-Base: {url}/"], sdp.encode()
        if method == "SETUP":
            transport = headers["transport"]
            if chosen.udp and "TCP" in transport:
                return "461 Unsupported Transport", [], b""
            if port := re.search(r"client_port=(\d+)", transport):
                self.udp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", int(port[1])))
            timeout = f";timeout={chosen.session:g}" if chosen.session else ""
            return "200 OK", [f"Transport: {transport}", f"Session: 77{timeout}"], b""
        return "200 OK", ["Session: 77", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"], b""

    def challenge(self, kind: str) -> str:
        algorithm = {"MD5": "", "Basic": ""}.get(kind, f', algorithm="{kind}", qop="auth"')
        scheme, nonce = ("Basic", "") if kind == "Basic" else ("Digest", f', nonce="{self.nonce}"')
        return f'{scheme} realm="the porch"{nonce}{algorithm}'

    def is_authorized(self, kind: str, method: str, header: str) -> bool:
        scheme, _, rest = header.partition(" ")
        if scheme != "Digest":
            return kind == "Basic" and rest == base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        fields = parse_keqv_list(parse_http_list(rest))
        if kind != fields.get("algorithm", "MD5").upper():
            return False
        between = [fields["nc"], fields["cnonce"], fields["qop"]] if "qop" in fields else []

        def digest(*words: str) -> str:
            return hashlib.new(kind.replace("-", ""), ":".join(words).encode()).hexdigest()

        hash_a1, hash_a2 = digest("admin", "the porch", PASSWORD), digest(method, fields["uri"])
        return fields["response"] == digest(hash_a1, fields["nonce"], *between, hash_a2)

    def push(self) -> None:
        """Send the video until the client has left."""
        with contextlib.suppress(OSError):
            chosen = self.chosen
            assert chosen is not None
            encoder = Encoder(chosen)
            time.sleep(chosen.late)
            begin = due = time.monotonic()
            count = itself = 0
            sequence, base = random.randrange(0x10000), random.randrange(1 << 32)
            while chosen.end_after is None or count < chosen.end_after:
                passed = due - begin
                for units, seconds, is_keyframe in encoder.encode(passed):
                    itself += 1
                    ticks = base + round(CLOCKS[chosen.clock](seconds, itself) * 90_000) & 0xFFFFFFFF
                    payloads = [encoder.payloads(unit) for unit in units]
                    packets = [(data, data is unit[-1]) for unit in payloads for data in unit]
                    for position, (data, ends_unit) in enumerate(packets):
                        is_marked = position == len(packets) - 1 or (chosen.slices > 1 and ends_unit)
                        head = bytes((0x80, 96 | 0x80 * is_marked)) + sequence.to_bytes(2) + ticks.to_bytes(4)
                        sequence = sequence + 1 & 0xFFFF
                        if not self.is_lost(itself, position, len(packets), is_keyframe):
                            self.send_packet(head + b"ODD1" + data)
                if chosen.session and time.monotonic() > self.heard_at + chosen.session:
                    break
                count += 1
                rate = chosen.night_rate if chosen.night_rate and passed > 4 else chosen.rate
                due += 1 / rate
                time.sleep(max(0.0, due - time.monotonic()))
            self.sock.shutdown(socket.SHUT_RDWR)

    def is_lost(self, number: int, position: int, count: int, is_keyframe: bool) -> bool:
        """Return True if this packet of this frame is lost."""
        assert self.chosen is not None
        turn = number % (2 * self.chosen.gop)
        match self.chosen.lose:
            case "frame":
                return not is_keyframe and turn in (3, self.chosen.gop + 6)
            case "first" | "middle" | "last":
                places = {"first": 0, "middle": count // 2, "last": count - 1}
                return not is_keyframe and count > 1 and turn == 4 and position == places[self.chosen.lose]
            case "keyframe":
                return is_keyframe and number > 1 and turn > self.chosen.gop and position == count - 1
        return False

    def send_packet(self, packet: bytes) -> None:
        if self.udp is not None:
            self.udp[0].sendto(packet, self.udp[1])
        else:
            self.send(b"$\0" + len(packet).to_bytes(2) + packet)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    server = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(f"listening {server.getsockname()[1]}", flush=True)
    while True:
        Client(server.accept()[0]).start()


if __name__ == "__main__":
    main()
