#!/bin/sh
# See that there is GStreamer's RTSP server for the tests of network cameras, which skip what needs it where there is none:
# install the distribution's as root. It runs in the distribution's own Python, for which the packages are made.
check="/usr/bin/python3 tests/support/sources/rtsp_camera.py check"
$check >/dev/null 2>&1 && exit 0
packages="gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing GStreamer's RTSP server ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null && $check && exit 0
fi
echo "GStreamer's RTSP server is not installed; the tests that need it are skipped. On Debian and Ubuntu:" >&2
echo "  sudo apt-get install" $packages >&2
