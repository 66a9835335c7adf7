"""The video of a session description."""

import pytest

from dog.cameras.sdp import VideoDescription, find_video
from dog.errors import CameraOffline

AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


def describe(*lines: str, before: str = AUDIO) -> str:
    return f"v=0\r\ns=cam\r\na=control:*\r\n{before}" + "".join(f"{line}\r\n" for line in lines)


def test_the_first_supported_video_is_found() -> None:
    text = describe(
        "m=video 0 RTP/AVP 97", "a=rtpmap:97 MP4V-ES/90000", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H265/90000",
        "a=control:track3",
    )  # fmt: skip
    assert find_video(text) == VideoDescription("hevc", 96, "track3", "")


def test_jpeg_needs_no_map_and_the_session_may_have_a_url() -> None:
    text = "v=0\na=control:rtsp://porch/all\nm=video 0 RTP/AVP 26\na=control:trackID=2\n"
    assert find_video(text) == VideoDescription("mjpeg", 26, "trackID=2", "rtsp://porch/all")


def test_parameter_sets_get_start_codes_and_malformed_ones_are_left_out() -> None:
    fmtp = "a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0I=,a,aM4=;profile-level-id=42"
    video = find_video(describe("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", fmtp))
    assert video.parameter_sets == b"\0\0\0\1\x67\x42\0\0\0\1\x68\xce"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "gives no video"),
        (["m=video 0 RTP/AVP 98", "a=rtpmap:98 VP8/90000"], r"is VP8\. Set it to H\.264"),
        (["m=video 0 RTP/AVP 98"], "is in an unknown format"),
        (["m=video"], "gives no video"),
    ],
)
def test_without_a_supported_video_the_message_says_why(lines: list[str], message: str) -> None:
    with pytest.raises(CameraOffline, match=message):
        find_video(describe(*lines))
