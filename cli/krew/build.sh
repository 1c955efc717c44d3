#!/usr/bin/env bash
# Builds the archives of kubectl spillway, and the manifest with which Krew installs them. Usage: build.sh DIRECTORY
# VERSION. The directory gets an archive for each platform and spillway.yaml with their checksums. Set PLATFORMS to
# build for others than all. The same commit and Go version give identical archives.
set -euo pipefail
umask 022

if (($# != 2)) || [[ ! $2 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
  echo "Usage: $0 DIRECTORY VERSION. The version ${2:-(missing)} must be like 1.2.3." >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
version=$2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
commit=$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown)
created=$(git log -1 --format=%ct 2>/dev/null || echo 0)
run=github.com/spillway-k8s/spillway/internal/run
releases=https://github.com/spillway-k8s/spillway/releases/download/v$version

parts=$out/parts
rm -rf "$parts" "$out"/kubectl-spillway_*.tar.gz
trap 'rm -rf "$parts"' EXIT
manifest=$parts/spillway.yaml
mkdir "$parts"
sed "s/VERSION/v$version/" cli/krew/spillway.yaml >"$manifest"

echo "Building kubectl spillway $version: some minutes on 2 cores the first time"
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}; do
  os=${platform%/*} arch=${platform#*/}
  program=kubectl-spillway
  [[ $os != windows ]] || program+=.exe
  archive=kubectl-spillway_v${version}_${os}_$arch.tar.gz
  echo "  $archive"
  dir=$parts/$os-$arch
  mkdir "$dir"
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -o "$dir/$program" \
    -ldflags "-s -w -X $run.version=$version -X $run.commit=$commit" ./cli
  cp LICENSE cli/krew/kubectl_complete-spillway "$dir"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$created" --directory "$dir" . |
    gzip --no-name >"$out/$archive"
  checksum=$(sha256sum "$out/$archive")
  cat >>"$manifest" <<EOF
  - selector: {matchLabels: {os: $os, arch: $arch}}
    uri: $releases/$archive
    sha256: ${checksum%% *}
    bin: $program
EOF
done
mv "$manifest" "$out/spillway.yaml"
