"""Repair of JPEGs that decoders understand, but not every program.

Only bytes are added that the standard defines; the compressed data is not changed.
"""

from typing import Final

from dog.images.file_structure import SOF, SOS, Segment
from dog.images.jpeg_decoding import DHT, SEQUENTIAL_HUFFMAN, add_missing_end

__all__ = ["repair"]

_DC_VALUES = bytes(range(12))
_STANDARD_TABLES: Final = {
    0x00: bytes.fromhex("00010501010101010100000000000000") + _DC_VALUES,
    0x01: bytes.fromhex("00030101010101010101010000000000") + _DC_VALUES,
    0x10: bytes.fromhex(
        "0002010303020403050504040000017d"
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a34353637"
        "38393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3"
        "a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
    ),
    0x11: bytes.fromhex(
        "00020102040403040705040400010277"
        "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536"
        "3738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999a"
        "a2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
    ),
}
"""The tables that MJPEG frames may omit (T.81, tables K.3 to K.6), by class and number (B.2.4.2): the numbers of codes
of 1 to 16 bits, then the values."""


def repair(data: bytes) -> bytes:
    """Add a JPEG's missing end marker and standard Huffman tables.

    Other images are unchanged. Raises BadImage if more is missing.
    """
    data, structure = add_missing_end(data)
    return data if structure.jpeg is None else _add_missing_tables(data, structure.jpeg.segments)


def _add_missing_tables(data: bytes, segments: list[Segment]) -> bytes:
    """Insert standard tables that a scan uses and no segment defines."""
    if not any(segment.marker in SEQUENTIAL_HUFFMAN for segment in segments if segment.marker in SOF):
        return data
    defined: set[int] = set()
    missing: set[int] = set()
    for segment in segments:
        body = data[segment.begin + 4 : segment.end]
        if segment.marker == DHT:
            defined |= _defined_tables(body)
        elif segment.marker == SOS:
            missing |= _used_tables(body) - defined
    tables = b"".join(bytes((table,)) + _STANDARD_TABLES[table] for table in sorted(missing & _STANDARD_TABLES.keys()))
    if not tables:
        return data
    scan = next(segment.begin for segment in segments if segment.marker == SOS)
    return b"".join((data[:scan], bytes((0xFF, DHT)), (2 + len(tables)).to_bytes(2), tables, data[scan:]))


def _defined_tables(body: bytes) -> set[int]:
    """Return the class and number of each table in a segment of tables."""
    defined, position = set(), 0
    while position + 17 <= len(body):
        defined.add(body[position])
        position += 17 + sum(body[position + 1 : position + 17])
    return defined


def _used_tables(body: bytes) -> set[int]:
    """Return the class and number of each table that a scan's header names."""
    count = body[0] if body else 0
    return {table for used in body[2 : 1 + 2 * count : 2] for table in (used >> 4, 0x10 | used & 15)}
