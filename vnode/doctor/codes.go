package doctor

import "fmt"

// Code identifies a kind of finding. It never gets another meaning. DR1xx are about the connection, DR2xx about the key
// and the account, DR3xx about what the region offers, DR4xx about the network, DR5xx about the form of answers, DR6xx
// about Pods, DR7xx about logs and commands, DR9xx about the run itself.
type Code string

// The codes. Codes has their meanings.
const (
	CodeNameNotResolved    Code = "DR101"
	CodeNoConnection       Code = "DR102"
	CodeCertificate        Code = "DR103"
	CodeClockOff           Code = "DR104"
	CodeClockDrifts        Code = "DR105"
	CodeClockUnknown       Code = "DR106"
	CodeNoConnectionToIAM  Code = "DR107"
	CodeKeyRefused         Code = "DR201"
	CodePermissionMissing  Code = "DR202"
	CodeNotAuthorized      Code = "DR203"
	CodeAccountBlocked     Code = "DR204"
	CodeTenantNotListed    Code = "DR205"
	CodeAgencyQuota        Code = "DR206"
	CodeAccessRefused      Code = "DR207"
	CodeNoToken            Code = "DR208"
	CodeAgencyUnknown      Code = "DR209"
	CodeResourceMissing    Code = "DR301"
	CodeNoEvents           Code = "DR302"
	CodeNoVolumes          Code = "DR303"
	CodeGatesUnknown       Code = "DR304"
	CodeNoSnapshots        Code = "DR305"
	CodeSubnetOfVPC        Code = "DR401"
	CodeSubnetUnknown      Code = "DR402"
	CodeSubnetsNotChecked  Code = "DR403"
	CodeNetworkFailed      Code = "DR404"
	CodeNetworkNotReady    Code = "DR405"
	CodeNoFreeAddress      Code = "DR406"
	CodeCreationRefused    Code = "DR407"
	CodeNamespaceQuota     Code = "DR408"
	CodeServiceNotReached  Code = "DR409"
	CodeServiceNotResolved Code = "DR410"
	CodeNoReason           Code = "DR501"
	CodeLimitIgnored       Code = "DR502"
	CodeNoBookmarks        Code = "DR503"
	CodeWatchIncomplete    Code = "DR504"
	CodePreconditions      Code = "DR505"
	CodePodRefused         Code = "DR601"
	CodePodNotRunning      Code = "DR602"
	CodeImageNotPulled     Code = "DR603"
	CodeFieldsDropped      Code = "DR604"
	CodeUserNotApplied     Code = "DR605"
	CodeSearchesNotApplied Code = "DR606"
	CodeMountsMissing      Code = "DR607"
	CodePullWords          Code = "DR608"
	CodeSizeWords          Code = "DR609"
	CodeSizeAccepted       Code = "DR610"
	CodeUnlistedDropped    Code = "DR611"
	CodeNoSidecar          Code = "DR612"
	CodeNoNetAdmin         Code = "DR613"
	CodeNoLog              Code = "DR701"
	CodeNoExec             Code = "DR702"
	CodeSignedExecRefused  Code = "DR703"
	CodeNoPodEvents        Code = "DR704"
	CodeStepFailed         Code = "DR901"
	CodeLeftBehind         Code = "DR902"
	CodeLeftByEarlierRun   Code = "DR903"
)

// Kind describes a code.
type Kind struct {
	Code     Code
	Severity Severity
	Title    string
	// Meaning is what follows from a finding, and Mend what mends it, empty if nothing needs to be done.
	Meaning, Mend string
}

