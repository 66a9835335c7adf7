#!/bin/sh
# make install: the service as a virtual environment of its own, its unit for systemd, and an example of its settings.
#
#   deploy/install.sh PYTHON PREFIX SYSTEM      DESTDIR goes before each path, for those who make packages
#
# Versions and hashes are those of requirements/. Settings that are there stay as they are.
set -eu
export PYTHONDONTWRITEBYTECODE=1 # bytecode would name DESTDIR; compileall below writes it
umask 022 # whoever installs may keep theirs to themselves; the service is another user
python=$1 prefix=$2 system=$3
root=${DESTDIR-}
lib=$prefix/lib/dog

case $prefix in
/*) ;;
*) echo "PREFIX is $prefix; write a path that begins with /" >&2 && exit 2 ;;
esac
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "This installs for everybody, so it has to be root: sudo make install" >&2
    exit 2
fi
at_home=$("$python" - <<'END'
import pathlib, pwd, sys
people = [user for user in pwd.getpwall() if user.pw_uid == 0 or 1000 <= user.pw_uid < 60000]
homes = {pathlib.Path(user.pw_dir) for user in people} - {pathlib.Path("/")}
place = pathlib.Path(sys.base_prefix).resolve()
print(place if homes & {place, *place.parents} else "")
END
)
if [ -n "$at_home" ]; then
    echo "The Python in $at_home is in a home folder, which the service is shut off from;" \
        "name another: make install PYTHON=/usr/bin/python3" >&2
fi

building=$(mktemp -d)
before=$root$lib.before # what is installed now, until the new one is whole
finish() {
    if [ -d "$before" ]; then rm -rf "$root$lib" && mv "$before" "$root$lib"; fi
    rm -rf "$building"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }

echo "Installing into $root$lib ..."
for name in dog dog_camera.py templates static camera_access.sh README.md LICENSE setup.cfg pyproject.toml; do
    cp -R "$name" "$building/" # setuptools leaves things beside what it builds
done
pip wheel --no-deps --no-build-isolation --wheel-dir "$building/wheel" "$building"
rm -rf "$before"
upgrade=
if [ -d "$root$lib" ]; then upgrade=yes && mv "$root$lib" "$before"; fi
# Picamera2 is a package of the distribution. All other packages are the service's own, as on other machines.
inherited=$("$python" -c 'import importlib.util as i; print(*["--system-site-packages"] * bool(i.find_spec("picamera2")))')
# shellcheck disable=SC2086 # no argument or one
"$python" -m venv --without-pip $inherited "$root$lib"
into() { pip --python "$root$lib/bin/python" install --no-compile --ignore-installed "$@"; }
into --require-hashes --requirement requirements/service.txt
into --no-deps --no-index "$building"/wheel/dog_camera-*.whl

# What is run knows where it will be, and nothing else is there to be run.
find "$root$lib/bin" -type f -exec rm -f {} +
printf '#!%s -I\nimport sys\n\nfrom dog.cli import main\n\nsys.exit(main())\n' "$lib/bin/python" >"$root$lib/bin/dog"
chmod 755 "$root$lib/bin/dog"
ln -s dog "$root$lib/bin/dog-camera"
sed "s|$root$lib|$lib|" "$root$lib/pyvenv.cfg" >"$building/pyvenv.cfg"
cp "$building/pyvenv.cfg" "$root$lib/pyvenv.cfg"
rm -f "$root$lib"/lib/python*/site-packages/dog_camera-*.dist-info/direct_url.json
# The tests of packages and the lexers of Pygments are two fifths of the code. The service imports neither.
unused='/site-packages/.*/(tests|lexers)/'
"$root$lib/bin/python" -m compileall -q -j 0 -x "$unused" ${root:+-s "$root"} "$root$lib"/lib || true # some packages have files for other Pythons

place() { # place MODE FROM TO: with the real paths
    mkdir -p "$(dirname "$root$3")"
    sed "s|/usr/local/lib/dog|$lib|g" "$2" >"$root$3"
    chmod "$1" "$root$3"
}
place 644 deploy/dog.service "$system/systemd/system/dog.service"
place 644 deploy/dog.sysusers "$system/sysusers.d/dog.conf"
place 644 deploy/dog.tmpfiles "$system/tmpfiles.d/dog.conf"
mkdir -p "$root$prefix/bin" "$root/etc/dog/secrets"
chmod 700 "$root/etc/dog/secrets"
ln -sf "$lib/bin/dog" "$lib/bin/dog-camera" "$root$prefix/bin/"
place 644 deploy/dog.toml.example /etc/dog/dog.toml.example
[ -e "$root/etc/dog/dog.toml" ] || place 640 deploy/dog.toml.example /etc/dog/dog.toml

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemd-sysusers "$system/sysusers.d/dog.conf"
    systemd-tmpfiles --create "$system/tmpfiles.d/dog.conf"
    systemctl daemon-reload
fi
rm -rf "$before"
if [ -n "$upgrade" ]; then
    echo "Done. Now: systemctl restart dog"
else
    echo "Done. Now: edit /etc/dog/dog.toml, then systemctl enable --now dog"
fi
