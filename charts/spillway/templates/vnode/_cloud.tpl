{{/* The section cci of vnode's configuration file. The simulator accepts any region, project and network. */}}
{{- define "spillway.cci" -}}
{{- $cci := dict "region" .Values.cloud.region "projectID" .Values.cloud.projectID -}}
{{- $_ := set $cci "subnetIDs" .Values.cloud.subnetIDs -}}
{{- $_ := set $cci "securityGroupIDs" .Values.cloud.securityGroupIDs -}}
{{- with .Values.cloud.podCIDRs }}{{ $_ := set $cci "podCIDRs" . }}{{ end -}}
{{- if .Values.simulator.enabled -}}
{{- $_ := set $cci "region" (.Values.cloud.region | default "sim-1") -}}
{{- $_ := set $cci "projectID" (.Values.cloud.projectID | default "simulated") -}}
{{- $_ := set $cci "subnetIDs" (.Values.cloud.subnetIDs | default (list "simulated-subnet")) -}}
{{- $_ := set $cci "podCIDRs" (.Values.cloud.podCIDRs | default (list "10.246.0.0/16")) -}}
{{- $_ := set $cci "securityGroupIDs" (.Values.cloud.securityGroupIDs | default (list "simulated-group")) -}}
{{- $_ := set $cci "endpoint" (printf "http://spillway-simulator.%s.svc:10243" .Release.Namespace) -}}
{{- $_ := set $cci "iamEndpoint" $cci.endpoint -}}
{{- $_ := set $cci "allowHTTP" true -}}
{{- else -}}
{{- range $field := list "endpoint" "iamEndpoint" -}}
{{- with get $.Values.cloud $field }}{{ $_ := set $cci $field . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.cloud.domainID }}{{ $_ := set $cci "domainID" . }}{{ end -}}
{{- $default := printf "spillway-%s" (include "spillway.clusterID" . | lower | replace "." "-" | replace "_" "-") -}}
{{- $_ := set $cci "namespace" (.Values.cloud.namespace | default $default) -}}
{{- if eq (include "spillway.credentialsFrom" .) "secret" -}}
{{- $_ := set $cci "credentialsFile" "/etc/spillway-credentials" -}}
{{- else -}}
{{- $_ := set $cci "credentialsFrom" .Values.credentials.from -}}
{{- end -}}
{{ toYaml (mergeOverwrite $cci .Values.cloud.settings) }}
{{- end }}

{{/* ID of the cluster. */}}
{{- define "spillway.clusterID" -}}
{{ .Values.clusterID | default (.Values.simulator.enabled | ternary "simulated" "") }}
{{- end }}

{{/* The access keys of the cloud, in the format of a Secret. */}}
{{- define "spillway.credentials" -}}
accessKey: {{ .Values.credentials.accessKey | quote }}
secretKey: {{ .Values.credentials.secretKey | quote }}
{{- end }}
