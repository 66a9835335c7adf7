"""The page by HTTPS in Chromium, with a certificate of `dog cert`."""

import base64
import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Browser, Error, async_playwright

from tests.browser.conftest import OpenWindow
from tests.browser.windows import ARGUMENTS, NAMES, Window
from tests.support.server_process import ServerProcess, run_dog

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with a certificate of `dog cert`."""
    made = run_dog("cert", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    flags = ("--tls-certificate", "dog-certificate.pem", "--tls-key", "dog-key.pem")
    process = ServerProcess(*flags, cwd=tmp_path).launch()
    process.url = process.wait_for(r"D\.O\.G\. is at (https://\S+)", 30)[1]
    yield process
    process.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def trusting_browser(server: ServerProcess) -> AsyncIterator[Browser]:
    """A Chromium that trusts only the key of the server's certificate."""
    certificate = x509.load_pem_x509_certificate((server.cwd / "dog-certificate.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(key).digest()).decode()
    path = next(filter(None, map(shutil.which, NAMES)))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, f"--ignore-certificate-errors-spki-list={fingerprint}"]
        )
        yield browser
        await browser.close()


async def test_browser_that_trusts_the_certificate_uses_wss(server: ServerProcess, trusting_browser: Browser) -> None:
    context = await trusting_browser.new_context(reduced_motion="reduce")
    window = Window(await context.new_page())
    sockets: list[str] = []
    window.page.on("websocket", lambda opened: sockets.append(opened.url))
    await window.page.goto(server.url)
    await window.wait_until_live()
    await window.shutter.click()
    await window.wait_for_photo()
    assert sockets
    assert {url.split(":")[0] for url in sockets} == {"wss"}
    assert await window.read("isSecureContext")
    assert window.unaccepted == []
    await context.close()


async def test_browser_warns_of_an_untrusted_certificate(
    server: ServerProcess, browser: Browser, open_window: OpenWindow
) -> None:
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        await open_window(server.url)
