package translate

// Fate is what becomes of a field of a Pod on its way to the cloud.
type Fate string

const (
	// Carried: it is the same in the cloud.
	Carried Fate = "carried"
	// Rewritten: the cloud gets something else that means the same there.
	Rewritten Fate = "rewritten"
	// Left: it is left out. It has done its work in the cluster, or means nothing where there is no node.
	Left Fate = "left out"
	// Warned: it is left out, and an Event of the Pod says so: somebody may miss it.
	Warned Fate = "left out, with an Event"
	// Barred: a Pod that has it does not run in the cloud; its status says why.
	Barred Fate = "refused"
)

// Field is one field of a type of the Kubernetes API.
type Field struct {
	// Name is that in JSON.
	Name string
	Fate Fate
	// Words say how, or why, where that is not plain.
	Words string
}

// Section is a type of the Kubernetes API, with a row for each of its fields. Fields of embedded types are among them.
type Section struct {
	Type   string
	Fields []Field
}

// Table lists, for every type that a Pod's spec is made of, what becomes of each field. The documentation is made from it, and a test holds it
// against the types of Kubernetes and against what the translation does: a field of a new version has no row until somebody decides.
func Table() []Section { return table }

const (
	scheduled = "the scheduler has obeyed it"
	noHost    = "there is no host"
	unknown   = "the cloud does not know it"
)

