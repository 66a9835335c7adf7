#!/bin/sh
# Check the scripts and styles of static/, with the tools of package-lock.json. If npm or the tools are missing, they are
# not checked, which is an error in public CI (it sets CI).
skip() {
    echo "The scripts and styles were not checked, because $1" >&2
    test -z "$CI"
    exit
}
command -v npm >/dev/null 2>&1 || skip "npm is missing. Install Node.js 20.19 or later with npm."
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "Installing what the checks of the scripts and styles need ..."
    npm ci --engine-strict --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null ||
        skip "npm could not install the tools. See above, and run this again."
    cp package-lock.json node_modules/.installed
fi
npm run --silent check
