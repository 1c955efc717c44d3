{{/* Labels of every object. */}}
{{- define "spillway.labels" -}}
app.kubernetes.io/name: spillway
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Metadata of an object. Takes a list: context, name, component, and a namespace other than the release's. */}}
{{- define "spillway.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ if gt (len .) 3 }}{{ index . 3 }}{{ else }}{{ $root.Release.Namespace }}{{ end }}
labels:
  {{- include "spillway.labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 2 }}
{{- end }}

{{/* Metadata of an object without a namespace. */}}
{{- define "spillway.clusterMetadata" -}}
name: {{ index . 1 }}
labels:
  {{- include "spillway.labels" (index . 0) | nindent 2 }}
  app.kubernetes.io/component: {{ index . 2 }}
{{- end }}

{{/* Labels that select the Pods of a component. */}}
{{- define "spillway.selector" -}}
app.kubernetes.io/name: spillway
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
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
priorityClassName: {{ . }}
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

{{/* Image of a program. Takes a list: context, program. */}}
{{- define "spillway.image" -}}
{{- with (index . 0) -}}
image: {{ .Values.image.registry }}/spillway-{{ index $ 1 }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
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

{{/* An annotation that restarts Pods when their configuration changes. Takes a list: context, template file. */}}
{{- define "spillway.checksum" -}}
checksum/config: {{ include (print (index . 0).Template.BasePath "/" (index . 1)) (index . 0) | sha256sum }}
{{- end }}

{{/* The ServiceAccount of the extender. In the scheduler's Pod it is the scheduler's. */}}
{{- define "spillway.extenderAccount" -}}
{{ if eq .Values.scheduler.mode "sidecar" }}spillway-scheduler{{ else }}spillway-extender{{ end }}
{{- end }}

{{/* Name of the Secret with the cloud's access keys. */}}
{{- define "spillway.credentialsSecret" -}}
{{ .Values.credentials.existingSecret | default "spillway-cci-credentials" }}
{{- end }}

{{/* Sections that the configuration files of all Spillway's programs share. */}}
{{- define "spillway.commonConfig" -}}
logging: {{- toYaml .Values.logging | nindent 2 }}
{{- $policy := .Values.policy }}
{{- with .Values.vnode.pods.defaultSize }}{{/* The former name of policy.defaultSize. */}}
{{- $policy = merge (dict) $policy (dict "defaultSize" .) }}
{{- end }}
{{- with $policy }}
policy: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
