{{- define "placeholder.selector" -}}
app.kubernetes.io/name: placeholder
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "placeholder.labels" -}}
{{ include "placeholder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}
