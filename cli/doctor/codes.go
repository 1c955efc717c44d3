package doctor

import "github.com/spillway-k8s/spillway/internal/diagnosis"

// The codes. Codes has their meanings. SP1xx are about the installation, SP2xx about the scheduler, SP3xx about the
// webhooks, SP4xx about Leases and rights, SP5xx about virtual nodes, SP6xx about other systems of the cluster, SP7xx
// about workloads, SP9xx about what could not be read.
const (
	CodeNotInstalled       diagnosis.Code = "SP101"
	CodeMalformed          diagnosis.Code = "SP102"
	CodeProgramMissing     diagnosis.Code = "SP103"
	CodeProgramUnavailable diagnosis.Code = "SP104"
	CodeFewReplicas        diagnosis.Code = "SP105"
	CodeVersionsDiffer     diagnosis.Code = "SP106"
	CodeNoScheduler        diagnosis.Code = "SP201"
	CodeNoSlots            diagnosis.Code = "SP202"
	CodeWebhookMissing     diagnosis.Code = "SP301"
	CodeNoAuthority        diagnosis.Code = "SP302"
	CodeCertificateInvalid diagnosis.Code = "SP303"
	CodeCertificateExpires diagnosis.Code = "SP304"
	CodeFailurePolicy      diagnosis.Code = "SP305"
	CodeLeaseMissing       diagnosis.Code = "SP401"
	CodeLeaseStale         diagnosis.Code = "SP402"
	CodeRightMissing       diagnosis.Code = "SP403"
	CodeNoVirtualNode      diagnosis.Code = "SP501"
	CodeNodeNotReady       diagnosis.Code = "SP502"
	CodeNodeLocked         diagnosis.Code = "SP503"
	CodeNodeCordoned       diagnosis.Code = "SP504"
	CodeCloudCondition     diagnosis.Code = "SP505"
	CodeDaemonSet          diagnosis.Code = "SP601"
	CodeAutoscaler         diagnosis.Code = "SP602"
	CodeDeletionCost       diagnosis.Code = "SP603"
	CodeServicesMode       diagnosis.Code = "SP604"
	CodeClusterDNS         diagnosis.Code = "SP605"
	CodeSwitchMalformed    diagnosis.Code = "SP701"
	CodeNamespaceMalformed diagnosis.Code = "SP702"
	CodeKeyMalformed       diagnosis.Code = "SP703"
	CodeQuotaNotMet        diagnosis.Code = "SP704"
	CodeQuotaNotCounted    diagnosis.Code = "SP705"
	CodeSharesContradict   diagnosis.Code = "SP706"
	CodeSharesTooSmall     diagnosis.Code = "SP707"
	CodeMinimumWaits       diagnosis.Code = "SP708"
	CodeGroupShares        diagnosis.Code = "SP709"
	CodeNotRead            diagnosis.Code = "SP901"
)

