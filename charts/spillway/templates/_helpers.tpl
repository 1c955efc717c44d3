{{/* Labels of every object. */}}
{{- define "spillway.labels" -}}
app.kubernetes.io/name: spillway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* Metadata of an object. Takes a list: context, name, component, and a namespace other than the release's. */}}
{{- define "spillway.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 | quote }}
namespace: {{ gt (len .) 3 | ternary (last .) $root.Release.Namespace | quote }}
labels:
  {{- include "spillway.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 2 }}
{{- end }}

{{/* Metadata of an object without a namespace. */}}
{{- define "spillway.clusterMetadata" -}}
name: {{ index . 1 | quote }}
labels:
  {{- include "spillway.labels" (index . 0) | nindent 2 }}
  app.kubernetes.io/component: {{ index . 2 }}
{{- end }}

{{/* Labels that select the Pods of a component. */}}
{{- define "spillway.selector" -}}
app.kubernetes.io/name: spillway
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of the Pods of a component. These Pods never burst: they are the ones that manage Pods in the cloud. */}}
{{- define "spillway.podLabels" -}}
{{ include "spillway.selector" . }}
virtual-kubelet.io/burst-to-cci: "off"
{{- end }}

{{/* Fields that the specs of all Pods share. Takes a list: context, component. */}}
{{- define "spillway.podSpec" -}}
{{- $root := index . 0 -}}
{{- /* There is no second constraint over zones: the scheduler would ignore all nodes without a zone label. */}}
topologySpreadConstraints:
- topologyKey: kubernetes.io/hostname
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ include "spillway.selector" . | fromYaml | toJson }}}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Fields that all containers share. */}}
{{- define "spillway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* An image with a digest, if there is one. A digest takes precedence over the tag. Takes a list: image, digest. */}}
{{- define "spillway.pinned" -}}
{{ with index . 1 }}{{ printf "%s@%s" (index $ 0) . | quote }}{{ else }}{{ index . 0 | quote }}{{ end }}
{{- end }}

{{/* Image of a program. Takes a list: context, program. */}}
{{- define "spillway.image" -}}
{{- with (index . 0) -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- $image := printf "%s/spillway-%s:%s" .Values.image.registry (index $ 1) $tag -}}
image: {{ include "spillway.pinned" (list $image (get .Values.image.digests (index $ 1))) }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
{{- end }}
{{- end }}

{{/* Probes of Spillway's programs, on the port named metrics. */}}
{{- define "spillway.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{/* Environment variables with which the programs send spans. Empty without tracing. */}}
{{- define "spillway.tracing" -}}
{{- if .Values.tracing.endpoint -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .Values.tracing.endpoint | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .Values.tracing.ratio | quote }}}
{{- end -}}
{{- end }}

{{/* An annotation that restarts Pods when their configuration changes. Takes a list: context, template file. */}}
{{- define "spillway.checksum" -}}
checksum/config: {{ include (print (index . 0).Template.BasePath "/" (index . 1)) (index . 0) | sha256sum }}
{{- end }}

{{/* The ServiceAccount of the extender. In the scheduler's Pod it is the scheduler's. */}}
{{- define "spillway.extenderAccount" -}}
{{ if eq .Values.scheduler.mode "sidecar" }}spillway-scheduler{{ else }}spillway-extender{{ end }}
{{- end }}

{{/* Where the access keys of the cloud come from. Those of the simulator are always in a Secret. */}}
{{- define "spillway.credentialsFrom" -}}
{{ .Values.simulator.enabled | ternary "secret" .Values.credentials.from }}
{{- end }}

{{/* Name of the Secret with the access keys of the cloud. */}}
{{- define "spillway.credentialsSecret" -}}
{{ if .Values.simulator.enabled }}spillway-simulator
{{- else }}{{ .Values.credentials.existingSecret | default "spillway-cci-credentials" }}{{ end }}
{{- end }}

{{/* Whether the chart stores the access keys of the cloud itself: "true" or nothing. */}}
{{- define "spillway.storesCredentials" -}}
{{- if and (eq (include "spillway.credentialsFrom" .) "secret") (not .Values.simulator.enabled)
  (not .Values.credentials.existingSecret) }}true{{ end -}}
{{- end }}

{{/* Whether tokens of ServiceAccounts are copied to the cloud: "true" or nothing. The simulator never gets any. */}}
{{- define "spillway.copiesTokens" -}}
{{- if and (not .Values.simulator.enabled) (dig "serviceAccountTokens" true .Values.vnode.pods) }}true{{ end -}}
{{- end }}

{{/* Sections that the configuration files of all Spillway's programs share. */}}
{{- define "spillway.commonConfig" -}}
logging: {{- toYaml .Values.logging | nindent 2 }}
{{- include "spillway.policyConfig" . }}
{{- end }}

{{/* The section policy, with a line break before it. Nothing if it is empty. */}}
{{- define "spillway.policyConfig" -}}
{{- $policy := .Values.policy }}
{{- with .Values.vnode.pods.defaultSize }}{{/* The former name of policy.defaultSize. */}}
{{- $policy = merge (dict) $policy (dict "defaultSize" .) }}
{{- end }}
{{- with $policy }}
policy: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The content of the section prices. Nothing without a currency. */}}
{{- define "spillway.prices" -}}
{{- with .Values.prices }}
{{- if .currency }}
{{- $prices := dict "currency" .currency "generalComputing" .generalComputing }}
{{- if .generalComputingLite.coreHour }}
{{- $_ := set $prices "generalComputingLite" .generalComputingLite }}
{{- end }}
{{- toYaml $prices }}
{{- end }}
{{- end }}
{{- end }}

{{/* The virtual nodes with their names, as JSON. There is at least one. */}}
{{- define "spillway.nodes" -}}
{{- $nodes := list -}}
{{- range $i, $node := .Values.vnode.nodes | default (list dict) }}
{{- $nodes = append $nodes (merge (dict) $node (dict "name" (printf "%s-%d" $.Values.vnode.name $i))) -}}
{{- end -}}
{{ toJson $nodes }}
{{- end }}

{{/* Names of the virtual nodes, as JSON. An empty list of names in a role would mean all names. */}}
{{- define "spillway.nodeNames" -}}
{{- $names := list -}}
{{- range include "spillway.nodes" . | fromJsonArray }}
{{- $names = append $names .name -}}
{{- end -}}
{{ toJson $names }}
{{- end }}

{{/* Name of the kubelet port of the i-th virtual node. */}}
{{- define "spillway.kubeletPort" -}}
{{ if eq (int .) 0 }}kubelet{{ else }}kubelet-{{ . }}{{ end }}
{{- end }}

{{/* Whether vnode serves Services to sidecars of Pods: "true" or nothing. */}}
{{- define "spillway.servesServices" -}}
{{- $pods := .Values.vnode.pods -}}
{{- if or (eq (dig "services" "off" $pods) "proxy") (dig "proxy" "image" "" $pods)
  (dig "kubeProxy" "image" "" $pods) -}}
true{{ end -}}
{{- end }}

{{/* Whether vnode follows the Services of the cluster: "true" or nothing. */}}
{{- define "spillway.followsServices" -}}
{{- if or (include "spillway.servesServices" .) .Values.vnode.pods.clusterDNS }}true{{ end -}}
{{- end }}

{{/* The port of the server of Services. The kubelet ports of more than ten nodes would reach its usual one. */}}
{{- define "spillway.servicesPort" -}}
{{ gt (len (include "spillway.nodes" . | fromJsonArray)) 10 | ternary 10300 10260 }}
{{- end }}

{{/* Names of the users of the virtual nodes, as JSON. */}}
{{- define "spillway.nodeUsers" -}}
{{- $names := list -}}
{{- range include "spillway.nodeNames" . | fromJsonArray }}
{{- $names = append $names (printf "system:node:%s" .) -}}
{{- end -}}
{{ toJson $names }}
{{- end }}

{{/* Names of the Leases that allow one process per virtual node, as JSON. */}}
{{- define "spillway.processLeases" -}}
{{- $names := list -}}
{{- range include "spillway.nodeNames" . | fromJsonArray }}
{{- $names = append $names (printf "spillway-vnode-%s" .) -}}
{{- end -}}
{{ toJson $names }}
{{- end }}
