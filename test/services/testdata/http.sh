#!/bin/sh
# Lets vnode use a simulated cloud without TLS, for which the chart has no value: a post-renderer of Helm.
exec sed -E 's|^( *)endpoint: https://simulated.cloud$|\1allowHTTP: true\n\1endpoint: http://10.250.0.1:10243|
  s|iamEndpoint: https://simulated.cloud|iamEndpoint: http://10.250.0.1:10243|'
