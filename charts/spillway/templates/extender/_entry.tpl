{{/* The part of a scheduler's configuration file that makes it call the extender's Service, and the profiles of managed
Pods. The scheduler's own profile stays as it is. */}}
{{- define "spillway.extenderEntry" -}}
{{- $name := printf "spillway-extender.%s.svc" .Release.Namespace -}}
profiles:
- schedulerName: default-scheduler
{{- range prepend .Values.scheduler.otherNames .Values.scheduler.name }}
{{- if ne . "default-scheduler" }}
- schedulerName: {{ . | quote }}
  percentageOfNodesToScore: 100
{{- end }}
{{- end }}
extenders:
- urlPrefix: {{ printf "https://%s:10290/v1" (.Values.extender.service.clusterIP | default $name) | quote }}
  filterVerb: filter
  prioritizeVerb: prioritize
  preemptVerb: preempt
  weight: 3
  nodeCacheCapable: true
  httpTimeout: 2s
  enableHTTPS: true
  tlsConfig:
    serverName: {{ $name | quote }}
    caFile: /etc/kubernetes/spillway/ca.crt
    certFile: /etc/kubernetes/spillway/tls.crt
    keyFile: /etc/kubernetes/spillway/tls.key
  managedResources:
  - {name: spillway.io/placement, ignoredByScheduler: true}
{{- end }}
