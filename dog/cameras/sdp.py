"""The video of a stream, by its session description (SDP, RFC 8866)."""

import base64
import binascii
import re
from dataclasses import dataclass

from dog.errors import CameraOffline

__all__ = ["START_CODE", "VideoDescription", "find_video"]

CODECS = {"H264": "h264", "H265": "hevc", "HEVC": "hevc", "JPEG": "mjpeg"}
"""ffmpeg's names of the supported codecs, by their names in RTP."""
STATIC_TYPES = {26: "JPEG", 31: "H261", 32: "MPV", 33: "MP2T", 34: "H263"}
"""Payload types with a fixed meaning (RFC 3551)."""
PARAMETER_SETS = ("sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets")
START_CODE = b"\0\0\0\1"
"""The bytes before each NAL unit, as decoders expect them (Annex B of H.264 and H.265)."""


@dataclass(frozen=True, slots=True)
class VideoDescription:
    """A video that a camera offers.

    `codec` is ffmpeg's name. `control` is the URL for SETUP, relative to the stream's, and `session_control` that of
    the whole stream. `parameter_sets` are NAL units with start codes.
    """

    codec: str
    payload_type: int
    control: str
    session_control: str
    parameter_sets: bytes = b""


def find_video(text: str) -> VideoDescription:
    """Return the first supported video. Raises CameraOffline without one."""
    session, *sections = re.split(r"^m=", text, flags=re.MULTILINE)
    formats: list[str] = []
    for section in sections:
        kind, _, _, *types = section.splitlines()[0].split() + [""] * 3
        if kind != "video":
            continue
        for payload_type in (int(one) for one in types if one.isdigit()):
            named = re.search(rf"^a=rtpmap:{payload_type}\s+([^/\s]+)", section, re.MULTILINE)
            name = named[1].upper() if named else STATIC_TYPES.get(payload_type, "in an unknown format")
            if name in CODECS:
                return VideoDescription(
                    codec=CODECS[name],
                    payload_type=payload_type,
                    control=_control(section),
                    session_control=_control(session),
                    parameter_sets=_parameter_sets(section, payload_type),
                )
            formats.append(name)
    if formats:
        raise CameraOffline(f"The camera's video is {formats[0]}. Set it to H.264, H.265 or MJPEG.")
    raise CameraOffline("The camera's URL gives no video. Use the path of its video.")


def _control(section: str) -> str:
    found = re.search(r"^a=control:\s*(\S*)", section, re.MULTILINE)
    return "" if found is None or found[1] == "*" else found[1]


def _parameter_sets(section: str, payload_type: int) -> bytes:
    """Return the parameter sets of H.264 or H.265, without malformed ones."""
    found = re.search(rf"^a=fmtp:{payload_type}\s+(.*)", section, re.MULTILINE)
    pairs = (parameter.partition("=") for parameter in (found[1] if found else "").split(";"))
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    units = b""
    for word in ",".join(values.get(name, "") for name in PARAMETER_SETS).split(","):
        try:
            unit = base64.b64decode(word)
        except binascii.Error:
            continue
        units += START_CODE + unit if unit else b""
    return units
