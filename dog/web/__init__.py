"""The HTTP service. app.py creates its parts, the others serve requests.

It uses undocumented parts of aiohttp (connections/aiohttp_internals.py), so it runs only with the aiohttp that it was
compared with. `dog.client` works with others too.
"""

import aiohttp

from dog.errors import StartError, install_command

if not aiohttp.__version__.startswith("3.14."):
    raise StartError(
        f"The service needs aiohttp 3.14, and {aiohttp.__version__} is installed. Install 3.14:"
        f" {install_command('aiohttp~=3.14.0')}"
    )
