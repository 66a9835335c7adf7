"""Descriptions and examples of the headers of responses."""

from typing import Annotated, Any

from dog.protocol import EXAMPLE_ID, EXAMPLE_TIME, Time, doc

__all__ = ["HEADERS"]

HEADERS: dict[str, Any] = {
    "Accept-Ranges": Annotated[str, doc("bytes", "bytes")],
    "Age": Annotated[int, doc("Seconds since the exposure began.", 12)],
    "Cache-Control": Annotated[str, doc("The rules for caches.", "no-cache")],
    "Content-Disposition": Annotated[str, doc("The name of the file.", 'inline; filename="dog-20261122-111438.jpg"')],
    "Content-Range": Annotated[str, doc("The range of these bytes.", "bytes 0-1023/252582")],
    "Cross-Origin-Resource-Policy": Annotated[str, doc("Pages of any site may show it.", "cross-origin")],
    "ETag": Annotated[str, doc("The version of the content.", f'"{EXAMPLE_ID}"')],
    "Last-Modified": Annotated[str, doc("The time when the exposure began.", "Sun, 22 Nov 2026 11:14:38 GMT")],
    "Location": Annotated[str, doc("The URL of the result.", f"/snapshots/{EXAMPLE_ID}")],
    "Preference-Applied": Annotated[str, doc("respond-async", "respond-async")],
    "Retry-After": Annotated[int, doc("Seconds to wait before the next try.", 1)],
    "Set-Cookie": Annotated[str, doc("The id of your last snapshot, or your session.", f"dog_snapshot={EXAMPLE_ID}")],
    "X-Captured-At": Annotated[Time, doc("The time when the exposure began.", EXAMPLE_TIME)],
    "X-Outcome": Annotated[str, doc("The way the request was served: started, joined, queued or cached.", "started")],
    "X-Robots-Tag": Annotated[str, doc("Asks search engines not to list it.", "noindex")],
    "X-Snapshot": Annotated[str, doc("The id of the snapshot.", EXAMPLE_ID)],
}
