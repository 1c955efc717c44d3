#!/usr/bin/env bash
# Builds the components of clusters from their Go modules, and prints the progress: without a build cache it takes
# minutes. What is up to date is not built again. Several calls may run at the same time: all but one wait.
# Usage: build.sh DIRECTORY VERSION  a Kubernetes control plane and kubectl of a version, such as 1.34: the newest into
#                                    DIRECTORY, another one into k8s-VERSION there
#        build.sh DIRECTORY kwok     KWOK, which simulates nodes
#        build.sh DIRECTORY nodes    components of real nodes: containerd, CoreDNS, kubelet, kube-proxy, kube-scheduler
# The go.mod file in this directory determines the newest version. Each other version has a directory here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log=$(mktemp)
job=
trap 'if [ -n "$job" ]; then kill "$job" 2>/dev/null || true; fi; rm -f "$log"' EXIT
trap 'exit 1' INT TERM # Signals do not reach a build in the background.

# begin STAMP MODULE... returns when no other call builds. If nothing has changed since the file STAMP was written, it
# ends the script.
begin() {
  local stamp=$bin/$1 file
  shift
  exec 9>"$bin/.lock"
  flock --nonblock 9 || { echo "Waiting for another build in $bin"; flock 9; }
  [ -e "$stamp" ] || return 0
  for file in "${BASH_SOURCE[0]}" "${@/%//go.mod}" "${@/%//go.sum}"; do
    [ ! "$file" -nt "$stamp" ] || return 0
  done
  exit
}

# build MODULE PACKAGES ARGUMENTS... builds programs of the module.
build() {
  cd "$here/$1"
  local packages total start=$SECONDS
  read -ra packages <<<"$2"
  shift 2
  total=$(go list -deps "${packages[@]}" | wc -l)
  go build -v -trimpath -o "$bin/" "$@" "${packages[@]}" 2>"$log" 9>&- &
  job=$!
  local reported=$SECONDS compiled left
  while kill -0 "$job" 2>/dev/null; do
    sleep 1
    if ((SECONDS - reported >= 15)); then
      reported=$SECONDS
      compiled=$(wc -l <"$log")
      # What the cache has is not compiled, and so not counted: the time that is left may be less.
      left=$(((SECONDS - start) * (total - compiled) / (compiled + 1) / 60 + 1))
      echo "  $((SECONDS - start)) s: compiled $compiled of at most $total packages, at most about $left min left"
    fi
  done
  wait "$job" || { tail -n 20 "$log"; return 1; }
  job=
  echo "  done in $((SECONDS - start)) s"
}

# release MODULE prints the version of Kubernetes of a module, such as v1.34.4.
release() {
  (cd "$here/$1" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
}

# link_flags RELEASE prints the flags that tell programs their version.
link_flags() {
  local major minor flags="-s -w" package
  IFS=. read -r major minor _ <<<"${1#v}"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # kubectl reads it.
    flags+=" -X $package.gitVersion=$1 -X $package.gitMajor=$major -X $package.gitMinor=$minor"
  done
  echo "$flags"
}

[ $# = 2 ] || { sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 2; }
mkdir -p "$1"
bin=$(cd "$1" && pwd)
what=$2
commands=k8s.io/kubernetes/cmd
newest_release=$(release .)
newest=${newest_release#v}
newest=${newest%.*}

case $what in
nodes)
  begin .nodes "$here" "$here/containerd" "$here/coredns"
  export CGO_ENABLED=0 # Static: kube-scheduler gets an image of its own.
  echo "Building the components of real nodes: about 10 minutes on 2 cores the first time"
  build containerd tool -ldflags "-s -w" -tags no_btrfs,no_devmapper,no_zfs
  build coredns . -ldflags "-s -w"
  build . "$commands/kubelet $commands/kube-proxy $commands/kube-scheduler" -ldflags "$(link_flags "$newest_release")"
  touch "$bin/.nodes"
  ;;
kwok)
  begin .kwok "$here/kwok"
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
  touch "$bin/.kwok"
  ;;
*)
  module=$what
  if [ "$what" = "$newest" ]; then
    module=.
  elif [[ $what =~ ^1\.[0-9]+$ && -e $here/$what/go.mod ]]; then
    bin=$bin/k8s-$what
    mkdir -p "$bin"
  else
    older=("$here"/1.*/go.mod)
    older=("${older[@]%/go.mod}")
    echo "K8S=$what: must be one of ${older[*]##*/} $newest" >&2
    exit 2
  fi
  begin .cluster "$here/$module"
  release=$(release "$module")
  echo "Building Kubernetes $release and etcd: about 7 minutes on 2 cores the first time"
  control_plane="$commands/kube-apiserver $commands/kube-controller-manager $commands/kube-scheduler"
  build "$module" "$control_plane $commands/kubectl go.etcd.io/etcd/server/v3" -ldflags "$(link_flags "$release")"
  mv "$bin/server" "$bin/etcd" # The binary has the name of its directory.
  touch "$bin/.cluster"
  ;;
esac
