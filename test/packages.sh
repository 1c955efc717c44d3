#!/usr/bin/env bash
# Lists packages by what their tests need, derived from the imports of the tests.
# Usage: packages.sh unit          packages whose tests need Go alone
#        packages.sh policies      those of them that test vnode with the simulated cloud
#        packages.sh controlplane  packages whose tests start a control plane, except those below test that `make test`
#                                  runs on their own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What starts a control plane. The benchmark itself starts one in its tests.
plane='/test/(system|programtest|machine|install|uninstall)( |$)|^[^ ]*/test/bench '
# What `make test` and `make e2e-install` run on their own.
alone='/test/(system|commands|e2e|tenants|endure|prove|machine|install|uninstall|services|monitoring|ccisim/networks)$'

imports=$(go list -f '{{.ImportPath}} {{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./...)
case ${1:-} in
  unit) grep -vE "$plane" <<<"$imports" | cut -d' ' -f1 | grep -vE "$alone" ;;
  policies) grep -vE "$plane" <<<"$imports" | grep /vnode/cloudtest | cut -d' ' -f1 | grep /vnode/ ;;
  controlplane) grep -E "$plane" <<<"$imports" | cut -d' ' -f1 | grep -vE "$alone" ;;
  *) sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 2 ;;
esac
