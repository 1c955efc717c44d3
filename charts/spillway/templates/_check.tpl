{{/* Checks what values.schema.json cannot express. Reports all errors at once. */}}
{{- define "spillway.check" -}}
{{- $errors := list -}}
{{- if not .Values.simulator.enabled -}}
{{- if not .Values.clusterID }}
  {{- $errors = append $errors (print
    "clusterID: must not be empty: a name of at most 16 characters that is unique "
    "among the clusters of the account") -}}
{{- end -}}
{{- if not .Values.cloud.region }}
  {{- $errors = append $errors "cloud.region: must not be empty: such as cn-north-4" -}}
{{- end -}}
{{- if not .Values.cloud.projectID }}
  {{- $errors = append $errors "cloud.projectID: must not be empty: the console shows it under My Credentials" -}}
{{- end -}}
{{- if not .Values.cloud.subnetIDs }}
  {{- $errors = append $errors "cloud.subnetIDs: must contain at least one: the Neutron ID of an IPv4 subnet" -}}
{{- end -}}
{{- if not .Values.cloud.securityGroupIDs }}
  {{- $errors = append $errors "cloud.securityGroupIDs: must contain at least one" -}}
{{- end -}}
{{- $keys := and .Values.credentials.accessKey .Values.credentials.secretKey -}}
{{- if and (eq .Values.credentials.from "secret") (not .Values.credentials.existingSecret) (not $keys) }}
  {{- $errors = append $errors
    "credentials: must have existingSecret, or accessKey and secretKey, if from is secret" -}}
{{- end -}}
{{- if $errors }}
  {{- $errors = append $errors "with simulator.enabled=true none of these is required" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.credentials.existingSecret (or .Values.credentials.accessKey .Values.credentials.secretKey) }}
  {{- $errors = append $errors "credentials.existingSecret: must be empty if accessKey or secretKey is set" -}}
{{- end -}}
{{- if and (eq .Values.scheduler.mode "service") (gt (int .Values.scheduler.replicas) 2) }}
  {{- $errors = append $errors (print "scheduler.replicas: must be 1 or 2 with scheduler.mode service: "
    "one replica answers, the other is on standby") -}}
{{- end -}}
{{- with .Values.prices }}
{{- $general := list .generalComputing.coreHour .generalComputing.gibHour | compact | len -}}
{{- $lite := list .generalComputingLite.coreHour .generalComputingLite.gibHour | compact | len -}}
{{- if and (not .currency) (or $general $lite) }}
  {{- $errors = append $errors "prices.currency: must not be empty if a price is set: such as CNY" -}}
{{- end -}}
{{- if and .currency (ne $general 2) }}
  {{- $errors = append $errors (print "prices.generalComputing: must have coreHour and gibHour if prices.currency is "
    "set: decimals in quotes, such as \"0.21\"") -}}
{{- end -}}
{{- if eq $lite 1 }}
  {{- $errors = append $errors "prices.generalComputingLite: must have both coreHour and gibHour, or neither" -}}
{{- end -}}
{{- end -}}
{{- range .Values.policy.ignoredNodeSelectors }}
{{- $key := index (splitList "=" .) 0 -}}
{{- if has $key (list "type" "node-restriction.kubernetes.io/spillway" "spillway.io/cluster-id"
    "kubernetes.io/os" "kubernetes.io/arch") }}
  {{- $errors = append $errors (printf (print "policy.ignoredNodeSelectors: must not have %s: it says what a virtual "
    "node is, and Pods that select another value cannot run there") $key) -}}
{{- end -}}
{{- end -}}
{{- $claims := or (dig "claims" true .Values.vnode.pods) (eq (dig "cciVersion" "2.0" .Values.policy) "1.0") -}}
{{- if and (not $claims) (dig "volumeKinds" true .Values.policy) }}
  {{- $errors = append $errors (print "policy.volumeKinds: must be empty ([]) with vnode.pods.claims false, "
    "so that Pods with claims stay local") -}}
{{- end -}}
{{- $services := dig "services" "off" .Values.vnode.pods -}}
{{- $dns := dig "clusterDNS" list .Values.vnode.pods -}}
{{- if and (eq $services "proxy") (not $dns) (not (dig "proxy" "nameservers" list .Values.vnode.pods)) }}
  {{- $errors = append $errors (print "vnode.pods.clusterDNS or vnode.pods.proxy.nameservers: must not be empty with "
    "vnode.pods.services proxy, for names outside of the cluster") -}}
{{- end -}}
{{- if and (has $services (list "routed" "kube-proxy")) (not $dns) }}
  {{- $errors = append $errors (printf
    "vnode.pods.clusterDNS: must not be empty with vnode.pods.services %s, for the names of Services" $services) -}}
{{- end -}}
{{- if and (eq $services "kube-proxy") (not (dig "kubeProxy" "image" "" .Values.vnode.pods)) }}
  {{- $errors = append $errors (print "vnode.pods.kubeProxy.image: must not be empty with vnode.pods.services "
    "kube-proxy: such as registry.k8s.io/kube-proxy and the version of the cluster") -}}
{{- end -}}
{{- if and .Values.networkPolicies.restrictEgress (not .Values.networkPolicies.apiServerCIDRs) }}
  {{- $errors = append $errors (print "networkPolicies.apiServerCIDRs: must not be empty with "
    "networkPolicies.restrictEgress: the programs connect to the API servers") -}}
{{- end -}}
{{- if and .Values.networkPolicies.restrictEgress .Values.tracing.endpoint
  (not .Values.networkPolicies.collectorPeers) }}
  {{- $errors = append $errors (print "networkPolicies.collectorPeers: must not be empty with "
    "networkPolicies.restrictEgress and tracing.endpoint: the programs connect to the collector") -}}
{{- end -}}
{{- $names := prepend .Values.scheduler.otherNames .Values.scheduler.name -}}
{{- if and (eq .Values.scheduler.mode "sidecar") (has "default-scheduler" $names) }}
  {{- $errors = append $errors (print
    "scheduler.name, scheduler.otherNames: must not be default-scheduler, the name of "
    "the cluster's own scheduler: use scheduler.mode service with that one") -}}
{{- end -}}
{{- if has .Release.Namespace (list "kube-system" "default" "kube-node-lease" .Values.test.namespace) }}
  {{- $errors = append $errors (printf
    "namespace %q: must be a namespace that only Spillway uses, such as spillway-system" .Release.Namespace) -}}
{{- end -}}
{{- if $errors }}{{ fail (printf "\n\n  %s\n" (join "\n  " $errors)) }}{{ end -}}
{{- end }}
