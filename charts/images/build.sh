#!/usr/bin/env bash
# Builds the images of Spillway's programs without a daemon. Each image is FROM scratch and contains one static program,
# for amd64 and arm64. Usage: build.sh DIRECTORY VERSION. For each image the directory gets an OCI archive of all
# architectures, and a bill of materials per architecture. Set ARCHITECTURES to build for others than "amd64 arm64". The
# same commit and Go version give identical archives.
set -euo pipefail
umask 022

if (($# != 2)) || [[ ! $2 =~ ^[0-9A-Za-z_][0-9A-Za-z_.-]*$ ]]; then
  echo "Usage: $0 DIRECTORY VERSION. The version ${2:-(missing)} must be a valid tag of an image." >&2
  exit 2
fi
if ! command -v buildah >/dev/null; then
  echo "buildah is not installed: apt-get install --no-install-recommends buildah" >&2
  exit 1
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
version=$2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
commit=$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown)
created=$(git log -1 --format=%ct 2>/dev/null || echo 0)

# The storage of the build is in the directory too. What an earlier build left there is removed first.
storage=$out/storage
rm -rf "$storage"
trap 'rm -rf "$storage"' EXIT
store=(buildah --root "$storage" --runroot "$storage/run" --storage-driver vfs)

# program NAME PACKAGE DESCRIPTION builds the image of one program for all architectures.
program() {
  local image=ghcr.io/spillway-k8s/spillway-$1:$version archive=$out/spillway-$1.tar arch
  echo "  $image"
  "${store[@]}" manifest create "$image" >/dev/null
  for arch in ${ARCHITECTURES:-amd64 arm64}; do
    CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -o "$out/$arch/$1" \
      -ldflags "-s -w -X $run.version=$version -X $run.commit=$commit" "$2"
    go tool -modfile=test/tools/go.mod cyclonedx-gomod bin -json -std -noserial -notimestamp -version "v$version" \
      -output "$out/spillway-$1-$arch.cdx.json" "$out/$arch/$1" 2>/dev/null
    layer "$1" "$arch" "$3" "$image"
  done
  rm -f "$archive"
  "${store[@]}" manifest push --quiet --all "$image" "oci-archive:$archive:$image" >/dev/null
}

# layer NAME ARCHITECTURE DESCRIPTION IMAGE adds the program of one architecture to the image.
layer() {
  local container id
  container=$("${store[@]}" from --arch "$2" scratch)
  "${store[@]}" copy --quiet --chmod 0755 "$container" "$out/$2/$1" "/$1" >/dev/null
  "${store[@]}" config --arch "$2" --os linux --user 65532:65532 --entrypoint "[\"/$1\"]" \
    --label org.opencontainers.image.title="spillway-$1" \
    --label org.opencontainers.image.description="$3" \
    --label org.opencontainers.image.source=https://github.com/spillway-k8s/spillway \
    --label org.opencontainers.image.version="$version" \
    --label org.opencontainers.image.revision="$commit" \
    --label org.opencontainers.image.licenses=Apache-2.0 "$container"
  id=$("${store[@]}" commit --quiet --rm --timestamp "$created" "$container")
  "${store[@]}" manifest add "$4" "$id" >/dev/null
}

run=github.com/spillway-k8s/spillway/internal/run
echo "Building the images of Spillway $version: about 5 minutes on 2 cores the first time"
program extender ./extender "Tells kube-scheduler which nodes Pods with a local quota or a burst label may use"
program admission ./admission "Prepares Pods that may burst, and updates them after creation"
program vnode ./vnode "A virtual node whose Pods run in Huawei Cloud CCI"
program proxy ./proxy "Carries connections of a Pod in the cloud to the Services of the cluster"
program ccisim ./test/ccisim/cmd/ccisim "A simulated Huawei Cloud CCI, for trying Spillway without an account"
