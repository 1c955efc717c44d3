package translate

// Handling is what the translation does with a field of a Pod.
type Handling string

const (
	// Copied means that the cloud Pod has the same value.
	Copied Handling = "copied"
	// Translated means that the cloud Pod has another value or field with the same effect.
	Translated Handling = "translated"
	// Dropped means that the cloud Pod does not have the field. The field has already taken effect in the cluster, or
	// has no meaning in the cloud.
	Dropped Handling = "dropped"
	// DroppedWithEvent means that the cloud Pod does not have the field, and that an Event of the Pod says so, because
	// it may matter to the user.
	DroppedWithEvent Handling = "dropped, with an Event"
	// Unsupported means that a Pod with this field does not run in the cloud. Its status contains the reason.
	Unsupported Handling = "not supported"
)

// Field is one field of a type of the Kubernetes API.
type Field struct {
	// Name is the name in JSON.
	Name     string
	Handling Handling
	// Note explains how or why, if that is not obvious.
	Note string
}

// Section is a type of the Kubernetes API, with a row for each of its fields, including those of embedded types.
type Section struct {
	Type   string
	Fields []Field
}

// Table lists how each field of each type in a Pod's spec is translated. The documentation is generated from it. A
// test compares it with the types of Kubernetes and with the result of the translation. It fails when a new version of
// Kubernetes adds a field that has no row.
func Table() []Section { return table }

const (
	scheduled   = "kube-scheduler has already applied it"
	noHost      = "cloud Pods have no host"
	unsupported = "the cloud does not support it"
)