// Codes returns all codes in their order.
func Codes() diagnosis.Kinds {
	return diagnosis.Kinds{
		{
			Code: CodeNotInstalled, Severity: diagnosis.Error, Title: "the installation is not described",
			Meaning: "Without ConfigMap `kube-public/spillway` the plugin does not know where the programs are, so " +
				"most checks are left out. Without Spillway no Pod bursts.",
			Mend: "Install the chart of this version: `helm upgrade --install spillway charts/spillway -n " +
				"spillway-system --create-namespace -f values.yaml`. docs/install.md says what values.yaml contains.",
		},
		{
			Code: CodeMalformed, Severity: diagnosis.Error, Title: "the description of the installation cannot be read",
			Meaning: "The plugin does not know what the programs would decide.",
			Mend: "Install the chart again, which writes the ConfigMap: `helm upgrade spillway charts/spillway -n " +
				"NAMESPACE -f values.yaml`.",
		},
		{
			Code: CodeProgramMissing, Severity: diagnosis.Error, Title: "a program is missing",
			Meaning: "What it does is not done: admission marks Pods, the extender counts quotas, vnode runs Pods in " +
				"the cloud.",
			Mend: "Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`.",
		},
		{
			Code: CodeProgramUnavailable, Severity: diagnosis.Error, Title: "a program is not available",
			Meaning: "No replica is ready. Without admission, Pods are created unchanged and stay local. Without the " +
				"extender, managed Pods wait. Without vnode, Pods in the cloud keep running, and none is created.",
			Mend: "Find out why: `kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=COMPONENT`.",
		},
		{
			Code: CodeFewReplicas, Severity: diagnosis.Warning, Title: "a program has fewer replicas than it should",
			Meaning: "If the last one fails, nothing takes over.",
			Mend:    "Find out why: `kubectl -n NAMESPACE describe pods -l app.kubernetes.io/component=COMPONENT`.",
		},
		{
			Code: CodeVersionsDiffer, Severity: diagnosis.Warning, Title: "programs have different versions",
			Meaning: "Each decides with its own version of the rules. An upgrade may not have finished.",
			Mend: "Wait for the rollout, or install the chart again without tags of single images: `helm upgrade " +
				"spillway charts/spillway -n NAMESPACE -f values.yaml`.",
		},
		{
			Code: CodeNoScheduler, Severity: diagnosis.Error, Title: "no scheduler tries managed Pods",
			Meaning: "They wait without a condition that says why: no scheduler that runs has a profile of the name " +
				"that they have.",
			Mend: "Add the profile to the scheduler, or correct `scheduler.name` or `scheduler.otherNames` of the " +
				"chart: see docs/guides/scheduler-service.md.",
		},
		{
			Code: CodeNoSlots, Severity: diagnosis.Warning, Title: "local replicas have no slot",
			Meaning: "The extender writes a slot to each Pod that it counts. The scheduler does not ask it, or these " +
				"Pods were placed before it did. They count towards their quota nevertheless.",
			Mend: "Check that the scheduler has the extender in its configuration " +
				"(docs/guides/scheduler-service.md). Pods that are older than the configuration get a slot when they " +
				"are replaced.",
		},
		{
			Code: CodeWebhookMissing, Severity: diagnosis.Error, Title: "a webhook is not registered",
			Meaning: "Pods are created unchanged: no quota, no burst label of a workload has an effect.",
			Mend:    "Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`.",
		},
		{
			Code: CodeNoAuthority, Severity: diagnosis.Error, Title: "a webhook has no CA",
			Meaning: "The API server cannot call it, so Pods are created unchanged. Admission writes its CA when it " +
				"starts.",
			Mend: "Look at the log: `kubectl -n NAMESPACE logs deployment/spillway-admission`. Argo CD must ignore " +
				"`caBundle`: see docs/beside.md.",
		},
		{
			Code: CodeCertificateInvalid, Severity: diagnosis.Error,
			Title:   "the certificate of the webhooks is not valid",
			Meaning: "The API server cannot call them, so Pods are created unchanged.",
			Mend: "Empty the Secret, and admission creates another one: `kubectl -n NAMESPACE patch secret " +
				"spillway-admission-tls --type merge -p '{\"data\":null}'`.",
		},
		{
			Code: CodeCertificateExpires, Severity: diagnosis.Warning,
			Title:   "the certificate of the webhooks expires soon",
			Meaning: "Admission renews it when a third of its time is left. It has not.",
			Mend:    "Look at the log: `kubectl -n NAMESPACE logs deployment/spillway-admission`.",
		},
		{
			Code: CodeFailurePolicy, Severity: diagnosis.Warning, Title: "a webhook fails closed",
			Meaning: "While admission does not answer, no Pod that the webhook matches can be created. The chart " +
				"sets `Ignore`.",
			Mend: "Install the chart again: `helm upgrade spillway charts/spillway -n NAMESPACE -f values.yaml`.",
		},
		{
			Code: CodeLeaseMissing, Severity: diagnosis.Error, Title: "a Lease is missing",
			Meaning: "The programs have no right to create it, so no process leads, and what the leader does is not " +
				"done. Argo CD 3 leaves Leases out by default.",
			Mend: "Create it: `helm template spillway charts/spillway -n NAMESPACE -f values.yaml --show-only " +
				"templates/leases.yaml | kubectl apply -f -`.",
		},
		{
			Code: CodeLeaseStale, Severity: diagnosis.Error, Title: "no process holds a Lease",
			Meaning: "No process leads. A Lease of vnode: no process runs the virtual node.",
			Mend: "Look at the Pods of the program: `kubectl -n NAMESPACE get pods`, and at the clock of this " +
				"machine if they run.",
		},
		{
			Code: CodeRightMissing, Severity: diagnosis.Error, Title: "a program lacks a right",
			Meaning: "What needs it fails.",
			Mend: "Install the chart again, which has all roles: `helm upgrade spillway charts/spillway -n NAMESPACE " +
				"-f values.yaml`. docs/reference/rights.md has the reason of each.",
		},
		{
			Code: CodeNoVirtualNode, Severity: diagnosis.Error, Title: "there is no virtual node",
			Meaning: "No Pod can burst.",
			Mend:    "Look at vnode: `kubectl -n NAMESPACE logs -l app.kubernetes.io/component=vnode`.",
		},
		{
			Code: CodeNodeNotReady, Severity: diagnosis.Error, Title: "a virtual node is not ready",
			Meaning: "It takes no Pods. Those in the cloud keep running.",
			Mend:    "Look at the Node and at vnode: `kubectl describe node NODE`.",
		},
		{
			Code: CodeNodeLocked, Severity: diagnosis.Warning, Title: "a virtual node is locked",
			Meaning: "The cloud is sold out. The node takes no Pods until the lock ends.",
			Mend: "Wait, or use another zone: see docs/runbooks/CloudSoldOut.md. `kubectl uncordon NODE` ends the " +
				"lock at once.",
		},
		{
			Code: CodeNodeCordoned, Severity: diagnosis.Warning, Title: "a virtual node is cordoned",
			Meaning: "A user has cordoned it. It takes no Pods.",
			Mend:    "Let it take Pods: `kubectl uncordon NODE`.",
		},
		{
			Code: CodeCloudCondition, Severity: diagnosis.Error,
			Title:   "a virtual node reports a problem with the cloud",
			Meaning: "Pods that are new wait. Those that run are not affected.",
			Mend:    "Follow the runbook of the condition: see docs/monitoring.md. `vnode doctor` checks the account.",
		},
		{
			Code: CodeDaemonSet, Severity: diagnosis.Warning, Title: "Pods of a DaemonSet would run on virtual nodes",
			Meaning: "They cannot run in the cloud, and fail there one after the other. Admission excludes virtual " +
				"nodes when the template of a DaemonSet changes. This one has not changed since.",
			Mend: "Let the template change: `kubectl -n NAMESPACE rollout restart daemonset NAME`.",
		},
		{
			Code: CodeAutoscaler, Severity: diagnosis.Warning,
			Title: "a node autoscaler does not know the marker resource",
			Meaning: "With `scheduler.mode: service`, a managed Pod fits on no node that it simulates: it adds no " +
				"node for the Pod, and removes none on which such a Pod runs.",
			Mend: "Set what docs/beside.md says about node autoscalers: `--scheduler-config-file` of Cluster " +
				"Autoscaler with `ignoredResources: [spillway.io/placement]`, or a NodeOverlay of Karpenter.",
		},
		{
			Code: CodeDeletionCost, Severity: diagnosis.Warning,
			Title: "another writer ranks Pods in the cloud for scale-in",
			Meaning: "The order in which replicas are removed is that of the other writer: Pods in the cloud may " +
				"outlive local ones.",
			Mend: "Let one of them write `controller.kubernetes.io/pod-deletion-cost`: set `admission.deletionCost` " +
				"of the chart to 0, or turn the other one off: see docs/admission.md.",
		},
		{
			Code: CodeServicesMode, Severity: diagnosis.Error, Title: "a mode of Services is not set up",
			Meaning: "Pods that ask for it do not start on a virtual node (`UnsupportedPod`).",
			Mend: "Set what docs/guides/services.md says about the mode, such as `vnode.pods.clusterDNS` of the " +
				"chart.",
		},
		{
			Code: CodeClusterDNS, Severity: diagnosis.Warning,
			Title: "the DNS of Pods in the cloud is not that of the cluster",
			Meaning: "With `kube-proxy`, `vnode.pods.clusterDNS` is the ClusterIP of the cluster's DNS. Names of " +
				"Services may not resolve.",
			Mend: "Set `vnode.pods.clusterDNS` of the chart to the ClusterIP of Service `kube-system/kube-dns`.",
		},
		{
			Code: CodeSwitchMalformed, Severity: diagnosis.Error, Title: "the switch of the cluster is malformed",
			Meaning: "It counts as off: Pods without a burst label or a switch of their own stay local.",
			Mend: "Correct it: `kubectl -n kube-system patch configmap eks-config --type merge -p " +
				"'{\"data\":{\"AUTO_SCALE_EKS\":\"true\"}}'`.",
		},
		{
			Code: CodeNamespaceMalformed, Severity: diagnosis.Error, Title: "an annotation of a namespace is malformed",
			Meaning: "All its Pods stay on local nodes.",
			Mend:    "Correct the annotation: `kubectl annotate namespace NAMESPACE KEY=VALUE --overwrite`.",
		},
		{
			Code: CodeKeyMalformed, Severity: diagnosis.Warning, Title: "a key of a workload is malformed",
			Meaning: "Its Pods stay on local nodes, or the key has no effect.",
			Mend:    "Correct it. `kubectl spillway why` prints the command.",
		},
		{
			Code: CodeQuotaNotMet, Severity: diagnosis.Warning, Title: "a local quota can never be met",
			Meaning: "Local nodes hold fewer Pods of this size than the quota keeps local. The others burst, or wait.",
			Mend:    "Lower `LOCAL_REPLICAS`, or add local nodes that the Pods select.",
		},
		{
			Code: CodeQuotaNotCounted, Severity: diagnosis.Warning, Title: "a local quota has no effect",
			Meaning: "The scheduler of the Pods does not call the extender, which counts.",
			Mend: "Remove `schedulerName`, or name the scheduler in `scheduler.otherNames` of the chart if it calls " +
				"the extender.",
		},
		{
			Code: CodeSharesContradict, Severity: diagnosis.Warning,
			Title: "shares of two places contradict each other",
			Meaning: "A share of the Pods and one of their namespace fit together for no number of replicas. The " +
				"Pods stay on local nodes.",
			Mend: "Change one of the two. A share on the workload overrides that of the namespace. `kubectl spillway " +
				"why` says where each stands.",
		},
		{
			Code: CodeSharesTooSmall, Severity: diagnosis.Warning, Title: "shares leave replicas that may run nowhere",
			Meaning: "Local nodes and the cloud together may have fewer replicas than the workload has. The others " +
				"wait until it is scaled in.",
			Mend: "Raise `spillway.io/local-max`, `LOCAL_REPLICAS` or `spillway.io/cloud-max`, or use percentages " +
				"that add up to 100%.",
		},
		{
			Code: CodeMinimumWaits, Severity: diagnosis.Warning, Title: "Pods have waited for local nodes for an hour",
			Meaning: "They are replicas that never burst (`spillway.io/local-min`), and no local node has room for " +
				"them.",
			Mend: "Make room on local nodes that the Pods select, or lower the annotation. `kubectl spillway why` " +
				"prints the command.",
		},
		{
			Code: CodeGroupShares, Severity: diagnosis.Warning,
			Title: "shares have no effect on Pods of a scheduling group",
			Meaning: "The scheduler places the Pods of a group all together or not at all, so they stay on local " +
				"nodes.",
			Mend: "Remove the shares, or `spec.schedulingGroup` of the Pod template.",
		},
		{
			Code: CodeNotRead, Severity: diagnosis.Info, Title: "something could not be read",
			Meaning: "The checks that need it were left out.",
			Mend:    "Run the command with the rights to read it, such as those of cluster-admin.",
		},
	}
}
