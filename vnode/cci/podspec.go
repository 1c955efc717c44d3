package cci

import (
	corev1 "k8s.io/api/core/v1"
)

// PodSpec contains every field that CCI 2.0 accepts, and only fields that CCI 1.0 accepts as well: those of the
// published schema and those that the vendor's own Terraform provider sends. Other fields of a Kubernetes Pod cannot
// be expressed. Types that are identical in both APIs are those of Kubernetes. Source: CCI API, "Pod".
type PodSpec struct {
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
	// Affinity has a node affinity with keys of zones and regions only.
	Affinity       *corev1.Affinity `json:"affinity,omitempty"`
	InitContainers []Container      `json:"initContainers,omitempty"`
	Containers     []Container      `json:"containers"`
	// DNSPolicy is Default or None.
	DNSPolicy corev1.DNSPolicy     `json:"dnsPolicy,omitempty"`
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// ExtraEphemeralStorage is disk space in addition to what every Pod has.
	ExtraEphemeralStorage         *ExtraEphemeralStorage        `json:"extraEphemeralStorage,omitempty"`
	HostAliases                   []corev1.HostAlias            `json:"hostAliases,omitempty"`
	Hostname                      string                        `json:"hostname,omitempty"`
	ImagePullSecrets              []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	RestartPolicy                 corev1.RestartPolicy          `json:"restartPolicy,omitempty"`
	SecurityContext               *PodSecurityContext           `json:"securityContext,omitempty"`
	SetHostnameAsFQDN             *bool                         `json:"setHostnameAsFQDN,omitempty"`
	ShareProcessNamespace         *bool                         `json:"shareProcessNamespace,omitempty"`
	TerminationGracePeriodSeconds *int64                        `json:"terminationGracePeriodSeconds,omitempty"`
	Volumes                       []Volume                      `json:"volumes,omitempty"`
}

// ExtraEphemeralStorage is disk space that is billed.
type ExtraEphemeralStorage struct {
	SizeInGiB int32 `json:"sizeInGiB"`
}

// Container is a container or, with RestartPolicy, a sidecar among the init containers.
type Container struct {
	Name                     string                          `json:"name"`
	Image                    string                          `json:"image,omitempty"`
	ImagePullPolicy          corev1.PullPolicy               `json:"imagePullPolicy,omitempty"`
	Command                  []string                        `json:"command,omitempty"`
	Args                     []string                        `json:"args,omitempty"`
	WorkingDir               string                          `json:"workingDir,omitempty"`
	EnvFrom                  []corev1.EnvFromSource          `json:"envFrom,omitempty"`
	Env                      []corev1.EnvVar                 `json:"env,omitempty"`
	Ports                    []ContainerPort                 `json:"ports,omitempty"`
	Resources                Resources                       `json:"resources,omitzero"`
	VolumeMounts             []VolumeMount                   `json:"volumeMounts,omitempty"`
	Lifecycle                *Lifecycle                      `json:"lifecycle,omitempty"`
	LivenessProbe            *Probe                          `json:"livenessProbe,omitempty"`
	ReadinessProbe           *Probe                          `json:"readinessProbe,omitempty"`
	StartupProbe             *Probe                          `json:"startupProbe,omitempty"`
	RestartPolicy            *corev1.ContainerRestartPolicy  `json:"restartPolicy,omitempty"`
	SecurityContext          *SecurityContext                `json:"securityContext,omitempty"`
	Stdin                    bool                            `json:"stdin,omitempty"`
	StdinOnce                bool                            `json:"stdinOnce,omitempty"`
	TTY                      bool                            `json:"tty,omitempty"`
	TerminationMessagePath   string                          `json:"terminationMessagePath,omitempty"`
	TerminationMessagePolicy corev1.TerminationMessagePolicy `json:"terminationMessagePolicy,omitempty"`
}

// ContainerPort has no hostPort because there is no host.
type ContainerPort struct {
	Name          string          `json:"name,omitempty"`
	ContainerPort int32           `json:"containerPort"`
	Protocol      corev1.Protocol `json:"protocol,omitempty"`
}

