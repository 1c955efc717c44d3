package doctor

// Code identifies a kind of finding. It never gets another meaning. SP1xx are about the installation, SP2xx about the
// scheduler, SP3xx about the webhooks, SP4xx about Leases and rights, SP5xx about virtual nodes, SP6xx about other
// systems of the cluster, SP7xx about workloads, SP9xx about what could not be read.
type Code string

// The codes. Codes has their meanings.
const (
	CodeNotInstalled       Code = "SP101"
	CodeMalformed          Code = "SP102"
	CodeProgramMissing     Code = "SP103"
	CodeProgramUnavailable Code = "SP104"
	CodeFewReplicas        Code = "SP105"
	CodeVersionsDiffer     Code = "SP106"
	CodeNoScheduler        Code = "SP201"
	CodeNoSlots            Code = "SP202"
	CodeWebhookMissing     Code = "SP301"
	CodeNoAuthority        Code = "SP302"
	CodeCertificateInvalid Code = "SP303"
	CodeCertificateExpires Code = "SP304"
	CodeFailurePolicy      Code = "SP305"
	CodeLeaseMissing       Code = "SP401"
	CodeLeaseStale         Code = "SP402"
	CodeRightMissing       Code = "SP403"
	CodeNoVirtualNode      Code = "SP501"
	CodeNodeNotReady       Code = "SP502"
	CodeNodeLocked         Code = "SP503"
	CodeNodeCordoned       Code = "SP504"
	CodeCloudCondition     Code = "SP505"
	CodeDaemonSet          Code = "SP601"
	CodeAutoscaler         Code = "SP602"
	CodeDeletionCost       Code = "SP603"
	CodeServicesMode       Code = "SP604"
	CodeClusterDNS         Code = "SP605"
	CodeSwitchMalformed    Code = "SP701"
	CodeNamespaceMalformed Code = "SP702"
	CodeKeyMalformed       Code = "SP703"
	CodeQuotaNotMet        Code = "SP704"
	CodeQuotaNotCounted    Code = "SP705"
	CodeNotRead            Code = "SP901"
)

// Kind describes a code.
type Kind struct {
	Code     Code
	Severity Severity
	Title    string
	// Meaning is what follows from a finding, and Mend what mends it. A finding may have a more exact command.
	Meaning, Mend string
}

