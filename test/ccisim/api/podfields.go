package api

// The lists below are the published request schema of CCI 2.0 (PodRequest and the types that it refers to), field by
// field. Fields of later sources (the Terraform providers of the vendor and of OTC) are marked. Fields of Kubernetes
// that are missing here are missing in CCI.

// createMeta lists the metadata of BasePodMeta: no finalizers, no ownerReferences.
func createMeta() fields {
	return names("name", "generateName", "namespace", "labels", "annotations").with(serverMeta())
}

// serverMeta are the fields that only the server sets.
func serverMeta() fields {
	out := fields{}
	for _, name := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields",
		"deletionTimestamp", "deletionGracePeriodSeconds"} {
		out[name] = serverSet()
	}
	return out
}

// updateMeta lists the metadata that a body that replaces an object may contain.
func updateMeta() fields {
	out := createMeta()
	for _, name := range []string{"uid", "resourceVersion", "finalizers", "ownerReferences", "deletionTimestamp",
		"deletionGracePeriodSeconds", "creationTimestamp", "generation"} {
		out[name] = nil
	}
	return out
}

func topFields(meta fields, more fields) fields {
	return names("apiVersion", "kind").with(fields{"metadata": group(meta), "status": serverSet()}).with(more)
}

func podCreateFields() fields {
	return topFields(createMeta(), fields{"spec": group(podSpecFields())})
}

// podUpdateFields adds the fields that the server sets, and tolerations, which an update may change although a new Pod
// cannot have them.
func podUpdateFields() fields {
	spec := podSpecFields().with(names("tolerations", "nodeName", "schedulerName"))
	return topFields(updateMeta(), fields{"spec": group(spec)})
}

func podSpecFields() fields {
	const sharedNode = "is not supported: Pods of all tenants share the nodes"
	return names("activeDeadlineSeconds", "dnsPolicy", "hostname", "restartPolicy", "setHostnameAsFQDN",
		"shareProcessNamespace", "terminationGracePeriodSeconds").with(fields{
		"affinity":       group(affinityFields()),
		"containers":     group(containerFields()),
		"initContainers": group(containerFields()),
		"dnsConfig": group(names("nameservers", "searches").with(fields{
			"options": group(names("name", "value"))})),
		"extraEphemeralStorage": group(names("sizeInGiB")),
		"hostAliases":           group(names("ip", "hostnames")),
		"imagePullSecrets":      group(names("name")),
		"volumes":               group(volumeFields()),
		// In the Terraform providers only.
		"securityContext": group(names("fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsNonRoot", "runAsUser",
			"supplementalGroups").with(fields{"sysctls": group(names("name", "value"))})),
		"hostNetwork": refused(sharedNode), "hostPID": refused(sharedNode), "hostIPC": refused(sharedNode),
	})
}

func affinityFields() fields {
	term := names("namespaces", "topologyKey").with(fields{"labelSelector": group(names("matchLabels").with(fields{
		"matchExpressions": group(names("key", "operator", "values"))}))})
	return fields{
		"nodeAffinity": group(fields{"requiredDuringSchedulingIgnoredDuringExecution": group(fields{
			"nodeSelectorTerms": group(fields{"matchExpressions": group(names("key", "operator", "values"))})})}),
		"podAntiAffinity": group(fields{
			"requiredDuringSchedulingIgnoredDuringExecution": group(term),
			"preferredDuringSchedulingIgnoredDuringExecution": group(names("weight").with(fields{
				"podAffinityTerm": group(term)})),
		}),
	}
}

