#!/bin/sh
# See that there are nginx and Caddy for tests/web/test_forwarded.py and tests/attacks/test_smuggling.py, which skip what needs them where
# there are none. They are taken out of the distribution's packages, into .venv: installed, they would also start as servers.
bin="$PWD/.venv/bin"
for name in nginx caddy; do
    PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null 2>&1 && continue
    [ -x "$bin/$name" ] && continue
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Taking $name from the package $name ..."
        folder="$(mktemp -d)" || exit 0
        (
            cd "$folder" && apt-get update -qq &&
                apt-get download -qq -o APT::Sandbox::User=root "$name" >/dev/null &&
                dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x --wildcards "./usr/*bin/$name" && mv usr/*bin/"$name" "$bin/"
        ) && rm -rf "$folder" && continue
        rm -rf "$folder"
    fi
    echo "$name is not installed; the tests that need it are skipped. On Debian and Ubuntu: sudo apt-get install $name" >&2
done
exit 0