// Codes returns all codes in their order.
func Codes() []Kind {
	return []Kind{
		{CodeNameNotResolved, Error, "the name of the service is not known",
			"No request can be sent.",
			"Correct `cci.region` (`--cci-region`), or set `cci.endpoint` (`--cci-endpoint`). Inside a VPC, use the VPC's " +
				"DNS servers: `nslookup cci.REGION.myhuaweicloud.com`."},
		{CodeNoConnection, Error, "the service cannot be reached",
			"No request can be sent.",
			"Allow connections to port 443 of the service: an EIP, a NAT gateway or an endpoint of the VPC, or a proxy by " +
				"the environment variable `HTTPS_PROXY`."},
		{CodeCertificate, Error, "the certificate of the service is not accepted",
			"vnode sends keys only to a service that proves its name. A proxy that decrypts TLS, or a wrong address, is " +
				"the usual cause.",
			"Correct `cci.endpoint`, or exempt the service from the proxy: `NO_PROXY=.myhuaweicloud.com`."},
		{CodeClockOff, Error, "the clock is off",
			"The service refuses signatures whose time differs from its own by more than 15 minutes.",
			"Set the clock of this machine: `chronyc makestep`, or `timedatectl set-ntp true`."},
		{CodeClockDrifts, Warning, "the clock is inaccurate",
			"At a difference of more than 15 minutes the service refuses signatures.",
			"Let the clock be synchronized: `timedatectl set-ntp true`."},
		{CodeClockUnknown, Info, "the time of the service is not known",
			"Its answers have no date. If signatures are refused, the clock may be the cause.", ""},
		{CodeNoConnectionToIAM, Warning, "IAM cannot be reached",
			"`kubectl exec` needs a token of IAM.",
			"Allow connections to port 443 of `iam.REGION.myhuaweicloud.com`, set `cci.iamEndpoint` (`--iam-endpoint`), or " +
				"give a token as `authToken` of the credentials."},
		{CodeKeyRefused, Error, "the key is refused",
			"The access key is wrong, expired, revoked or of another project, or the secret key does not belong to it.",
			"Compare `accessKey` and `cci.projectID` with My Credentials in the console. Temporary keys also need " +
				"`securityToken`."},
		{CodePermissionMissing, Error, "a permission is missing",
			"The user of the key may not do what vnode does.",
			"Grant the user `cci:namespace:*` and `cci:namespaceSubResource:*` in IAM, such as by the policy CCI FullAccess."},
		{CodeNotAuthorized, Error, "CCI is not authorized",
			"CCI may not use the networks of the account (no agency).",
			"Open the CCI console of the region once and accept the authorization: https://console.huaweicloud.com/cci/."},
		{CodeAccountBlocked, Error, "the account is blocked",
			"The account is in arrears or frozen: nothing can be created.",
			"Settle the balance in the Billing Center. Only the support of the vendor can unfreeze an account."},
		{CodeTenantNotListed, Error, "the account may not use CCI 2.0 here",
			"The region serves selected accounts only.",
			"Ask the vendor for access with a service ticket, or use another region (`cci.region`)."},
		{CodeAgencyQuota, Error, "the account has too many agencies",
			"CCI cannot create the agency with which it uses the networks of the account.",
			"Delete agencies that are no longer used in IAM, or request a larger quota."},
		{CodeAccessRefused, Error, "requests are refused",
			"The service, or a firewall or proxy in front of it, refuses signed requests.",
			"Read the text of the answer. If it is a web page, exempt the service from the proxy: " +
				"`NO_PROXY=.myhuaweicloud.com`."},
		{CodeNoToken, Warning, "IAM issues no token",
			"`kubectl exec` does not work: the service takes a token for it.",
			"Give a token as `authToken` of the credentials, or set `cci.exec.handshake: signature` if DR703 is not reported."},
		{CodeAgencyUnknown, Info, "the agency cannot be read",
			"Whether CCI is authorized shows when a namespace is created: run `vnode doctor --create`.", ""},
		{CodeResourceMissing, Error, "the region lacks a resource",
			"Virtual nodes need it.",
			"Use another region (`cci.region`), or check that `cci.endpoint` is that of CCI 2.0."},
		{CodeNoEvents, Warning, "the region offers no Events",
			"Why a Pod waits is then known from its status only, and a sold-out cloud is recognized by time.", ""},
		{CodeNoVolumes, Warning, "the region offers no volumes",
			"Pods with PersistentVolumeClaims cannot run there.",
			"Set `policy.volumeKinds: []` and `vnode.pods.claims: false` in the values of the chart, so that such Pods stay " +
				"on local nodes."},
		{CodeGatesUnknown, Info, "the feature gates cannot be read",
			"vnode does not need them.", ""},
		{CodeNoSnapshots, Info, "the region offers no image snapshots",
			"Pods pull their images, whatever `cci.imageSnapshots` says.", ""},
		{CodeSubnetOfVPC, Error, "a subnet is given by the wrong ID",
			"CCI takes the Neutron ID of a subnet. This is the ID of the VPC API, which the console calls network ID. A " +
				"network with it never becomes Ready.",
			"Use the ID in the message for `cci.subnetIDs` (Helm: `cloud.subnetIDs`)."},
		{CodeSubnetUnknown, Error, "a subnet does not exist",
			"A network with it never becomes Ready.",
			"Take the Neutron ID from the VPC console: Subnets, the page of the subnet, `IPv4 subnet ID`. It must be in the " +
				"same region and project."},
		{CodeSubnetsNotChecked, Info, "the subnets were not checked",
			"The VPC API cannot be read with this key. Whether the IDs are right shows when a network is created: run " +
				"`vnode doctor --create`.", ""},
		{CodeNetworkFailed, Error, "the network has failed",
			"Pods get no address.",
			"Check that the subnets are given by their Neutron IDs (DR401) and that the security groups exist."},
		{CodeNetworkNotReady, Error, "the network does not become Ready",
			"Pods get no address.",
			"Check that the subnets are given by their Neutron IDs (DR401) and that the security groups exist. If both are " +
				"right, run again with a longer `--step-timeout`."},
		{CodeNoFreeAddress, Error, "the subnets have no free address",
			"Pods wait until an address is free.",
			"Add a subnet to `cci.subnetIDs` (Helm: `cloud.subnetIDs`), or use a larger one."},
		{CodeCreationRefused, Error, "the cloud refuses to create an object",
			"Virtual nodes create the same.",
			"Read the text of the answer: it names the field."},
		{CodeNamespaceQuota, Error, "the quota of namespaces is used up",
			"Neither this command nor a virtual node can create its namespace.",
			"Delete CCI namespaces that are no longer used, or request a larger quota."},
		{CodeServiceNotReached, Warning, "a ClusterIP cannot be reached",
			"The network does not route the Services of the cluster to the cloud, so `pods.services: routed` does not work.",
			"Route the Service network, or use `pods.services: proxy`: see docs/guides/services.md."},
		{CodeServiceNotResolved, Warning, "the name of a Service is not resolved",
			"The DNS of the cluster does not answer the cloud. With `pods.services: routed`, Pods find no Service by its name.",
			"Set `pods.clusterDNS` to an address of the cluster's DNS that the subnets of the cloud reach, or use " +
				"`pods.services: proxy`: see docs/guides/services.md."},
		{CodeNoReason, Info, "answers 404 have no reason",
			"vnode does not take such an answer as proof that an object is gone: it confirms it with a list.", ""},
		{CodeLimitIgnored, Info, "lists come whole",
			"The service ignores `limit`. vnode needs more memory for many Pods.", ""},
		{CodeNoBookmarks, Info, "watches have no bookmarks",
			"vnode lists all Pods more often.", ""},
		{CodeWatchIncomplete, Warning, "a watch misses changes",
			"vnode notices changes of Pods with its next list (`cci.relistInterval`) only.",
			"Set a shorter `cci.relistInterval`, such as `1m`, and report it with a transcript."},
		{CodePreconditions, Warning, "a deletion ignores the UID",
			"A Pod that was created again under the same name can be deleted in the place of its predecessor.",
			"Report it with a transcript. Do not let two clusters share a cloud namespace."},
		{CodePodRefused, Error, "the cloud refuses a Pod",
			"The smallest Pod that vnode creates is not accepted.",
			"Read the text of the answer. If it names the type of instance or the size, ask the vendor whether your account " +
				"may use it."},
		{CodePodNotRunning, Error, "a Pod does not start",
			"The smallest Pod does not run within the time of a step.",
			"Read the text of the service. If it has no capacity, try another zone or region. If it says nothing, the image " +
				"may take too long: name one of SWR with `--image` (DR603), or run again with a longer `--step-timeout`."},
		{CodeImageNotPulled, Error, "the image cannot be pulled",
			"Registries on the Internet are reached through a NAT gateway or an EIP only.",
			"Copy the image into SWR of the region and use `--image=swr.REGION.myhuaweicloud.com/ORGANIZATION/busybox:1.37`. " +
				"For workloads, set `pods.imagePrefixes`."},
		{CodeFieldsDropped, Warning, "fields of a Pod are dropped",
			"What they say has no effect in the cloud.",
			"Do not rely on them for Pods that burst. Report it with a transcript."},
		{CodeUserNotApplied, Warning, "the user of a container has no effect",
			"Containers run as the user of their image, whatever `securityContext.runAsUser` says.",
			"Set the user in the image (`USER`)."},
		{CodeSearchesNotApplied, Warning, "the DNS searches have no effect",
			"Short names of Services are not found from the cloud.",
			"Use full names, such as `db.prod.svc.cluster.local`."},
		{CodeMountsMissing, Warning, "a ConfigMap or Secret is not in the container",
			"Pods in the cloud do not see what they mount.",
			"Report it with a transcript."},
		{CodePullWords, Info, "what the cloud says about an image that does not exist",
			"vnode shows this text on the Pod.", ""},
		{CodeSizeWords, Info, "what the cloud says about a size that does not exist",
			"vnode shows this text on the Pod.", ""},
		{CodeSizeAccepted, Warning, "a size that does not exist is accepted",
			"A Pod that is too large waits, and is not refused.",
			"Report it with a transcript."},
		{CodeUnlistedDropped, Info, "fields that CCI does not document are dropped",
			"The cloud does not keep fields that the definitions of its API do not list. It pulls an image by its own rule, " +
				"whatever `imagePullPolicy` says.", ""},
		{CodeNoSidecar, Warning, "a Pod with a sidecar does not run",
			"Pods whose init containers include sidecars do not start, and neither does a Pod with `pods.services` `proxy` or " +
				"`kube-proxy`.",
			"Use `pods.services: routed` or `off`, and report it with a transcript."},
		{CodeNoNetAdmin, Info, "containers do not get NET_ADMIN",
			"`pods.services: kube-proxy` does not work: kube-proxy needs this capability. `proxy` does not.", ""},
		{CodeNoLog, Warning, "the log of a container cannot be read",
			"`kubectl logs` does not work.",
			"Report it with a transcript."},
		{CodeNoExec, Warning, "no command runs in a container",
			"`kubectl exec` does not work with a token.",
			"If DR703 is not reported, set `cci.exec.handshake: signature`. Otherwise report it with a transcript."},
		{CodeSignedExecRefused, Info, "commands need a token",
			"The service does not take a signature for `kubectl exec`. `cci.exec.handshake: token`, the default, is right.", ""},
		{CodeNoPodEvents, Info, "a Pod has no Events",
			"Why a Pod waits is then known from its status only.", ""},
		{CodeStepFailed, Warning, "a step could not be completed",
			"What it checks is not known.",
			"Run the command again. If it fails again, report it with a transcript (`--record`)."},
		{CodeLeftBehind, Error, "something was left in the cloud",
			"It may be billed.",
			"Run `vnode doctor --create` again, which removes it, or delete the namespace in the CCI console."},
		{CodeLeftByEarlierRun, Warning, "an earlier run has left something in the cloud",
			"It may be billed.",
			"Run `vnode doctor --create`, which removes it, or delete the namespace in the CCI console."},
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

// found returns a finding with a message.
func found(code Code, format string, args ...any) Finding {
	kind := kindOf(code)
	return Finding{
		Code: code, Severity: kind.Severity, Title: kind.Title, Meaning: kind.Meaning, Mend: kind.Mend,
		Message: fmt.Sprintf(format, args...),
	}
}
