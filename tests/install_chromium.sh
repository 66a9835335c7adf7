#!/bin/sh
# See that there is a Chromium for the browser tests: install the distribution's as root, else say what is missing.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the packages chromium and fonts-liberation ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null && exit 0
    echo "The browser tests need Chromium, and installing the package chromium failed; see above." >&2
    exit 1
fi
echo "The browser tests need Chromium. Install the package chromium, then run this again:" >&2
echo "  Debian, Ubuntu:  sudo apt-get install chromium" >&2
echo "  Fedora:          sudo dnf install chromium" >&2
echo "  Arch:            sudo pacman -S chromium" >&2
echo "  macOS:           brew install --cask chromium" >&2
exit 1
