"""Messages of a server that a test plays."""

__all__ = ["make_body", "make_hello"]


def make_hello(**changes: object) -> dict[str, object]:
    return {
        "type": "hello",
        "protocol": "dog.v1",
        "server": "dog/9",
        "at": "2026-11-22T11:14:38.123Z",
        "epoch": 7,
        "seq": 0,
        "cursor": "7-0",
        "recovered": False,
        "cameras": [],
        "viewers": 1,
    } | changes


def make_body(number: int, **changes: object) -> dict[str, object]:
    return {
        "camera": "main",
        "capture": number,
        "snapshot": f"p{number}",
        "url": "/x.jpg",
        "page": "/x",
        "thumbnail": "/t",
        "captured_at": "2026-11-22T11:14:38.123Z",
        "width": 1,
        "height": 1,
        "bytes": 1,
        "content_type": "image/jpeg",
    } | changes