// Codes returns all codes in their order.
func Codes() []Kind {
	return []Kind{
		{CodeNotInstalled, Error, "the installation is not described",
			"Without ConfigMap `kube-public/spillway` the plugin does not know where the programs are, so most " +
				"checks are left out. Without Spillway no Pod bursts.",
			"Install the chart of this version: `helm upgrade --install spillway charts/spillway -n spillway-system " +
				"--create-namespace -f values.yaml`. docs/install.md says what values.yaml contains."},
		{CodeMalformed, Error, "the description of the installation cannot be read",
			"The plugin does not know what the programs would decide.",
			"Install the chart again, which writes the ConfigMap: `helm upgrade spillway charts/spillway -n NAMESPACE " +
				"-f values.yaml`."},
		{CodeProgramMissing, Error, "a program is missing",
			"What it does is not done: admission marks Pods, the extender counts quotas, vnode runs Pods in the cloud.",
			"Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`."},
		{CodeProgramUnavailable, Error, "a program is not available",
			"No replica is ready. Without admission, Pods are created unchanged and stay local. Without the " +
				"extender, managed Pods wait. Without vnode, Pods in the cloud keep running, and none is created.",
			"Find out why: `kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=COMPONENT`."},
		{CodeFewReplicas, Warning, "a program has fewer replicas than it should",
			"If the last one fails, nothing takes over.",
			"Find out why: `kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=COMPONENT`."},
		{CodeVersionsDiffer, Warning, "programs have different versions",
			"Each decides with its own version of the rules. An upgrade may not have finished.",
			"Wait for the rollout, or install the chart again without tags of single images: `helm upgrade spillway " +
				"charts/spillway -n NAMESPACE -f values.yaml`."},
		{CodeNoScheduler, Error, "no scheduler tries managed Pods",
			"They wait without a condition that says why: no scheduler that runs has a profile of the name that they " +
				"have.",
			"Add the profile to the scheduler, or correct `scheduler.name` or `scheduler.otherNames` of the chart: " +
				"see docs/guides/scheduler-service.md."},
		{CodeNoSlots, Warning, "local replicas have no slot",
			"The extender writes a slot to each Pod that it counts. The scheduler does not ask it, or these Pods " +
				"were placed before it did. They count towards their quota nevertheless.",
			"Check that the scheduler has the extender in its configuration (docs/guides/scheduler-service.md). Pods " +
				"that are older than the configuration get a slot when they are replaced."},
		{CodeWebhookMissing, Error, "a webhook is not registered",
			"Pods are created unchanged: no quota, no burst label of a workload has an effect.",
			"Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`."},
		{CodeNoAuthority, Error, "a webhook has no CA",
			"The API server cannot call it, so Pods are created unchanged. Admission writes its CA when it starts.",
			"Look at the log: `kubectl -n NAMESPACE logs deployment/spillway-admission`. Argo CD must ignore " +
				"`caBundle`: see docs/beside.md."},
		{CodeCertificateInvalid, Error, "the certificate of the webhooks is not valid",
			"The API server cannot call them, so Pods are created unchanged.",
			"Empty the Secret, and admission creates another one: `kubectl -n NAMESPACE patch secret " +
				"spillway-admission-tls --type merge -p '{\"data\":null}'`."},
		{CodeCertificateExpires, Warning, "the certificate of the webhooks expires soon",
			"Admission renews it when a third of its time is left. It has not.",
			"Look at the log: `kubectl -n NAMESPACE logs deployment/spillway-admission`."},
		{CodeFailurePolicy, Warning, "a webhook fails closed",
			"While admission does not answer, no Pod that the webhook matches can be created. The chart sets `Ignore`.",
			"Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`."},
		{CodeLeaseMissing, Error, "a Lease is missing",
			"The programs have no right to create it, so no process leads, and what the leader does is not done. " +
				"Argo CD 3 leaves Leases out by default.",
			"Create it: `helm template spillway charts/spillway -n NAMESPACE -f values.yaml --show-only " +
				"templates/leases.yaml | kubectl apply -f -`."},
		{CodeLeaseStale, Error, "no process holds a Lease",
			"No process leads. A Lease of vnode: no process runs the virtual node.",
			"Look at the Pods of the program: `kubectl -n NAMESPACE get pods`, and at the clock of this machine if " +
				"they run."},
		{CodeRightMissing, Error, "a program lacks a right",
			"What needs it fails.",
			"Install the chart again, which has all roles: `helm upgrade spillway charts/spillway -n NAMESPACE " +
				"-f values.yaml`. docs/reference/rights.md has the reason of each."},
		{CodeNoVirtualNode, Error, "there is no virtual node",
			"No Pod can burst.",
			"Look at vnode: `kubectl -n NAMESPACE logs -l app.kubernetes.io/component=vnode`."},
		{CodeNodeNotReady, Error, "a virtual node is not ready",
			"It takes no Pods. Those in the cloud keep running.",
			"Look at the Node and at vnode: `kubectl describe node NODE`."},
		{CodeNodeLocked, Warning, "a virtual node is locked",
			"The cloud is sold out. The node takes no Pods until the lock ends.",
			"Wait, or use another zone: see docs/runbooks/CloudSoldOut.md. `kubectl uncordon NODE` ends the lock at once."},
		{CodeNodeCordoned, Warning, "a virtual node is cordoned",
			"A user has cordoned it. It takes no Pods.",
			"Let it take Pods: `kubectl uncordon NODE`."},
		{CodeCloudCondition, Error, "a virtual node reports a problem with the cloud",
			"Pods that are new wait. Those that run are not affected.",
			"Follow the runbook of the condition: see docs/monitoring.md. `vnode doctor` checks the account."},
		{CodeDaemonSet, Warning, "Pods of a DaemonSet would run on virtual nodes",
			"They cannot run in the cloud, and fail there one after the other. Admission excludes virtual nodes when " +
				"the template of a DaemonSet changes. This one has not changed since.",
			"Let the template change: `kubectl -n NAMESPACE rollout restart daemonset NAME`."},
		{CodeAutoscaler, Warning, "a node autoscaler does not know the marker resource",
			"With `scheduler.mode: service`, a managed Pod fits on no node that it simulates: it adds no node for " +
				"the Pod, and removes none on which such a Pod runs.",
			"Set what docs/beside.md says about node autoscalers: `--scheduler-config-file` of Cluster Autoscaler " +
				"with `ignoredResources: [spillway.io/placement]`, or a NodeOverlay of Karpenter."},
		{CodeDeletionCost, Warning, "another writer ranks Pods in the cloud for scale-in",
			"The order in which replicas are removed is that of the other writer: Pods in the cloud may outlive " +
				"local ones.",
			"Let one of them write `controller.kubernetes.io/pod-deletion-cost`: set `admission.deletionCost` of the " +
				"chart to 0, or turn the other one off: see docs/admission.md."},
		{CodeServicesMode, Error, "a mode of Services is not set up",
			"Pods that ask for it do not start on a virtual node (`UnsupportedPod`).",
			"Set what docs/guides/services.md says about the mode, such as `vnode.pods.clusterDNS` of the chart."},
		{CodeClusterDNS, Warning, "the DNS of Pods in the cloud is not that of the cluster",
			"With `kube-proxy`, `vnode.pods.clusterDNS` is the ClusterIP of the cluster's DNS. Names of Services may " +
				"not resolve.",
			"Set `vnode.pods.clusterDNS` of the chart to the ClusterIP of Service `kube-system/kube-dns`."},
		{CodeSwitchMalformed, Error, "the switch of the cluster is malformed",
			"It counts as off: Pods without a burst label or a switch of their own stay local.",
			"Correct it: `kubectl -n kube-system patch configmap eks-config --type merge -p " +
				"'{\"data\":{\"AUTO_SCALE_EKS\":\"true\"}}'`."},
		{CodeNamespaceMalformed, Error, "an annotation of a namespace is malformed",
			"All its Pods stay on local nodes.",
			"Correct the annotation: `kubectl annotate namespace NAMESPACE KEY=VALUE --overwrite`."},
		{CodeKeyMalformed, Warning, "a key of a workload is malformed",
			"Its Pods stay on local nodes, or the key has no effect.",
			"Correct it. `kubectl spillway why` prints the command."},
		{CodeQuotaNotMet, Warning, "a local quota can never be met",
			"Local nodes hold fewer Pods of this size than the quota keeps local. The others burst, or wait.",
			"Lower `LOCAL_REPLICAS`, or add local nodes that the Pods select."},
		{CodeQuotaNotCounted, Warning, "a local quota has no effect",
			"The scheduler of the Pods does not call the extender, which counts.",
			"Remove `schedulerName`, or name the scheduler in `scheduler.otherNames` of the chart if it calls the " +
				"extender."},
		{CodeNotRead, Info, "something could not be read",
			"The checks that need it were left out.",
			"Run the command with the rights to read it, such as those of cluster-admin."},
	}
}

// kindOf returns the description of a code.
func kindOf(code Code) Kind {
	for _, kind := range Codes() {
		if kind.Code == code {
			return kind
		}
	}
	return Kind{Code: code, Severity: Error}
}