var table = []Section{
	{"PodSpec", []Field{
		{"volumes", Rewritten, "see Volume"},
		{"initContainers", Rewritten, "see Container; sidecars are carried as such"},
		{"containers", Rewritten, "see Container"},
		{"ephemeralContainers", Left, "the cloud adds no containers to a running Pod: an Event says so when it is tried"},
		{"restartPolicy", Carried, ""},
		{"terminationGracePeriodSeconds", Carried, ""},
		{"activeDeadlineSeconds", Carried, ""},
		{"dnsPolicy", Rewritten, "to Default or None, which are all that the cloud knows"},
		{"nodeSelector", Left, scheduled},
		{"serviceAccountName", Left, "tokens are requested for it"},
		{"serviceAccount", Left, "the old name of serviceAccountName"},
		{"automountServiceAccountToken", Left, "the API server has obeyed it"},
		{"nodeName", Left, scheduled},
		{"hostNetwork", Barred, "rule HostNamespace"},
		{"hostPID", Barred, "rule HostNamespace"},
		{"hostIPC", Barred, "rule HostNamespace"},
		{"shareProcessNamespace", Carried, ""},
		{"securityContext", Rewritten, "see PodSecurityContext"},
		{"imagePullSecrets", Rewritten, "to copies, and the cloud's own after them"},
		{"hostname", Carried, "without one, the Pod's name"},
		{"subdomain", Warned, "cloud Pods have no names in the cluster's DNS"},
		{"affinity", Left, scheduled},
		{"schedulerName", Left, scheduled},
		{"tolerations", Left, scheduled},
		{"hostAliases", Carried, ""},
		{"priorityClassName", Left, scheduled},
		{"priority", Left, scheduled},
		{"dnsConfig", Rewritten, "joined with the cluster's DNS"},
		{"readinessGates", Left, "they are judged here"},
		{"runtimeClassName", Warned, unknown},
		{"enableServiceLinks", Left, "the variables of Services hold ClusterIPs, which the cloud does not reach"},
		{"preemptionPolicy", Left, scheduled},
		{"overhead", Left, "that of the cloud is not billed"},
		{"topologySpreadConstraints", Left, scheduled},
		{"setHostnameAsFQDN", Carried, ""},
		{"os", Left, scheduled},
		{"hostUsers", Warned, "false asks for a user namespace; in the cloud each Pod has a kernel of its own"},
		{"schedulingGates", Left, scheduled},
		{"resourceClaims", Barred, "rule DynamicResource"},
		{"resources", Rewritten, "into the size of the cloud Pod"},
		{"hostnameOverride", Rewritten, "to hostname"},
		{"schedulingGroup", Left, scheduled},
	}},
	{"PodSecurityContext", []Field{
		{"seLinuxOptions", Warned, noHost},
		{"windowsOptions", Left, "there is no Windows"},
		{"runAsUser", Carried, ""},
		{"runAsGroup", Carried, ""},
		{"runAsNonRoot", Carried, ""},
		{"supplementalGroups", Carried, ""},
		{"supplementalGroupsPolicy", Barred, "rule SupplementalGroupsPolicy, where it is Strict"},
		{"fsGroup", Carried, ""},
		{"sysctls", Carried, "but see rule LocalPortRange"},
		{"fsGroupChangePolicy", Carried, ""},
		{"seccompProfile", Warned, "where it is a file of the host"},
		{"appArmorProfile", Warned, "where it is a file of the host"},
		{"seLinuxChangePolicy", Left, noHost},
	}},
	{"Sysctl", []Field{{"name", Carried, ""}, {"value", Carried, ""}}},
	{"HostAlias", []Field{{"ip", Carried, ""}, {"hostnames", Carried, ""}}},
	{"PodDNSConfig", []Field{{"nameservers", Carried, "three at most"}, {"searches", Carried, "32 at most"}, {"options", Carried, ""}}},
	{"PodDNSConfigOption", []Field{{"name", Carried, ""}, {"value", Carried, ""}}},
	{"LocalObjectReference", []Field{{"name", Rewritten, "to the copy's"}}},
	{"Container", []Field{
		{"name", Carried, ""},
		{"image", Rewritten, "where `pods.imagePrefixes` says so"},
		{"command", Carried, ""},
		{"args", Carried, ""},
		{"workingDir", Carried, ""},
		{"ports", Rewritten, "see ContainerPort"},
		{"envFrom", Rewritten, "see EnvFromSource"},
		{"env", Rewritten, "see EnvVar"},
		{"resources", Rewritten, "see ResourceRequirements"},
		{"resizePolicy", Left, "cloud Pods keep their size"},
		{"restartPolicy", Carried, "of sidecars; any other: rule RestartRules"},
		{"restartPolicyRules", Barred, "rule RestartRules"},
		{"volumeMounts", Rewritten, "see VolumeMount"},
		{"volumeDevices", Barred, "rule BlockDevice"},
		{"livenessProbe", Rewritten, "see Probe"},
		{"readinessProbe", Rewritten, "see Probe"},
		{"startupProbe", Rewritten, "see Probe"},
		{"lifecycle", Rewritten, "see Lifecycle"},
		{"terminationMessagePath", Carried, ""},
		{"terminationMessagePolicy", Carried, ""},
		{"imagePullPolicy", Carried, ""},
		{"securityContext", Rewritten, "see SecurityContext"},
		{"stdin", Carried, "the cloud gives a main process no input nevertheless"},
		{"stdinOnce", Carried, ""},
		{"tty", Carried, ""},
	}},
	{"ContainerPort", []Field{
		{"name", Carried, "probes and Services may use it"},
		{"hostPort", Warned, noHost},
		{"containerPort", Carried, ""},
		{"protocol", Carried, ""},
		{"hostIP", Left, noHost},
	}},
	{"EnvFromSource", []Field{{"prefix", Carried, ""}, {"configMapRef", Rewritten, "to the copy"}, {"secretRef", Rewritten, "to the copy"}}},
	{"ConfigMapEnvSource", []Field{{"name", Rewritten, "to the copy's"}, {"optional", Carried, ""}}},
	{"SecretEnvSource", []Field{{"name", Rewritten, "to the copy's"}, {"optional", Carried, ""}}},
	{"EnvVar", []Field{{"name", Carried, ""}, {"value", Carried, ""}, {"valueFrom", Rewritten, "see EnvVarSource"}}},
	{"EnvVarSource", []Field{
		{"fieldRef", Rewritten, "to its value; the Pod's own addresses are left to the cloud, with an Event"},
		{"resourceFieldRef", Rewritten, "to its value"},
		{"configMapKeyRef", Rewritten, "to the copy"},
		{"secretKeyRef", Rewritten, "to the copy"},
		{"fileKeyRef", Barred, "rule VariableSource"},
	}},
	{"ConfigMapKeySelector", []Field{{"name", Rewritten, "to the copy's"}, {"key", Carried, ""}, {"optional", Carried, ""}}},
	{"SecretKeySelector", []Field{{"name", Rewritten, "to the copy's"}, {"key", Carried, ""}, {"optional", Carried, ""}}},
	{"ObjectFieldSelector", []Field{{"apiVersion", Left, "there is one"}, {"fieldPath", Rewritten, "to its value"}}},
	{"ResourceFieldSelector", []Field{
		{"containerName", Rewritten, "to the value"},
		{"resource", Rewritten, "to the value; a limit that is not set is the size of the cloud Pod"},
		{"divisor", Rewritten, "to the value"},
	}},
	{"ResourceRequirements", []Field{
		{"limits", Rewritten, "CPU and memory: requests too, since the cloud wants both alike"},
		{"requests", Rewritten, "CPU and memory, where there is no limit; more than 30Gi of ephemeral storage are bought, but see rule EphemeralStorage; devices are refused"},
		{"claims", Barred, "rule DynamicResource"},
	}},
	{"VolumeMount", []Field{
		{"name", Carried, ""},
		{"readOnly", Carried, ""},
		{"recursiveReadOnly", Warned, "where it is Enabled"},
		{"mountPath", Carried, ""},
		{"subPath", Carried, "but see rule EmptyDirSubPath"},
		{"mountPropagation", Warned, noHost},
		{"subPathExpr", Carried, "but see rule EmptyDirSubPath"},
	}},
	{"Probe", []Field{
		{"exec", Carried, ""},
		{"httpGet", Carried, "with named ports as they are; but see rule ProbePort"},
		{"tcpSocket", Carried, "with named ports as they are; but see rule ProbePort"},
		{"grpc", Barred, "rule GRPCProbe"},
		{"initialDelaySeconds", Carried, ""},
		{"timeoutSeconds", Carried, ""},
		{"periodSeconds", Carried, ""},
		{"successThreshold", Carried, ""},
		{"failureThreshold", Carried, ""},
		{"terminationGracePeriodSeconds", Warned, "the Pod's holds"},
	}},
	{"ExecAction", []Field{{"command", Carried, ""}}},
	{"HTTPGetAction", []Field{{"path", Carried, ""}, {"port", Carried, ""}, {"host", Carried, ""}, {"scheme", Carried, ""}, {"httpHeaders", Carried, ""}}},
	{"HTTPHeader", []Field{{"name", Carried, ""}, {"value", Carried, ""}}},
	{"TCPSocketAction", []Field{{"port", Carried, ""}, {"host", Carried, ""}}},
	{"Lifecycle", []Field{{"postStart", Rewritten, "see LifecycleHandler"}, {"preStop", Rewritten, "see LifecycleHandler"}, {"stopSignal", Warned, unknown}}},
	{"LifecycleHandler", []Field{
		{"exec", Carried, ""}, {"httpGet", Carried, ""}, {"tcpSocket", Warned, unknown + ": it does nothing at home either"}, {"sleep", Warned, unknown},
	}},
	{"SecurityContext", []Field{
		{"capabilities", Carried, ""},
		{"privileged", Barred, "rule Privileged"},
		{"seLinuxOptions", Warned, noHost},
		{"windowsOptions", Left, "there is no Windows"},
		{"runAsUser", Carried, ""},
		{"runAsGroup", Carried, ""},
		{"runAsNonRoot", Carried, ""},
		{"readOnlyRootFilesystem", Carried, ""},
		{"allowPrivilegeEscalation", Warned, "where it is false"},
		{"procMount", Carried, ""},
		{"seccompProfile", Warned, "where it is a file of the host"},
		{"appArmorProfile", Warned, "where it is a file of the host"},
	}},
	{"Capabilities", []Field{{"add", Carried, ""}, {"drop", Carried, ""}}},
	{"Volume", []Field{
		{"name", Carried, ""},
		{"hostPath", Rewritten, "as its replacement says; `/etc/localtime` becomes the variable TZ; else refused by rule HostPath"},
		{"emptyDir", Carried, "but see rule EmptyDirSizeLimit"},
		{"gcePersistentDisk", Barred, "rule VolumeKind"},
		{"awsElasticBlockStore", Barred, "rule VolumeKind"},
		{"gitRepo", Barred, "rule VolumeKind"},
		{"secret", Rewritten, "to the copy"},
		{"nfs", Carried, ""},
		{"iscsi", Barred, "rule VolumeKind"},
		{"glusterfs", Barred, "rule VolumeKind"},
		{"persistentVolumeClaim", Rewritten, "to the copy; of SFS and SFS Turbo only, see rule PersistentVolumeKind"},
		{"rbd", Barred, "rule VolumeKind"},
		{"flexVolume", Barred, "rule VolumeKind"},
		{"cinder", Barred, "rule VolumeKind"},
		{"cephfs", Barred, "rule VolumeKind"},
		{"flocker", Barred, "rule VolumeKind"},
		{"downwardAPI", Rewritten, "to annotations of the cloud Pod"},
		{"fc", Barred, "rule VolumeKind"},
		{"azureFile", Barred, "rule VolumeKind"},
		{"configMap", Rewritten, "to the copy"},
		{"vsphereVolume", Barred, "rule VolumeKind"},
		{"quobyte", Barred, "rule VolumeKind"},
		{"azureDisk", Barred, "rule VolumeKind"},
		{"photonPersistentDisk", Barred, "rule VolumeKind"},
		{"projected", Rewritten, "see VolumeProjection"},
		{"portworxVolume", Barred, "rule VolumeKind"},
		{"scaleIO", Barred, "rule VolumeKind"},
		{"storageos", Barred, "rule VolumeKind"},
		{"csi", Barred, "rule VolumeKind"},
		{"ephemeral", Rewritten, "to the copy of the claim that the cluster makes, as any claim"},
		{"image", Barred, "rule VolumeKind"},
	}},
	{"PersistentVolumeClaimVolumeSource", []Field{{"claimName", Rewritten, "to the copy's"}, {"readOnly", Carried, ""}}},
	{"EphemeralVolumeSource", []Field{{"volumeClaimTemplate", Left, "the cluster has made the claim"}}},
	{"HostPathVolumeSource", []Field{{"path", Rewritten, "`/etc/localtime` only"}, {"type", Left, noHost}}},
	{"EmptyDirVolumeSource", []Field{{"medium", Carried, ""}, {"sizeLimit", Carried, ""}}},
	{"SecretVolumeSource", []Field{
		{"secretName", Rewritten, "to the copy's"}, {"items", Carried, ""}, {"defaultMode", Carried, ""}, {"optional", Carried, ""},
	}},
	{"ConfigMapVolumeSource", []Field{
		{"name", Rewritten, "to the copy's"}, {"items", Carried, ""}, {"defaultMode", Carried, ""}, {"optional", Carried, ""},
	}},
	{"KeyToPath", []Field{{"key", Carried, ""}, {"path", Carried, ""}, {"mode", Carried, ""}}},
	{"NFSVolumeSource", []Field{{"server", Carried, "the cloud must reach it"}, {"path", Carried, ""}, {"readOnly", Carried, ""}}},
	{"DownwardAPIVolumeSource", []Field{{"items", Rewritten, "see DownwardAPIVolumeFile"}, {"defaultMode", Carried, ""}}},
	{"DownwardAPIVolumeFile", []Field{
		{"path", Carried, ""},
		{"fieldRef", Rewritten, "to an annotation of the cloud Pod that holds the value"},
		{"resourceFieldRef", Rewritten, "to an annotation of the cloud Pod that holds the value"},
		{"mode", Carried, ""},
	}},
	{"ProjectedVolumeSource", []Field{{"sources", Rewritten, "see VolumeProjection"}, {"defaultMode", Carried, ""}}},
	{"VolumeProjection", []Field{
		{"secret", Rewritten, "to the copy"},
		{"downwardAPI", Rewritten, "to annotations of the cloud Pod"},
		{"configMap", Rewritten, "to the copy"},
		{"serviceAccountToken", Rewritten, "to a Secret with tokens for this Pod"},
		{"clusterTrustBundle", Barred, "rule VolumeKind"},
		{"podCertificate", Barred, "rule VolumeKind"},
	}},
	{"SecretProjection", []Field{{"name", Rewritten, "to the copy's"}, {"items", Carried, ""}, {"optional", Carried, ""}}},
	{"ConfigMapProjection", []Field{{"name", Rewritten, "to the copy's"}, {"items", Carried, ""}, {"optional", Carried, ""}}},
	{"DownwardAPIProjection", []Field{{"items", Rewritten, "see DownwardAPIVolumeFile"}}},
	{"ServiceAccountTokenProjection", []Field{
		{"audience", Rewritten, "to the token's key"}, {"expirationSeconds", Rewritten, "to the token's key"}, {"path", Carried, ""},
	}},
}