func containerFields() fields {
	return names("args", "command", "image", "name", "restartPolicy", "stdin", "terminationMessagePath",
		"terminationMessagePolicy", "tty", "workingDir").with(fields{
		"env": group(names("name", "value").with(fields{"valueFrom": group(fields{
			"configMapKeyRef":  group(names("key", "name", "optional")),
			"secretKeyRef":     group(names("key", "name", "optional")),
			"fieldRef":         group(names("apiVersion", "fieldPath")),
			"resourceFieldRef": group(names("containerName", "divisor", "resource")),
		})})),
		"envFrom": group(names("prefix").with(fields{
			"configMapRef": group(names("name", "optional")), "secretRef": group(names("name", "optional"))})),
		"lifecycle":      group(fields{"postStart": group(actionFields()), "preStop": group(actionFields())}),
		"livenessProbe":  group(probeFields()),
		"readinessProbe": group(probeFields()),
		"startupProbe":   group(probeFields()),
		"ports":          group(names("containerPort", "name", "protocol")),
		"resources":      group(names("limits", "requests")),
		"volumeMounts":   group(names("mountPath", "name", "readOnly", "subPath", "subPathExpr")),
		// In the Terraform providers, and sent by live users.
		"imagePullPolicy": nil,
		"stdinOnce":       nil,
		"securityContext": group(names("procMount", "readOnlyRootFilesystem", "runAsGroup", "runAsNonRoot", "runAsUser").
			with(fields{
				"capabilities": group(names("add", "drop")),
				"privileged":   refused("privileged containers are not supported")})),
	})
}

func actionFields() fields {
	return fields{
		"exec":    group(names("command")),
		"httpGet": group(names("host", "path", "port", "scheme").with(fields{"httpHeaders": group(names("name", "value"))})),
	}
}

func probeFields() fields {
	return names("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds").
		with(actionFields()).
		with(fields{"tcpSocket": group(names("host", "port")), "grpc": refused("gRPC probes are not supported")})
}

func volumeFields() fields {
	items := group(names("key", "path", "mode"))
	downward := group(names("path", "mode").with(fields{
		"fieldRef":         group(names("apiVersion", "fieldPath")),
		"resourceFieldRef": group(names("containerName", "divisor", "resource"))}))
	sources := fields{
		"configMap":           group(names("name", "optional").with(fields{"items": items})),
		"secret":              group(names("name", "optional").with(fields{"items": items})),
		"downwardAPI":         group(fields{"items": downward}),
		"serviceAccountToken": refused("serviceAccountToken projections are not supported"),
	}
	return names("name").with(fields{
		"configMap":             group(names("name", "optional", "defaultMode").with(fields{"items": items})),
		"secret":                group(names("secretName", "optional", "defaultMode").with(fields{"items": items})),
		"downwardAPI":           group(names("defaultMode").with(fields{"items": downward})),
		"emptyDir":              group(names("medium", "sizeLimit")),
		"persistentVolumeClaim": group(names("claimName", "readOnly")),
		"projected":             group(names("defaultMode").with(fields{"sources": group(sources)})),
		"hostPath":              refused("hostPath volumes are not supported"),
		// In the Terraform providers only.
		"nfs": group(names("server", "path", "readOnly")),
	})
}

func namespaceFields() fields {
	meta := names("name", "labels", "annotations").with(serverMeta())
	return topFields(meta, fields{"spec": group(names("finalizers"))})
}

func networkFields(meta fields) fields {
	return topFields(meta, fields{"spec": group(names("networkType", "securityGroups", "ipFamilies", "defaultNetwork").
		with(fields{"subnets": group(names("subnetID"))}))})
}

func configMapFields(meta fields) fields {
	return topFields(meta, names("data", "binaryData", "immutable"))
}

func secretFields(meta fields) fields {
	return topFields(meta, names("data", "stringData", "type", "immutable"))
}

// volumeObjectFields are those of the vendor's Terraform provider; the secrets of a CSI driver are left out.
func volumeObjectFields(meta fields) fields {
	return topFields(meta, fields{"spec": group(names("accessModes", "capacity", "mountOptions",
		"persistentVolumeReclaimPolicy", "storageClassName", "volumeMode").with(fields{
		"csi":      group(names("driver", "volumeHandle", "fsType", "readOnly", "volumeAttributes")),
		"claimRef": group(names("apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath")),
	}))})
}

func claimFields(meta fields) fields {
	return topFields(meta, fields{"spec": group(names("accessModes", "storageClassName", "volumeMode", "volumeName").
		with(fields{"resources": group(names("limits", "requests"))}))})
}
