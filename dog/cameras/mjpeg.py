"""Images in an HTTP body, in whatever way a camera frames them.

Pure: bytes in, images out. A JPEG is found by its own markers, so missing delimiters, wrong lengths, odd headers and
boundaries inside a JPEG do not matter. Headers of parts count only for a JPEG without an end, and for other images.
"""

import re
from dataclasses import dataclass

from dog.errors import BadImage, CameraOffline
from dog.images import MAX_IMAGE_BYTES
from dog.images.file_structure import walk_structure

__all__ = ["JPEG_START", "PART_HEADER", "ImageParser", "ParsedImage", "check_size", "not_an_image", "strip_header"]

MAX_GAP_BYTES = 16 * 1024
"""Bytes between two images: the headers of a part have less than 1 KiB."""
JPEG_START = b"\xff\xd8\xff"
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""Markers with a length, SOI and EOI; neither stuffed bytes nor restart markers."""
_SOI, _EOI = 0xD8, 0xD9
_OTHER_CONTENT = re.compile(rb"\n\r?\n(?=[^\s\xff])")
"""The end of a part's headers, before something that is not a JPEG."""
_OTHER_IMAGE = re.compile(rb"\x89PNG|RIFF....WEBP|GIF8", re.DOTALL)
_TEXT_TYPE = re.compile(rb"^content-type\s*:\s*text/", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length\s*:\s*(\d{1,9})\s*$", re.IGNORECASE | re.MULTILINE)
PART_HEADER = re.compile(rb"\s*(?:--|[\w-]+\s*:)")
"""The start of a multipart body, also without the first delimiter."""
_HEADER_END = re.compile(rb"\n\r?\n|\Z")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_OTHER_TYPE = re.compile(r"(audio|video|message)/|.*(json|xml|mpegurl)$")
_DELIMITER = re.compile(rb"^--[^\r\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ParsedImage:
    """An image; `is_late` if it ended only when the next part began."""

    data: bytes
    is_late: bool


class ImageParser:
    """A parser of the images in a body. `add` bytes, then take the images.

    The declared type is only for messages.
    """

    def __init__(self, content_type: str = "") -> None:
        self.has_begun = False
        """True if the buffer begins with an image that has no end yet."""
        self._content_type = content_type
        self._buffer = bytearray()
        self._searched = 0
        self._is_jpeg = True
        self._length = 0
        self._delimiter = b""
        self._has_lines = self._is_appended = False

    def add(self, data: bytes) -> None:
        self._buffer += data

    @property
    def rest(self) -> bytes:
        """The bytes after the last image."""
        return bytes(self._buffer)

    def next_image(self) -> ParsedImage | None:
        """Return the next image, or None until it is whole.

        Raises CameraOffline if the bytes contain no image, or one without an end.
        """
        while self.has_begun or self._find_start():
            end, is_late = self._find_jpeg_end() if self._is_jpeg else self._find_part_end()
            if end is None:
                check_size(len(self._buffer))
                return None
            image = ParsedImage(bytes(self._buffer[:end]), is_late)
            del self._buffer[:end]
            self.has_begun, self._searched = False, 0
            if not self._is_appended:
                return image
        return None

    def _find_start(self) -> bool:
        """Find the start of an image, and remove what is before it."""
        start = self._buffer.find(JPEG_START, max(0, self._searched - 2))
        other = self._find_other_part(start if start >= 0 else len(self._buffer))
        self._searched = len(self._buffer)
        self._is_jpeg = other < 0
        if other >= 0:
            start = other
        if start < 0:
            if len(self._buffer) > MAX_GAP_BYTES:
                raise not_an_image(self.rest, self._content_type)
            return False
        gap = bytes(self._buffer[:start])
        lengths = _LENGTH.findall(gap)
        self._length = int(lengths[-1]) if lengths else 0
        delimiters = _DELIMITER.findall(gap)
        self._delimiter = delimiters[-1] if delimiters else self._delimiter
        # In a stream with headers, a JPEG that follows another one directly is its preview.
        self._is_appended = self._has_lines and not gap
        self._has_lines = self._has_lines or b"\n" in gap
        del self._buffer[:start]
        self._searched = 2
        self.has_begun = True
        return True

    def _find_other_part(self, end: int) -> int:
        """Return the position of content that is not a JPEG, or -1.

        The part must have a length, or begin as an image. Text, such as "please wait", is skipped.
        """
        for match in _OTHER_CONTENT.finditer(self._buffer, 0, end):
            header = self._buffer[: match.end()]
            if not _TEXT_TYPE.search(header) and (
                _LENGTH.search(header) or _OTHER_IMAGE.match(self._buffer, match.end())
            ):
                return match.end()
        return -1

    def _find_jpeg_end(self) -> tuple[int | None, bool]:
        """Return the end of the JPEG, and True if the next part had to begin."""
        end, is_late = self._walk()
        if self._length and (end is None or end > self._length) and self._is_delimited(self._length):
            return self._length, True  # it was cut off, or has no end marker
        return end, is_late

    def _walk(self) -> tuple[int | None, bool]:
        """Walk over segments and scans (ITU-T T.81, annex B) to the end marker."""
        while match := _JPEG_MARKER.search(self._buffer, self._searched):
            marker, begin = match[1][0], match.start()
            if marker == _EOI:
                return match.end(), False
            if marker == _SOI:  # the next one: this one was cut off
                return self._trim(begin), True
            if len(self._buffer) < begin + 4:
                self._searched = begin
                return None, False
            self._searched = begin + 2 + max(2, int.from_bytes(self._buffer[begin + 2 : begin + 4]))
        self._searched = max(self._searched, len(self._buffer) - 1)
        return None, False

    def _trim(self, end: int) -> int:
        """Return the end without the headers of the next part."""
        delimiter = self._buffer.rfind(b"\n--", max(2, end - MAX_GAP_BYTES), end)
        return end if delimiter < 0 else delimiter - (self._buffer[delimiter - 1 : delimiter] == b"\r")

    def _is_delimited(self, end: int) -> bool:
        """Return True if the delimiter of the next part is at this position."""
        following = self._buffer[end : end + len(self._delimiter) + 2].lstrip()
        return bool(self._delimiter) and following.startswith(self._delimiter)

    def _find_part_end(self) -> tuple[int | None, bool]:
        """Return the end of an image that is not a JPEG, by the part's headers."""
        if self._length:
            return (self._length if len(self._buffer) >= self._length else None), False
        mark = b"\n" + (self._delimiter or b"--")
        end = self._buffer.find(mark, max(0, self._searched - len(mark)))
        self._searched = len(self._buffer)
        return (None if end < 0 else self._trim(end + len(mark))), True


def check_size(size: int) -> None:
    """Raise CameraOffline if an image is too large."""
    if size > MAX_IMAGE_BYTES:
        raise CameraOffline(
            f"The camera sends an image of more than {MAX_IMAGE_BYTES // 1024**2} MiB. Set it to a smaller size."
        )


def strip_header(body: bytes) -> bytes:
    """Return a body without the header of its first part."""
    header = PART_HEADER.match(body)
    end = header and _HEADER_END.search(body, header.end())
    return body[end.end() :] if end else body


def not_an_image(data: bytes, content_type: str = "") -> CameraOffline:
    """Explain what the camera sent where an image must be."""
    data = strip_header(data) or data
    if _PAGE.match(data) or (not data and content_type == "text/html"):
        return CameraOffline(
            "The camera's URL gives a web page, not an image. Use the path of the image or the stream.",
            detail=data[:200].decode("latin-1"),
        )
    if _OTHER_TYPE.match(content_type):
        return CameraOffline(f"The camera's URL gives {content_type}, not JPEGs or an image. Use another path.")
    try:
        walk_structure(data)
    except BadImage as error:
        return CameraOffline(error.message, detail=error.detail)
    return CameraOffline("The camera's stream has no image where one must be. Use another path.")
