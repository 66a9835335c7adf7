"""Time from a press on a phone until the photo is drawn, over 4G and 3G.

Chromium has the window of a phone and emulates the network, for the page's files and its WebSocket.
"""

from typing import Any

from benchmarks.bench import Bench
from benchmarks.processes import LOAD_CORE, Broken, Skipped, pinned
from benchmarks.rows import Row, Spread
from benchmarks.servers import dog, make_photo

__all__ = ["measure_phone"]

SIZE, MAX_BYTES = (4000, 3000), 3_700_000
"""A photo of a camera with 12 megapixels."""
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
NETWORKS = (
    ("4G (9 Mbit/s, 85 ms)", 9_000_000, 85, 1000),
    ("3G (1.6 Mbit/s, 150 ms)", 1_600_000, 150, 3000),
)
"""Name, bits per second, latency in ms, and the target in ms. Those of 3G are WebPageTest's "3G Fast"."""
TIMEOUT_MS = 60_000

PRESS = """() => new Promise((resolve) => {
    const frame = document.getElementById("frame");
    const last = () => [...frame.querySelectorAll(":scope > img:not([hidden])")].pop();
    const before = last();
    const began = performance.now();
    const look = () => {
        const image = last();
        if (image === before || !image.complete || !image.naturalWidth) requestAnimationFrame(look);
        else requestAnimationFrame(() => requestAnimationFrame(() => {
            const [file] = performance.getEntriesByName(image.currentSrc);
            resolve([performance.now() - began, file.encodedBodySize, image.currentSrc]);
        }));
    };
    document.getElementById("shutter").click();
    look();
})"""
"""Press, and return the ms until the photo is drawn, with the size and the URL of its file."""


def measure_phone(bench: Bench) -> list[Row]:
    try:
        from playwright.sync_api import Error, sync_playwright

        from tests.browser.windows import ARGUMENTS, find_chromium
    except ImportError as error:
        raise Skipped(f"{error.name} is not installed (make bench installs it)") from error
    program = find_chromium()
    if program is None:
        raise Skipped("Chromium is not installed (Debian: chromium)")
    photo = make_photo(bench.folder / "large.jpg", SIZE, MAX_BYTES)
    with pinned(LOAD_CORE), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            return [_measure(bench, browser, photo, *network) for network in NETWORKS]
        except Error as error:
            raise Broken(f"the page failed: {error}") from error
        finally:
            browser.close()


def _measure(bench: Bench, browser: Any, photo: Any, name: str, bits: int, latency: int, target: float) -> Row:
    rounds = bench.rounds(15, 4)
    found = []
    with dog(bench, f"exec cp '{photo}' \"$1\"") as server:
        context = browser.new_context(reduced_motion="reduce", **PHONE)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"http://127.0.0.1:{server.port}")
        page.wait_for_selector('#badge[data-connection="live"]')
        network = {"offline": False, "latency": latency, "downloadThroughput": bits / 8, "uploadThroughput": bits / 8}
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", network)
        for number in range(rounds + 1):
            found.append(page.evaluate(PRESS))
            server.wait_until_idle()
            bench.show_progress(name, number, rounds)
        context.close()
    times, sizes, urls = zip(*found[1:], strict=True)  # without the first, which warms up
    if not all(url.endswith("/1280.jpg") for url in urls):
        raise Broken(f"the phone loaded {urls[0]}")
    spread = Spread.of(times)
    return Row(
        label=f"from a press until a photo of 12 megapixels is drawn on a phone, {name}",
        dog=spread,
        measured_unit="ms",
        value=spread.median,
        unit="ms",
        target=target,
        note=f"the phone loads {max(sizes):,} of {photo.stat().st_size:,} bytes",
    )