var table = []Section{
	{"PodSpec", []Field{
		{"volumes", Translated, "see Volume"},
		{"initContainers", Translated, "see Container; sidecars remain sidecars"},
		{"containers", Translated, "see Container"},
		{"ephemeralContainers", Dropped, "the cloud cannot add containers to a running Pod; an Event reports the " +
			"attempt, and the status shows that the container has ended"},
		{"restartPolicy", Copied, ""},
		{"terminationGracePeriodSeconds", Copied, ""},
		{"activeDeadlineSeconds", Copied, "vnode ends the Pod; the cloud ends it if vnode does not run"},
		{"dnsPolicy", Translated, "to Default or None, the only policies of the cloud"},
		{"nodeSelector", Dropped, scheduled},
		{"serviceAccountName", Dropped, "tokens are requested for this ServiceAccount"},
		{"serviceAccount", Dropped, "the former name of serviceAccountName"},
		{"automountServiceAccountToken", Dropped, "the API server has already applied it"},
		{"nodeName", Dropped, scheduled},
		{"hostNetwork", Unsupported, "rule HostNamespace"},
		{"hostPID", Unsupported, "rule HostNamespace"},
		{"hostIPC", Unsupported, "rule HostNamespace"},
		{"shareProcessNamespace", Copied, ""},
		{"securityContext", Translated, "see PodSecurityContext"},
		{"imagePullSecrets", Translated, "to mirrors, followed by the Secret of the cloud namespace"},
		{"hostname", Copied, "the name of the Pod if it is not set"},
		{"subdomain", Dropped, "the DNS of the cluster has the name of the Pod, as that of any other; the Pod does not " +
			"find its own full name in /etc/hosts (`hostname -f`)"},
		{"affinity", Dropped, scheduled + "; in the cloud the zone of the virtual node is required"},
		{"schedulerName", Dropped, scheduled},
		{"tolerations", Dropped, scheduled},
		{"hostAliases", Copied, ""},
		{"priorityClassName", Dropped, scheduled},
		{"priority", Dropped, scheduled},
		{"dnsConfig", Translated, "merged with the DNS of the cluster"},
		{"readinessGates", Dropped, "evaluated in the cluster"},
		{"runtimeClassName", DroppedWithEvent, unsupported},
		{"enableServiceLinks", Translated, "to the variables of the Services, with a [mode](guides/services.md) in which " +
			"Pods reach ClusterIPs"},
		{"preemptionPolicy", Dropped, scheduled},
		{"overhead", Dropped, "the overhead of cloud Pods is not billed"},
		{"topologySpreadConstraints", Dropped, scheduled},
		{"setHostnameAsFQDN", Copied, ""},
		{"os", Dropped, scheduled},
		{"hostUsers", DroppedWithEvent, "if false, which requests a user namespace: each cloud Pod has a kernel " +
			"of its own"},
		{"schedulingGates", Dropped, scheduled},
		{"resourceClaims", Unsupported, "rule DynamicResource"},
		{"resources", Translated, "to the size of the cloud Pod"},
		{"hostnameOverride", Translated, "to hostname"},
		{"schedulingGroup", Dropped, scheduled},
		{"evictionResponders", Dropped, "Kubernetes asks them before it evicts the Pod"},
	}},
	{"PodSecurityContext", []Field{
		{"seLinuxOptions", DroppedWithEvent, noHost},
		{"windowsOptions", Dropped, "the cloud has no Windows"},
		{"runAsUser", Copied, ""},
		{"runAsGroup", Copied, ""},
		{"runAsNonRoot", Copied, ""},
		{"supplementalGroups", Copied, ""},
		{"supplementalGroupsPolicy", Unsupported, "rule SupplementalGroupsPolicy, if Strict"},
		{"fsGroup", Copied, ""},
		{"sysctls", Copied, "see rule LocalPortRange"},
		{"fsGroupChangePolicy", Copied, ""},
		{"seccompProfile", DroppedWithEvent, "if the type is Localhost"},
		{"appArmorProfile", DroppedWithEvent, "if the type is Localhost"},
		{"seLinuxChangePolicy", Dropped, noHost},
	}},
	{"Sysctl", []Field{{"name", Copied, ""}, {"value", Copied, ""}}},
	{"HostAlias", []Field{{"ip", Copied, ""}, {"hostnames", Copied, ""}}},
	{"PodDNSConfig", []Field{
		{"nameservers", Copied, "at most 3"},
		{"searches", Translated, "3 at most, with CCI 1.0 6; an Event names the others"},
		{"options", Copied, ""},
	}},
	{"PodDNSConfigOption", []Field{{"name", Copied, ""}, {"value", Copied, ""}}},
	{"LocalObjectReference", []Field{{"name", Translated, "to the name of the mirror"}}},
	{"Container", []Field{
		{"name", Copied, ""},
		{"image", Translated, "as configured in `pods.imagePrefixes`"},
		{"command", Copied, ""},
		{"args", Copied, ""},
		{"workingDir", Copied, ""},
		{"ports", Translated, "see ContainerPort"},
		{"envFrom", Translated, "see EnvFromSource"},
		{"env", Translated, "see EnvVar"},
		{"resources", Translated, "see ResourceRequirements"},
		{"resizePolicy", Dropped, "the size of a cloud Pod does not change"},
		{"restartPolicy", Copied, "of sidecars; for other containers see rule RestartRules"},
		{"restartPolicyRules", Unsupported, "rule RestartRules"},
		{"volumeMounts", Translated, "see VolumeMount"},
		{"volumeDevices", Unsupported, "rule BlockDevice"},
		{"livenessProbe", Translated, "see Probe"},
		{"readinessProbe", Translated, "see Probe"},
		{"startupProbe", Translated, "see Probe"},
		{"lifecycle", Translated, "see Lifecycle"},
		{"terminationMessagePath", Copied, ""},
		{"terminationMessagePolicy", Copied, ""},
		{"imagePullPolicy", Copied, "CCI may not keep it"},
		{"securityContext", Translated, "see SecurityContext"},
		{"stdin", Copied, "the cloud does not connect any input to the main process"},
		{"stdinOnce", Copied, ""},
		{"tty", Copied, ""},
	}},
	{"ContainerPort", []Field{
		{"name", Copied, "used by probes and Services"},
		{"hostPort", DroppedWithEvent, noHost},
		{"containerPort", Copied, ""},
		{"protocol", Copied, ""},
		{"hostIP", Dropped, noHost},
	}},
	{"EnvFromSource", []Field{
		{"prefix", Copied, ""},
		{"configMapRef", Translated, "to the mirror"},
		{"secretRef", Translated, "to the mirror"},
	}},
	{"ConfigMapEnvSource", []Field{{"name", Translated, "to the name of the mirror"}, {"optional", Copied, ""}}},
	{"SecretEnvSource", []Field{{"name", Translated, "to the name of the mirror"}, {"optional", Copied, ""}}},
	{"EnvVar", []Field{{"name", Copied, ""}, {"value", Copied, ""}, {"valueFrom", Translated, "see EnvVarSource"}}},
	{"EnvVarSource", []Field{
		{"fieldRef", Translated, "to its value; the cloud resolves status.podIP and status.podIPs, with an Event"},
		{"resourceFieldRef", Translated, "to its value"},
		{"configMapKeyRef", Translated, "to the mirror"},
		{"secretKeyRef", Translated, "to the mirror"},
		{"fileKeyRef", Unsupported, "rule VariableSource"},
	}},
	{"ConfigMapKeySelector", []Field{
		{"name", Translated, "to the name of the mirror"},
		{"key", Copied, ""},
		{"optional", Copied, ""},
	}},
	{"SecretKeySelector", []Field{
		{"name", Translated, "to the name of the mirror"},
		{"key", Copied, ""},
		{"optional", Copied, ""},
	}},
	{"ObjectFieldSelector", []Field{
		{"apiVersion", Dropped, "there is only one version"},
		{"fieldPath", Translated, "to its value"},
	}},
	{"ResourceFieldSelector", []Field{
		{"containerName", Translated, "to the value"},
		{"resource", Translated, "to the value; a limit that is not set becomes the size of the cloud Pod"},
		{"divisor", Translated, "to the value"},
	}},
	{"ResourceRequirements", []Field{
		{"limits", Translated, "CPU and memory; requests are set to the same values, because the cloud requires it"},
		{"requests", Translated, "CPU and memory without a limit; ephemeral storage above 30Gi is billed " +
			"(see rule EphemeralStorage); devices are refused"},
		{"claims", Unsupported, "rule DynamicResource"},
	}},
	{"VolumeMount", []Field{
		{"name", Copied, ""},
		{"readOnly", Copied, ""},
		{"recursiveReadOnly", DroppedWithEvent, "if Enabled"},
		{"mountPath", Copied, ""},
		{"subPath", Copied, "those of an emptyDir become volumes of their own (see rule EmptyDirSubPath)"},
		{"mountPropagation", DroppedWithEvent, noHost},
		{"subPathExpr", Copied, "see rule EmptyDirSubPath"},
		{"bindMountOptions", DroppedWithEvent, unsupported},
	}},
	{"Probe", []Field{
		{"exec", Copied, ""},
		{"httpGet", Copied, "including named ports; see rule ProbePort"},
		{"tcpSocket", Copied, "including named ports; see rule ProbePort"},
		{"grpc", Unsupported, "rule GRPCProbe"},
		{"initialDelaySeconds", Copied, ""},
		{"timeoutSeconds", Copied, ""},
		{"periodSeconds", Copied, ""},
		{"successThreshold", Copied, ""},
		{"failureThreshold", Copied, ""},
		{"terminationGracePeriodSeconds", DroppedWithEvent, "that of the Pod applies"},
	}},
	{"ExecAction", []Field{{"command", Copied, ""}}},
	{"HTTPGetAction", []Field{
		{"path", Copied, ""},
		{"port", Copied, ""},
		{"host", Copied, ""},
		{"scheme", Copied, ""},
		{"httpHeaders", Copied, ""},
		{"protocol", DroppedWithEvent, "the cloud uses HTTP/1.1"},
	}},
	{"HTTPHeader", []Field{{"name", Copied, ""}, {"value", Copied, ""}}},
	{"TCPSocketAction", []Field{{"port", Copied, ""}, {"host", Copied, ""}}},
	{"Lifecycle", []Field{
		{"postStart", Translated, "see LifecycleHandler"},
		{"preStop", Translated, "see LifecycleHandler"},
		{"stopSignal", DroppedWithEvent, unsupported},
	}},
	{"LifecycleHandler", []Field{
		{"exec", Copied, ""},
		{"httpGet", Copied, ""},
		{"tcpSocket", DroppedWithEvent, "has no effect on local nodes either"},
		{"sleep", DroppedWithEvent, unsupported},
	}},
	{"SecurityContext", []Field{
		{"capabilities", Copied, ""},
		{"privileged", Unsupported, "rule Privileged"},
		{"seLinuxOptions", DroppedWithEvent, noHost},
		{"windowsOptions", Dropped, "the cloud has no Windows"},
		{"runAsUser", Copied, ""},
		{"runAsGroup", Copied, ""},
		{"runAsNonRoot", Copied, ""},
		{"readOnlyRootFilesystem", Copied, ""},
		{"allowPrivilegeEscalation", DroppedWithEvent, "if false"},
		{"procMount", Copied, ""},
		{"seccompProfile", DroppedWithEvent, "if the type is Localhost"},
		{"appArmorProfile", DroppedWithEvent, "if the type is Localhost"},
	}},
	{"Capabilities", []Field{{"add", Copied, ""}, {"drop", Copied, ""}}},
	{"Volume", []Field{
		{"name", Copied, ""},
		{"hostPath", Translated, "to its replacement (see rule HostPath); `/etc/localtime` becomes the variable TZ"},
		{"emptyDir", Copied, "see rule EmptyDirSizeLimit"},
		{"gcePersistentDisk", Unsupported, "rule VolumeKind"},
		{"awsElasticBlockStore", Unsupported, "rule VolumeKind"},
		{"gitRepo", Unsupported, "rule VolumeKind"},
		{"secret", Translated, "to the mirror"},
		{"nfs", Copied, ""},
		{"iscsi", Unsupported, "rule VolumeKind"},
		{"glusterfs", Unsupported, "rule VolumeKind"},
		{"persistentVolumeClaim", Translated, "to the mirror; SFS and SFS Turbo only, see rule PersistentVolumeKind"},
		{"rbd", Unsupported, "rule VolumeKind"},
		{"flexVolume", Unsupported, "rule VolumeKind"},
		{"cinder", Unsupported, "rule VolumeKind"},
		{"cephfs", Unsupported, "rule VolumeKind"},
		{"flocker", Unsupported, "rule VolumeKind"},
		{"downwardAPI", Translated, "to annotations of the cloud Pod"},
		{"fc", Unsupported, "rule VolumeKind"},
		{"azureFile", Unsupported, "rule VolumeKind"},
		{"configMap", Translated, "to the mirror"},
		{"vsphereVolume", Unsupported, "rule VolumeKind"},
		{"quobyte", Unsupported, "rule VolumeKind"},
		{"azureDisk", Unsupported, "rule VolumeKind"},
		{"photonPersistentDisk", Unsupported, "rule VolumeKind"},
		{"projected", Translated, "see VolumeProjection"},
		{"portworxVolume", Unsupported, "rule VolumeKind"},
		{"scaleIO", Unsupported, "rule VolumeKind"},
		{"storageos", Unsupported, "rule VolumeKind"},
		{"csi", Unsupported, "rule VolumeKind"},
		{"ephemeral", Translated, "to the mirror of the claim that the cluster creates"},
		{"image", Unsupported, "rule VolumeKind"},
	}},
	{"PersistentVolumeClaimVolumeSource", []Field{
		{"claimName", Translated, "to the name of the mirror"},
		{"readOnly", Copied, ""},
	}},
	{"EphemeralVolumeSource", []Field{{"volumeClaimTemplate", Dropped, "the cluster has created the claim"}}},
	{"HostPathVolumeSource", []Field{{"path", Translated, "`/etc/localtime` only"}, {"type", Dropped, noHost}}},
	{"EmptyDirVolumeSource", []Field{
		{"medium", Copied, ""},
		{"sizeLimit", Copied, ""},
		{"mode", DroppedWithEvent, unsupported},
	}},
	{"SecretVolumeSource", []Field{
		{"secretName", Translated, "to the name of the mirror"},
		{"items", Copied, ""},
		{"defaultMode", Copied, ""},
		{"optional", Copied, ""},
		{"defaultUser", DroppedWithEvent, unsupported},
	}},
	{"ConfigMapVolumeSource", []Field{
		{"name", Translated, "to the name of the mirror"},
		{"items", Copied, ""},
		{"defaultMode", Copied, ""},
		{"optional", Copied, ""},
		{"defaultUser", DroppedWithEvent, unsupported},
	}},
	{"KeyToPath", []Field{
		{"key", Copied, ""},
		{"path", Copied, ""},
		{"mode", Copied, ""},
		{"user", DroppedWithEvent, unsupported},
	}},
	{"NFSVolumeSource", []Field{
		{"server", Copied, "the cloud must be able to reach it"},
		{"path", Copied, ""},
		{"readOnly", Copied, ""},
	}},
	{"DownwardAPIVolumeSource", []Field{
		{"items", Translated, "see DownwardAPIVolumeFile"},
		{"defaultMode", Copied, ""},
		{"defaultUser", DroppedWithEvent, unsupported},
	}},
	{"DownwardAPIVolumeFile", []Field{
		{"path", Copied, ""},
		{"fieldRef", Translated, "to an annotation of the cloud Pod that contains the value"},
		{"resourceFieldRef", Translated, "to an annotation of the cloud Pod that contains the value"},
		{"mode", Copied, ""},
		{"user", DroppedWithEvent, unsupported},
	}},
	{"ProjectedVolumeSource", []Field{
		{"sources", Translated, "see VolumeProjection"},
		{"defaultMode", Copied, ""},
		{"defaultUser", DroppedWithEvent, unsupported},
	}},
	{"VolumeProjection", []Field{
		{"secret", Translated, "to the mirror"},
		{"downwardAPI", Translated, "to annotations of the cloud Pod"},
		{"configMap", Translated, "to the mirror"},
		{"serviceAccountToken", Translated, "to a Secret with tokens of this Pod"},
		{"clusterTrustBundle", Unsupported, "rule VolumeKind"},
		{"podCertificate", Unsupported, "rule VolumeKind"},
	}},
	{"SecretProjection", []Field{
		{"name", Translated, "to the name of the mirror"},
		{"items", Copied, ""},
		{"optional", Copied, ""},
	}},
	{"ConfigMapProjection", []Field{
		{"name", Translated, "to the name of the mirror"},
		{"items", Copied, ""},
		{"optional", Copied, ""},
	}},
	{"DownwardAPIProjection", []Field{{"items", Translated, "see DownwardAPIVolumeFile"}}},
	{"ServiceAccountTokenProjection", []Field{
		{"audience", Translated, "to the key of the token"},
		{"expirationSeconds", Translated, "to the key of the token"},
		{"path", Copied, ""},
		{"user", DroppedWithEvent, unsupported},
	}},
}
