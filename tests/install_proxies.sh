#!/bin/sh
# Get nginx, Caddy, Apache and HAProxy for tests/support/sites.py. Tests that need a missing one are skipped. They are
# taken out of the distribution's packages, into .venv: installed, they would also start as servers. Apache and HAProxy
# need libraries, which are in .venv/proxies, too.
bin="$PWD/.venv/bin"
root="$PWD/.venv/proxies"

unpack() { # unpack FOLDER PACKAGE...: download the packages, and unpack them into the folder
    folder="$1" && shift
    downloads="$(mktemp -d)" || return 1
    (
        cd "$downloads" && apt-get update -qq &&
            apt-get download -qq -o APT::Sandbox::User=root "$@" >/dev/null &&
            for package in *.deb; do dpkg-deb --extract "$package" "$folder" || exit 1; done
    )
    status=$?
    rm -rf "$downloads"
    return $status
}

for name in nginx caddy apache2 haproxy; do
    PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null 2>&1 && continue
    [ -x "$bin/$name" ] && continue
    case "$name" in
    apache2) packages="apache2-bin libapr1 libaprutil1" ;;
    haproxy) packages="haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1" ;;
    *) packages="$name" ;;
    esac
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Taking $name from the package ${packages%% *} ..."
        # shellcheck disable=SC2086 -- several packages
        unpack "$root" $packages && (cd "$bin" && ln -sf ../proxies/usr/*bin/"$name" .) && continue
    fi
    echo "$name is not installed; the tests that need it are skipped. On Debian and Ubuntu: sudo apt-get install $name" >&2
done
exit 0
