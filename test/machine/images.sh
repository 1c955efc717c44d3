#!/usr/bin/env bash
# Builds the images that tests on real nodes need in addition to Spillway's, without a daemon and without a registry.
# Usage: images.sh DIRECTORY PARTS. Writes archives to DIRECTORY, and the program peer, which simulated clouds run.
# PARTS contains a static kube-scheduler.
set -euo pipefail
umask 022
mkdir -p "$1"
out=$(cd "$1" && pwd)
parts=$(cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

context=$out/context
trap 'rm -rf "$context"' EXIT
rm -rf "$context"
mkdir -p "$context"
store=(buildah --root "$context/storage" --runroot "$context/run" --storage-driver vfs)

# image NAME ENTRYPOINT FILES... builds the archive of an image with the files in /bin.
image() {
  local container id
  container=$("${store[@]}" from scratch)
  "${store[@]}" copy --quiet "$container" "${@:3}" /bin/ >/dev/null
  "${store[@]}" config --entrypoint "[\"/bin/$2\"]" --env PATH=/bin "$container"
  id=$("${store[@]}" commit --quiet --rm "$container" "localhost/$1:1")
  rm -f "$out/$1.tar"
  "${store[@]}" push --quiet "$id" "oci-archive:$out/$1.tar"
}

echo "Building the images of test workloads"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$context/server" ./test/machine/workload
cp "$context/server" "$context/pause"
cp "$context/server" "$context/perl"
cp "$parts/kube-scheduler" "$context/"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/peer" ./test/services/peer/cmd/peer
image workload server "$context/server" "$context/perl"
image pause pause "$context/pause"
image peer peer "$out/peer"
image kube-scheduler kube-scheduler "$context/kube-scheduler"
