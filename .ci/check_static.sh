#!/bin/sh
# Check the scripts and styles of static/, with the tools of package-lock.json. Without npm they are not checked, which is
# an error in CI.
if ! command -v npm >/dev/null 2>&1; then
    echo "The scripts and styles were not checked, because npm is missing. Install Node.js 20.19 or later with npm." >&2
    test -z "$CI"
    exit
fi
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "Installing what the checks of the scripts and styles need ..."
    npm ci --engine-strict --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null || exit 1
    cp package-lock.json node_modules/.installed
fi
npm run --silent check
