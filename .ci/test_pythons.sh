#!/bin/sh
# make test-pythons: run the tests of the parts that differ between versions of Python, with each PYTHON that is installed:
#
#   .ci/test_pythons.sh PYTHON ...
#
# Each has an environment of its own, build/NAME.
set -eu
tests="tests/auth tests/captures tests/client tests/images tests/push tests/settings tests/snapshots tests/tls tests/web"
found=
for python in "$@"; do
    command -v "$python" >/dev/null 2>&1 || continue
    found=yes
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    environment=build/python-$version
    if [ ! -e "$environment/develop" ] || [ requirements/develop.txt -nt "$environment/develop" ]; then
        echo "Installing into $environment ..."
        "$python" -m venv --clear "$environment"
        "$environment/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes \
            --requirement requirements/develop.txt
        touch "$environment/develop"
    fi
    echo "Testing with Python $version ..."
    # shellcheck disable=SC2086 # a list of folders
    "$environment/bin/python" -m pytest --numprocesses auto --dist worksteal $tests
done
if [ -z "$found" ]; then
    echo "None of $* is installed. Name others: make test-pythons PYTHONS=/path/to/python3" >&2
    exit 1
fi
