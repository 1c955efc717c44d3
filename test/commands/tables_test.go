package commands

// placeholders are names that a reader replaces, and what the test puts in their place: an expression of the shell.
var placeholders = []struct{ name, value string }{
	{"cart-689c54c59f-qdvg4", `"$(kubectl get pods -l app=cart -o jsonpath='{.items[0].metadata.name}')"`},
	{"NAMESPACE", `"$NAMESPACE"`},
	{"POD", `"$(kubectl get pods -l app=cart -o jsonpath='{.items[0].metadata.name}')"`},
}

// before are commands that make true what a page says before one of its commands, which begins with a text.
var before = []struct{ page, command, run string }{
	{"docs/beside.md", "kubectl -n tekton-pipelines patch",
		"kubectl create namespace tekton-pipelines; kubectl -n tekton-pipelines create configmap feature-flags"},
	{"docs/guides/burst-on-demand.md", "kubectl -n kube-system patch configmap eks-config --patch '{\"data\": " +
		"{\"AUTO_SCALE_EKS\": \"false\"}}'", "kubectl -n kube-system create configmap eks-config"},
	{"docs/guides/burst-on-demand.md", "kubectl -n kube-system create", // "If there is none"
		"kubectl -n kube-system delete configmap eks-config"},
	{"docs/guides/choose-where-pods-run.md", "kubectl label namespace batch", "kubectl create namespace batch"},
	{"docs/guides/keep-replicas-local.md", "kubectl patch deployment web",
		"kubectl create deployment web --image=nginx --replicas=4"},
	{"docs/guides/shares.md", "kubectl annotate deployment web spillway.io/local-min=2",
		"kubectl create deployment web --image=nginx --replicas=4"},
	{"docs/guides/wait-for-room.md", "kubectl annotate deployment web",
		"kubectl create deployment web --image=nginx --replicas=4"},
	{"docs/guides/way-home.md", "kubectl annotate deployment web",
		"kubectl create deployment web --image=nginx --replicas=4"},
	{"docs/guides/way-home.md", "kubectl -n kube-system patch configmap eks-config --patch '{\"data\": " +
		"{\"WAY_HOME\": \"false\"}}'", "kubectl -n kube-system create configmap eks-config"},
	{"docs/guides/limit-the-cloud.md", "kubectl annotate namespace team-a spillway.io/cloud-limits=pods=50",
		"kubectl create namespace team-a"},
	// An API server with client certificates has it.
	{"docs/install.md", "kubectl --namespace kube-system get configmap",
		"kubectl -n kube-system create configmap extension-apiserver-authentication"},
	{"docs/install.md", "kubectl create namespace spillway-system", // The programs of the trial system use it.
		"kubectl() { command kubectl \"$@\" --dry-run=client; }"},
	{"docs/runbooks/SpillwayRequeueFailures.md", "kubectl auth can-i", // Here the extender has an account of its own.
		"kubectl create clusterrolebinding s --clusterrole=spillway-extender --serviceaccount=spillway-system:" +
			"spillway-scheduler"},
	{"docs/restrictions.md", "kubectl rollout restart deployment web",
		"kubectl create deployment web --image=nginx"},
}

// notHere are commands that cannot run on a trial system, by their page and how they begin. Their text is still read as
// bash reads it. Where the page is empty, it is a program that no page can run here.
var notHere = []struct{ page, command, reason string }{
	{"", "curl", "its address exists while something else runs: a port-forward, or another program of the page"},
	{"", "kind", "it needs a container runtime"},
	{"", "nsenter", "it needs the running machine of make e2e-install"},
	{"", "tcpdump", "it runs on a machine of the VPC"},
	{"docs/cli.md", "kubectl krew", "the test of package cli/krew runs it"},
	{"docs/cli.md", "kubectl spillway drain-back deployment/cart",
		"the quota keeps its Pods in the cloud: the story drain-back runs it"},
	{"docs/cli.md", "kubectl spillway drain-back --all -n shop --timeout", "the quota keeps its Pods in the cloud"},
	{"docs/guides/scheduler-service.md", "conf=", "the files of a control plane's machine"},
	{"docs/guides/scheduler-service.md", "mkdir", "the files of a control plane's machine"},
	{"docs/guides/scheduler-service.md", "kubectl config view", "the files of a control plane's machine"},
	{"docs/guides/services.md", "kubectl get --raw", "a Pod of the cloud with the sidecar proxy: story services"},
	{"docs/prove.md", ".run/bin/prove", "make prove builds the program; its options have tests of their own"},
}

// kinds of manifests that the API server of a trial system does not have.
var otherKinds = map[string]string{
	"CapacityBuffer":             "of Cluster Autoscaler",
	"BGPConfiguration":           "of Calico",
	"KubeSchedulerConfiguration": "a file of kube-scheduler",
	"ResourceFlavor":             "of Kueue",
}

// kubeletVerbs need the kubelet or the metrics of a Pod, and the programs of a trial system are no Pods. Their flags
// are checked, and that what they name is in the chart.
var kubeletVerbs = map[string]bool{"exec": true, "logs": true, "port-forward": true, "debug": true, "top": true}

// programs are those of Spillway in the commands of pages, whatever directory they are in.
var programs = map[string]bool{"ccisim": true, "extender": true, "vnode": true}

// tools change what other programs print or need, and run together with them or not at all.
var tools = map[string]bool{
	"base64": true, "exec": true, "export": true, "grep": true, "install": true, "printf": true, "chmod": true,
	"cp": true,
}
