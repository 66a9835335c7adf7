#!/bin/sh
# See that there is an exiftool for tests/images/test_exif.py, which skips what needs it where there is none: install the
# distribution's as root.
command -v exiftool >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the package libimage-exiftool-perl ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends libimage-exiftool-perl >/dev/null && exit 0
fi
echo "exiftool is not installed; the tests that need it are skipped. On Debian and Ubuntu:" >&2
echo "  sudo apt-get install libimage-exiftool-perl" >&2
