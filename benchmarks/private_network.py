"""A network namespace with another client address than 127.0.0.1.

The service does not limit 127.0.0.1, and a flood needs an address that it limits.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

from benchmarks.processes import Skipped

__all__ = ["OTHER_CLIENT", "private_network"]

OTHER_CLIENT = "192.0.2.7"
"""The address in the namespace. Connections to it also come from it."""
CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def private_network() -> Iterator[None]:
    """Run this thread, and the processes that it starts, in a new network."""
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ip is None:
        raise Skipped("ip is not installed (Debian: iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            raise Skipped(f"no network namespace can be made here ({os.strerror(ctypes.get_errno())}). Run it as root")
        try:
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            subprocess.run([ip, "address", "add", f"{OTHER_CLIENT}/32", "dev", "lo"], check=True)
            yield
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)
