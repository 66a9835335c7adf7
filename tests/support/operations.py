"""The operations of dog.web.routes: their names and paths."""

import re

from dog.web.apidocs.operation import PATH_PARAMS, Operation

__all__ = ["PUBLIC_OPERATIONS", "fill_path", "operation_name"]


def operation_name(operation: Operation) -> str:
    """Return method and path, such as "GET /healthz"."""
    return f"{operation.method} {operation.path}"


def fill_path(path: str, **parts: str) -> str:
    """Return the path with these parts, and examples for the others."""
    return re.sub(r"\{(\w+)\}", lambda name: parts.get(name[1], str(PATH_PARAMS[name[1]].example)), path)


PUBLIC_OPERATIONS = {
    "GET /api/",
    "GET /api/visitor",
    "GET /enter/{invitation}",
    "GET /favicon.ico",
    "GET /healthz",
    "GET /login",
    "GET /shared/{token}",
    "GET /shared/{token}/latest.jpg",
    "GET /shared/{token}/picture.{suffix}",
    "GET /shared/{token}/preview.mjpg",
    "GET /shared/{token}/{width}.jpg",
    "GET /snapshots/",
    "GET /static/{name}",
    "GET /ws",
    "POST /enter/{invitation}",
    "POST /login",
    "POST /logout",
}
"""Operations without a role: logins, share links, redirects and health. /ws checks the role itself."""
