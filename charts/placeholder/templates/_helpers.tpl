{{- define "placeholder.selector" -}}
app.kubernetes.io/name: placeholder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "placeholder.labels" -}}
{{ include "placeholder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
