"""An HTTP camera on 127.0.0.1, as a program.

Run it with `python -m tests.support.sources.http_camera [--port PORT] [--rate FPS] ...`. It prints `listening PORT`
when it listens. /stream is a stream of JPEGs, /still one JPEG, /page a web page. /elsewhere redirects to /stream,
/endless/N redirects without end, /large is larger than any image, /trickle arrives byte by byte. Each frame has a JPEG
comment `seq=N t=SECONDS`: its number, and its time by this machine's monotonic clock.

Commands on standard input, each echoed when it is done: `freeze`: stop the frames; `thaw`: restart; `hold`: frames are
made, but not sent; `release`: send those at once; `cut N`: the next N frames lack their second half; `status N`: every
response has this status, 0 for the usual one.
"""

import argparse
import contextlib
import hashlib
import http.server
import io
import queue
import re
import secrets
import sys
import threading
import time
from base64 import b64encode
from urllib.request import parse_http_list, parse_keqv_list

from PIL import Image

BOUNDARIES = {
    "plain": ("frame", b"--frame\r\n", b"\r\n"),
    "doubled": ("--frame", b"--frame\r\n", b"\r\n"),  # the headers have the dashes already
    "quoted": ('"--frame"', b"----frame\r\n", b"\r\n"),
    "other": ("something", b"--frame\r\n", b"\r\n"),  # the headers are wrong
    "lf": ("frame", b"--frame\n", b"\n"),
    "none": ("frame", b"", b""),  # headers and frames without delimiters
}
"""The boundary in the headers, and the bytes before and after each part."""

COLOURS = [(200, 60, 60), (60, 200, 60), (60, 60, 200)]


class Camera:
    """A camera that makes frames and sends them to all connected clients."""

    def __init__(self, rate: float) -> None:
        self.interval = 1 / rate
        self.running = threading.Event()
        self.running.set()
        self.cut = 0
        self.status = 0
        self.held: list[bytes] | None = None
        self.viewers: list[queue.Queue[bytes]] = []
        self.lock = threading.Lock()
        self.count = 0
        self.pictures = [make_jpeg(colour) for colour in COLOURS]

    def run(self) -> None:
        while True:
            self.running.wait()
            frame = self.make()
            with self.lock:
                if self.held is not None:
                    self.held.append(frame)
                else:
                    self.send(frame)
            time.sleep(self.interval)

    def make(self) -> bytes:
        with self.lock:
            self.count += 1
            note = f"seq={self.count} t={time.monotonic():.6f}".encode()
            picture = self.pictures[self.count % len(self.pictures)]
            frame = picture[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2) + note + picture[2:]
            if self.cut:
                self.cut -= 1
                frame = frame[: len(frame) // 2]
            return frame

    def send(self, frame: bytes) -> None:
        for viewer in self.viewers:
            viewer.put(frame)

    def execute(self, word: str, number: int) -> None:
        match word:
            case "freeze":
                self.running.clear()
            case "thaw":
                self.running.set()
            case "hold":
                with self.lock:
                    self.held = []
            case "release":
                with self.lock:
                    for frame in self.held or ():
                        self.send(frame)
                    self.held = None
            case "cut":
                with self.lock:
                    self.cut = number
            case "status":
                self.status = number


def make_jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (64, 48), colour)
    image.paste((255, 255, 255), (8, 8, 24, 24))
    image.save(file, "JPEG")
    return file.getvalue()


