#!/usr/bin/env bash
# Puts prometheus and promtool of Debian's package into a directory. Nothing is installed: no service starts, and root is
# not needed if apt knows the package. Programs that are installed already are used.
# Usage: prometheus.sh DIRECTORY
set -euo pipefail

[ $# = 1 ] || { sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 2; }
mkdir -p "$1"
bin=$(cd "$1" && pwd)
[ ! -x "$bin/prometheus" ] || [ ! -x "$bin/promtool" ] || exit 0

if prometheus=$(command -v prometheus) && promtool=$(command -v promtool); then
  ln -sf "$prometheus" "$promtool" "$bin/"
  exit
fi
command -v apt-get >/dev/null || { echo "prometheus.sh: neither Prometheus nor apt-get is installed" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo "Downloading Debian's package prometheus"
if ! apt-get download -q prometheus 2>log; then
  sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  { $sudo apt-get update -q && apt-get download -q prometheus; } >>log 2>&1 || { cat log >&2; exit 1; }
fi
dpkg-deb --extract prometheus_*.deb .
mv usr/bin/prometheus usr/bin/promtool "$bin/"
