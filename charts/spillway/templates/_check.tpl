{{/* What values.schema.json cannot tell: all that is missing for a real cloud, at once. */}}
{{- define "spillway.check" -}}
{{- $faults := list -}}
{{- if not .Values.simulator.enabled -}}
{{- if not .Values.clusterID }}{{ $faults = append $faults "clusterID: must not be empty: a name of at most 16 characters that no other cluster of the account has" }}{{ end -}}
{{- if not .Values.cloud.region }}{{ $faults = append $faults "cloud.region: must not be empty: such as cn-north-4" }}{{ end -}}
{{- if not .Values.cloud.projectID }}{{ $faults = append $faults "cloud.projectID: must not be empty: the console shows it under My Credentials" }}{{ end -}}
{{- if not .Values.cloud.subnetIDs }}{{ $faults = append $faults "cloud.subnetIDs: must have one at least: the Neutron id of an IPv4 subnet" }}{{ end -}}
{{- if not .Values.cloud.securityGroupIDs }}{{ $faults = append $faults "cloud.securityGroupIDs: must have one at least" }}{{ end -}}
{{- $keys := and .Values.credentials.accessKey .Values.credentials.secretKey -}}
{{- if and (eq .Values.credentials.from "secret") (not .Values.credentials.existingSecret) (not $keys) }}{{ $faults = append $faults "credentials: must have existingSecret, or accessKey and secretKey, where from is secret" }}{{ end -}}
{{- if $faults }}{{ $faults = append $faults "simulator.enabled=true needs none of this" }}{{ end -}}
{{- end -}}
{{- if and .Values.credentials.existingSecret (or .Values.credentials.accessKey .Values.credentials.secretKey) }}{{ $faults = append $faults "credentials.existingSecret: must be empty where accessKey and secretKey are given" }}{{ end -}}
{{- if and (eq .Values.scheduler.mode "service") (gt (int .Values.scheduler.replicas) 2) }}{{ $faults = append $faults "scheduler.replicas: must be 1 or 2 with scheduler.mode service: one answers, one waits" }}{{ end -}}
{{- $claims := or (dig "claims" true .Values.vnode.pods) (eq (dig "cciVersion" "2.0" .Values.policy) "1.0") -}}
{{- if and (not $claims) (dig "volumeKinds" true .Values.policy) }}{{ $faults = append $faults "policy.volumeKinds: must be empty ([]) with vnode.pods.claims false, so that Pods with claims stay home" }}{{ end -}}
{{- if has "default-scheduler" (prepend .Values.scheduler.otherNames .Values.scheduler.name) }}{{ $faults = append $faults "scheduler.name, scheduler.otherNames: must not be default-scheduler, which is the cluster's own: scheduler.mode service registers with that" }}{{ end -}}
{{- if has .Release.Namespace (list "kube-system" "default" "kube-node-lease" .Values.test.namespace) }}{{ $faults = append $faults (printf "namespace %q: must be one that Spillway has for itself, such as spillway-system" .Release.Namespace) }}{{ end -}}
{{- if $faults }}{{ fail (printf "\n\n  %s\n" (join "\n  " $faults)) }}{{ end -}}
{{- end }}
