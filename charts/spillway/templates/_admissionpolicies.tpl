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
{{- $fields := index . 1 | toJson | replace "\"" "'" -}}
{{ $new }}.all(k, k in {{ $fields }} || k in {{ $old }} && {{ $new }}[k] == {{ $old }}[k])
&& {{ $old }}.all(k, k in {{ $fields }} || k in {{ $new }})
{{- end }}

{{/* The same for the metadata. The API server itself changes three of its fields. Takes the other fields. */}}
{{- define "spillway.sameMetadataBut" -}}
{{ include "spillway.sameBut" (list "metadata" (concat . (list "managedFields" "resourceVersion" "generation"))) }}
{{- end }}

{{/*
A CEL expression: the node is that of the virtual node that sends the request. It has the name of its Pod, and the API
server knows the Pod to which it has issued a token. A token that is bound to no Pod, which no program of Spillway uses,
stands for all virtual nodes of the release. Takes a list: context, expression that is the name of the node.
*/}}
{{- define "spillway.ownNode" -}}
{{- $node := index . 1 -}}
(has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra
? [{{ $node }}] == request.userInfo.extra['authentication.kubernetes.io/pod-name']
: {{ $node }}.matches('^{{ (index . 0).Values.vnode.name }}-[0-9]+$'))
{{- end }}
