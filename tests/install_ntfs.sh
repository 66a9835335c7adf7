#!/bin/sh
# See that there is ntfs-3g for tests/snapshots/test_permissions.py, which skips what needs it where there is none: install
# the distribution's as root.
command -v ntfs-3g >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the package ntfs-3g ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends ntfs-3g >/dev/null && exit 0
fi
echo "ntfs-3g is not installed; the tests that need it are skipped. On Debian and Ubuntu:" >&2
echo "  sudo apt-get install ntfs-3g" >&2
