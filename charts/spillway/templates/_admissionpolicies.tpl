{{/*
A ValidatingAdmissionPolicy restricts what a ServiceAccount may do with the rights that RBAC gives it. RBAC knows the
verb and the resource. A policy also sees the object. It concerns the requests of one user, unless it says otherwise.
*/}}

{{/* User name of a ServiceAccount of the release. Takes a list: context, ServiceAccount. */}}
{{- define "spillway.user" -}}
system:serviceaccount:{{ (index . 0).Release.Namespace }}:{{ index . 1 }}
{{- end }}

{{/* Fields that all policies share, and that make a policy apply to one ServiceAccount only. */}}
{{- define "spillway.policyFor" -}}
failurePolicy: Fail
matchConditions:
- name: account
  expression: {{ printf "request.userInfo.username == %q" (include "spillway.user" .) | squote }}
{{- end }}

{{/* The object that makes a policy take effect. Takes a list: context, name of the policy, component. */}}
{{- define "spillway.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "spillway.clusterMetadata" . | nindent 2 }}
spec:
  policyName: {{ index . 1 | quote }}
  validationActions: [Deny]
{{- end }}

{{/*
A CEL expression: a part of the object differs from that of the old object at most in some fields. It covers fields that
later versions of Kubernetes add. Takes a list: path of the part, fields.
*/}}
{{- define "spillway.sameBut" -}}
{{- $new := index . 0 -}}
{{- $old := printf "dyn(oldObject.%s)" $new -}}
{{- $new = printf "dyn(object.%s)" $new -}}
{{- $fields := index . 1 | toJson | replace "\"" "'" | replace "," ", " -}}
{{ $new }}.all(k, k in {{ $fields }} || k in {{ $old }} && {{ $new }}[k] == {{ $old }}[k])
&& {{ $old }}.all(k, k in {{ $fields }} || k in {{ $new }})
{{- end }}

{{/* The same for the metadata. The API server itself changes three of its fields. Takes the other fields. */}}
{{- define "spillway.sameMetadataBut" -}}
{{ include "spillway.sameBut" (list "metadata" (concat . (list "managedFields" "resourceVersion" "generation"))) }}
{{- end }}

{{/*
A CEL expression: the node is one of the virtual nodes of the release. Each process may run each of them. Takes a list:
context, expression that is the name of the node.
*/}}
{{- define "spillway.ownNode" -}}
{{ index . 1 }} in {{ include "spillway.nodeNames" (index . 0) | replace "\"" "'" | replace "," ", " }}
{{- end }}

{{/*
CEL expressions: the keys of the labels that a node must not set on itself, and of the taints that a virtual node has.
The operator can configure some. Take the context.
*/}}
{{- define "spillway.nodeLabelKeys" -}}
{{- $keys := list "node-restriction.kubernetes.io/spillway" "kubernetes.io/role"
  "node-role.kubernetes.io/master" -}}
{{- range include "spillway.nodes" . | fromJsonArray }}
{{- $keys = concat $keys (.labels | default dict | keys) -}}
{{- end -}}
{{ $keys | uniq | toJson }}
{{- end }}
{{- define "spillway.nodeTaintKeys" -}}
{{- $keys := list "virtual-kubelet.io/provider" -}}
{{- range include "spillway.nodes" . | fromJsonArray }}
{{- range .taints }}{{ $keys = append $keys .key }}{{ end -}}
{{- end -}}
{{ $keys | uniq | toJson | replace "\"" "'" }}
{{- end }}
