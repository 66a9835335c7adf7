#!/bin/sh
# See that there is a Chromium for the browser tests: install the distribution's as root, else say what is missing.
# chromium-headless-shell is the same browser without windows of its own, and starts a page in half the time.
as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
command -v chromium-headless-shell >/dev/null 2>&1 && exit 0
if as_root; then
    echo "Installing the packages chromium-headless-shell and fonts-liberation ..."
    apt-get update -qq && install chromium-headless-shell fonts-liberation && exit 0
fi
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if as_root; then
    install chromium fonts-liberation && exit 0
    echo "The browser tests need Chromium, and installing the package chromium failed; see above." >&2
    exit 1
fi
echo "The browser tests need Chromium. Install the package chromium, then run this again:" >&2
echo "  Debian, Ubuntu:  sudo apt-get install chromium" >&2
echo "  Fedora:          sudo dnf install chromium" >&2
echo "  Arch:            sudo pacman -S chromium" >&2
echo "  macOS:           brew install --cask chromium" >&2
exit 1
