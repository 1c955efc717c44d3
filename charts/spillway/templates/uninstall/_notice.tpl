{{/* The uninstall notice. It is shown before the Job starts, in case the Job cannot run and print it. */}}
{{- define "spillway.uninstallNotice" -}}
{{- $cci := include "spillway.cci" . | fromYaml -}}
Job {{ .Release.Namespace }}/spillway-uninstall now removes the virtual nodes, and everything that cluster
{{- "" }} {{ include "spillway.clusterID" . }} has in cloud namespace {{ $cci.namespace }}.
If Helm reports that the Job failed but does not list what remains, the Job did not run and all of it remains. Then run:
kubectl delete nodes -l spillway.io/cluster-id={{ include "spillway.clusterID" . }}
{{- if not .Values.simulator.enabled }}
vnode gc --without-cluster --min-age=0s --cluster-id={{ include "spillway.clusterID" . }}
{{- "" }} --cci-namespace={{ $cci.namespace }} --cci-region={{ $cci.region }} --cci-project-id={{ $cci.projectID }}
{{- with $cci.endpoint }} --cci-endpoint={{ . }}{{ end }}
{{- if $cci.allowHTTP }} --cci-allow-http{{ end }}
{{- with .Values.policy.cciVersion }} --cci-version={{ . }}{{ end }} --cci-credentials-file=FILE
{{- end }}
{{- end }}
