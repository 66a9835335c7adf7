"""Random WebSocket frames, some of them wrong."""

import itertools
import random
import struct

from tests.support.websocket_frames import CLOSE, PING, PONG, TEXT, build_client_frame, mutate

__all__ = ["make_frames"]

MESSAGE_BYTES = [
    b'{"type":"ping","request":"p"}',
    b'{"type":"resume"}',
    b'{"type":"capture"}',
    b'{"type":"auth","token":"t"}',
    b"{",
    '{"type":"ping","request":"grüß\N{DOG FACE}"}'.encode(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"",
    b"x" * 4096,
    b"x" * 4097,
]


def make_frames(chance: random.Random) -> bytes:
    """Return frames with some errors, cut off anywhere."""
    sent = b"".join(_make_message(chance) for _ in range(chance.randrange(1, 8)))
    match chance.randrange(4):
        case 0:
            sent = mutate(sent, [(chance.randrange(10_000), chance.randrange(256)) for _ in range(chance.randrange(4))])
        case 1:
            sent = sent[: chance.randrange(len(sent) + 1)]
        case 2:
            sent += chance.randbytes(chance.randrange(40))
    return sent


def _make_message(chance: random.Random) -> bytes:
    payload = chance.choice(MESSAGE_BYTES)
    opcode, width = TEXT, chance.choice((0, 0, 0, 16, 64))
    match chance.randrange(12):
        case 0:
            opcode = chance.choice((chance.randrange(16), 0x40 | TEXT, 0x20 | TEXT, 0x10 | TEXT))
        case 1:
            opcode, payload = CLOSE, struct.pack("!H", chance.choice((1000, 1001, 1005, 3000, 65535))) + payload[:50]
        case 2:
            return build_client_frame(chance.choice((PING, PONG)), chance.randbytes(chance.randrange(126)))
        case 3:
            return build_client_frame(
                chance.choice((PING, PONG, CLOSE)), payload, final=chance.random() < 0.5, width=width
            )
        case 4:
            return bytes((0x81, 0xFF)) + chance.randrange(2**64).to_bytes(8, "big") + payload[:20]
        case 5:
            return bytes((0x80 | opcode, len(payload) % 126)) + payload
        case 6 | 7:
            cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.randrange(4)))
            pieces = [payload[start:end] for start, end in itertools.pairwise((0, *cuts, len(payload)))]
            return b"".join(
                build_client_frame(0 if number else TEXT, piece, final=number == len(pieces) - 1)
                + (build_client_frame(PING, b"between") if chance.random() < 0.3 else b"")
                for number, piece in enumerate(pieces)
            )
    return build_client_frame(opcode, payload, key=chance.randbytes(4), width=width)