// Resources contain only CPU and memory.
type Resources struct {
	Limits   corev1.ResourceList `json:"limits,omitempty"`
	Requests corev1.ResourceList `json:"requests,omitempty"`
}

// VolumeMount mounts a volume of the Pod.
type VolumeMount struct {
	Name        string `json:"name"`
	MountPath   string `json:"mountPath"`
	ReadOnly    bool   `json:"readOnly,omitempty"`
	SubPath     string `json:"subPath,omitempty"`
	SubPathExpr string `json:"subPathExpr,omitempty"`
}

// Lifecycle holds a container's hooks.
type Lifecycle struct {
	PostStart *Handler `json:"postStart,omitempty"`
	PreStop   *Handler `json:"preStop,omitempty"`
}

// Handler is a hook. One of its fields is set.
type Handler struct {
	Exec    *corev1.ExecAction    `json:"exec,omitempty"`
	HTTPGet *corev1.HTTPGetAction `json:"httpGet,omitempty"`
}

// Probe has one of exec, httpGet and tcpSocket. CCI has no gRPC probes.
type Probe struct {
	Exec                *corev1.ExecAction      `json:"exec,omitempty"`
	HTTPGet             *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket           *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	InitialDelaySeconds int32                   `json:"initialDelaySeconds,omitempty"`
	TimeoutSeconds      int32                   `json:"timeoutSeconds,omitempty"`
	PeriodSeconds       int32                   `json:"periodSeconds,omitempty"`
	SuccessThreshold    int32                   `json:"successThreshold,omitempty"`
	FailureThreshold    int32                   `json:"failureThreshold,omitempty"`
}

// SecurityContext is the security context of a container. CCI has no privileged containers.
type SecurityContext struct {
	Capabilities           *corev1.Capabilities  `json:"capabilities,omitempty"`
	ProcMount              *corev1.ProcMountType `json:"procMount,omitempty"`
	ReadOnlyRootFilesystem *bool                 `json:"readOnlyRootFilesystem,omitempty"`
	RunAsGroup             *int64                `json:"runAsGroup,omitempty"`
	RunAsNonRoot           *bool                 `json:"runAsNonRoot,omitempty"`
	RunAsUser              *int64                `json:"runAsUser,omitempty"`
}

// PodSecurityContext is the security context of all containers.
type PodSecurityContext struct {
	FSGroup             *int64                         `json:"fsGroup,omitempty"`
	FSGroupChangePolicy *corev1.PodFSGroupChangePolicy `json:"fsGroupChangePolicy,omitempty"`
	RunAsGroup          *int64                         `json:"runAsGroup,omitempty"`
	RunAsNonRoot        *bool                          `json:"runAsNonRoot,omitempty"`
	RunAsUser           *int64                         `json:"runAsUser,omitempty"`
	SupplementalGroups  []int64                        `json:"supplementalGroups,omitempty"`
	Sysctls             []corev1.Sysctl                `json:"sysctls,omitempty"`
}

// Volume has one of the sources below.
type Volume struct {
	Name                  string                                    `json:"name"`
	EmptyDir              *corev1.EmptyDirVolumeSource              `json:"emptyDir,omitempty"`
	NFS                   *corev1.NFSVolumeSource                   `json:"nfs,omitempty"`
	ConfigMap             *corev1.ConfigMapVolumeSource             `json:"configMap,omitempty"`
	Secret                *corev1.SecretVolumeSource                `json:"secret,omitempty"`
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`
	DownwardAPI           *corev1.DownwardAPIVolumeSource           `json:"downwardAPI,omitempty"`
	Projected             *ProjectedVolume                          `json:"projected,omitempty"`
}

// ProjectedVolume combines several sources in one volume.
type ProjectedVolume struct {
	DefaultMode *int32       `json:"defaultMode,omitempty"`
	Sources     []Projection `json:"sources,omitempty"`
}

// Projection is one source of a ProjectedVolume. CCI does not project ServiceAccount tokens.
type Projection struct {
	ConfigMap   *corev1.ConfigMapProjection   `json:"configMap,omitempty"`
	Secret      *corev1.SecretProjection      `json:"secret,omitempty"`
	DownwardAPI *corev1.DownwardAPIProjection `json:"downwardAPI,omitempty"`
}