def make_handler(camera: Camera, chosen: argparse.Namespace) -> type[http.server.BaseHTTPRequestHandler]:
    nonce = secrets.token_hex(8)

    def is_authorized(header: str, path: str) -> bool:
        if chosen.user is None:
            return True
        scheme, _, rest = header.partition(" ")
        if scheme == "Basic":
            return chosen.auth == "basic" and rest == b64encode(f"{chosen.user}:{chosen.password}".encode()).decode()
        if scheme != "Digest" or chosen.auth == "basic":
            return False
        fields = parse_keqv_list(parse_http_list(rest))
        hashing = {"md5": hashlib.md5, "sha-256": hashlib.sha256}[chosen.auth]

        def digest(*words: str) -> str:
            return hashing(":".join(words).encode()).hexdigest()

        hash_a1, hash_a2 = digest(chosen.user, "the porch", chosen.password), digest("GET", path)
        between = [fields["nc"], fields["cnonce"], fields["qop"]] if chosen.auth == "sha-256" else []
        return fields["uri"] == path and fields["response"] == digest(hash_a1, nonce, *between, hash_a2)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.answer()

        def answer(self) -> None:
            if not is_authorized(self.headers.get("Authorization", ""), self.path):
                with tries_lock:
                    tries[bool(self.headers.get("Authorization"))] += 1
                    print(f"refused {tries[True]}", file=sys.stderr, flush=True)
                self.request_password()
            elif camera.status:
                self.send_head(camera.status, "text/plain", 0)
            elif self.path.partition("?")[0] == "/stream":
                self.stream()
            elif self.path == "/still":
                frame = camera.make()
                self.send_head(200, "image/jpeg", len(frame))
                self.wfile.write(frame)
            elif self.path == "/page":
                self.send_head(200, "text/html; charset=utf-8", 0)
            elif self.path == "/large":
                self.send_head(200, "image/jpeg", 1 << 30)
                self.wfile.write(camera.make()[:-2])
                while True:
                    self.wfile.write(bytes(1 << 20))
            elif self.path == "/trickle":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nX-Long: ")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            elif self.path == "/elsewhere":
                self.redirect("/stream")
            elif self.path.startswith("/endless/"):
                self.redirect(f"/endless/{int(self.path.rpartition('/')[2]) + 1}")
            else:
                self.send_head(404, "text/plain", 0)

        def send_head(self, status: int, kind: str, length: int | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()

        def redirect(self, path: str) -> None:
            self.send_response(302)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def request_password(self) -> None:
            self.send_response(401)
            challenges = {
                "basic": ['Basic realm="the porch"'],
                "md5": [f'Digest realm="the porch", nonce="{nonce}"'],  # as RFC 2069 has it
                "sha-256": [
                    f'Digest realm="the porch", nonce="{nonce}", qop="auth,auth-int", algorithm={algorithm}'
                    for algorithm in ("MD5", "SHA-256")
                ],
            }
            for challenge in challenges[chosen.auth]:
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def stream(self) -> None:
            boundary, before, after = BOUNDARIES[chosen.boundary]
            mine: queue.Queue[bytes] = queue.Queue()
            self.send_head(200, f"multipart/x-mixed-replace; boundary={boundary}", None)
            with camera.lock:
                camera.viewers.append(mine)
            try:
                while True:
                    frame = mine.get()
                    end = before[-2:] if before.endswith(b"\r\n") else b"\n"
                    length = b"" if chosen.no_length else b"Content-Length: %d%s" % (len(frame), end)
                    self.wfile.write(before + b"Content-Type: image/jpeg" + end + length + end + frame + after)
            finally:
                with camera.lock:
                    camera.viewers.remove(mine)

        def log_message(self, *_arguments: object) -> None:
            pass

    tries = {False: 0, True: 0}
    tries_lock = threading.Lock()
    return Handler


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--rate", type=float, default=20)
    arguments.add_argument("--boundary", choices=BOUNDARIES, default="plain")
    arguments.add_argument("--no-length", action="store_true")
    arguments.add_argument("--user")
    arguments.add_argument("--password")
    arguments.add_argument("--auth", choices=["basic", "md5", "sha-256"], default="basic")
    chosen = arguments.parse_args()
    camera = Camera(chosen.rate)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", chosen.port), make_handler(camera, chosen))
    threading.Thread(target=camera.run, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening {server.server_port}", flush=True)
    for line in sys.stdin:
        if found := re.fullmatch(r"(\w+)(?: (\d+))?\s*", line):
            camera.execute(found[1], int(found[2] or 0))
            print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
