{{/* What is said when Spillway goes: for the case that the Job cannot run and say it itself. */}}
{{- define "spillway.farewell" -}}
{{- $cci := include "spillway.cci" . | fromYaml -}}
Job {{ .Release.Namespace }}/spillway-uninstall now removes the virtual nodes, and what cluster {{ include "spillway.clusterID" . }} has in cloud namespace {{ $cci.namespace }}.
If it is said to have failed and no list of what remains is shown, it could not run: all of that remains. To remove it:
kubectl delete nodes -l spillway.io/cluster-id={{ include "spillway.clusterID" . }}
{{- if not .Values.simulator.enabled }}
vnode gc --without-cluster --min-age=0s --cluster-id={{ include "spillway.clusterID" . }} --cci-namespace={{ $cci.namespace }} --cci-region={{ $cci.region }} --cci-project-id={{ $cci.projectID }}
{{- with $cci.endpoint }} --cci-endpoint={{ . }}{{ end }}
{{- with .Values.policy.cciVersion }} --cci-version={{ . }}{{ end }} --cci-credentials-file=FILE
{{- end }}
{{- end }}
