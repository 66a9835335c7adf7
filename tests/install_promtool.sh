#!/bin/sh
# See that there is a promtool for tests/test_metrics.py, which skips what needs it where there is none. It is taken out
# of Debian's package prometheus, into .venv: installed, the package would also start a server on this machine.
command -v promtool >/dev/null 2>&1 && exit 0
[ -x .venv/bin/promtool ] && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "Taking promtool from the package prometheus ..."
bin="$PWD/.venv/bin"
folder="$(mktemp -d)" || exit 0
(
    cd "$folder" && apt-get update -qq &&
        apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && mv usr/bin/promtool "$bin/"
) || echo "promtool could not be taken from the package prometheus; the tests that need it are skipped." >&2
rm -rf "$folder"
