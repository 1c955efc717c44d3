#!/usr/bin/env bash
# Builds the components of clusters from their Go modules, and prints the progress: without a build cache it takes
# minutes.
# Usage: build.sh DIRECTORY         a Kubernetes control plane and KWOK
#        build.sh DIRECTORY nodes   components of real nodes: containerd, kubelet, kube-proxy, a static kube-scheduler
# The go.mod files in this directory determine the versions.
set -euo pipefail

mkdir -p "$1"
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log=$(mktemp)
job=
trap 'if [ -n "$job" ]; then kill "$job" 2>/dev/null || true; fi; rm -f "$log"' EXIT
trap 'exit 1' INT TERM # Signals do not reach a build in the background.

# build MODULE PACKAGES ARGUMENTS... builds programs of the module.
build() {
  cd "$here/$1"
  local packages total start=$SECONDS
  read -ra packages <<<"$2"
  shift 2
  total=$(go list -deps "${packages[@]}" | wc -l)
  go build -v -trimpath -o "$bin/" "$@" "${packages[@]}" 2>"$log" &
  job=$!
  local reported=$SECONDS
  while kill -0 "$job" 2>/dev/null; do
    sleep 1
    if ((SECONDS - reported >= 15)); then
      reported=$SECONDS
      echo "  $((SECONDS - start)) s: compiled $(wc -l <"$log") of at most $total packages"
    fi
  done
  wait "$job" || { tail -n 20 "$log"; return 1; }
  job=
  echo "  done in $((SECONDS - start)) s"
}

version=$(cd "$here" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # kubectl reads it.
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done

commands=k8s.io/kubernetes/cmd

if [ "${2:-}" = nodes ]; then
  export CGO_ENABLED=0 # Static: kube-scheduler gets an image of its own.
  echo "Building the components of real nodes: about 10 minutes on 2 cores the first time"
  build containerd tool -ldflags "-s -w" -tags no_btrfs,no_devmapper,no_zfs
  build . "$commands/kubelet $commands/kube-proxy $commands/kube-scheduler" -ldflags "$flags"
  exit
fi

echo "Building Kubernetes $version and etcd: about 7 minutes on 2 cores the first time"
control_plane="$commands/kube-apiserver $commands/kube-controller-manager $commands/kube-scheduler"
build . "$control_plane $commands/kubectl go.etcd.io/etcd/server/v3" -ldflags "$flags"
mv "$bin/server" "$bin/etcd" # The binary has the name of its directory.

echo "Building KWOK: about 2 minutes on 2 cores the first time"
build kwok tool -ldflags "-s -w"

# KWOK's stages of Nodes and Pods are files of its module. KWOK keeps nodes Ready through their status, not through
# Leases: a killed KWOK would hold the Leases for most of a minute, and so delay the next one.
stages=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for stage in node/fast/node-initialize node/heartbeat/node-heartbeat \
  pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
  echo "---"
  cat "$stages/$stage.yaml"
done >"$bin/kwok-stages.yaml"
