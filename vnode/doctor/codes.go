package doctor

import "github.com/spillway-k8s/spillway/internal/diagnosis"

// The codes. Codes has their meanings. DR1xx are about the connection, DR2xx about the key and the account, DR3xx about
// what the region offers, DR4xx about the network, DR5xx about the form of answers, DR6xx about Pods, DR7xx about logs
// and commands, DR9xx about the run itself.
const (
	CodeNameNotResolved    diagnosis.Code = "DR101"
	CodeNoConnection       diagnosis.Code = "DR102"
	CodeCertificate        diagnosis.Code = "DR103"
	CodeClockOff           diagnosis.Code = "DR104"
	CodeClockDrifts        diagnosis.Code = "DR105"
	CodeClockUnknown       diagnosis.Code = "DR106"
	CodeNoConnectionToIAM  diagnosis.Code = "DR107"
	CodeNotTheService      diagnosis.Code = "DR108"
	CodeProxy              diagnosis.Code = "DR109"
	CodeKeyRefused         diagnosis.Code = "DR201"
	CodePermissionMissing  diagnosis.Code = "DR202"
	CodeNotAuthorized      diagnosis.Code = "DR203"
	CodeAccountBlocked     diagnosis.Code = "DR204"
	CodeTenantNotListed    diagnosis.Code = "DR205"
	CodeAgencyQuota        diagnosis.Code = "DR206"
	CodeAccessRefused      diagnosis.Code = "DR207"
	CodeNoToken            diagnosis.Code = "DR208"
	CodeAgencyUnknown      diagnosis.Code = "DR209"
	CodeResourceMissing    diagnosis.Code = "DR301"
	CodeNoEvents           diagnosis.Code = "DR302"
	CodeNoVolumes          diagnosis.Code = "DR303"
	CodeGatesUnknown       diagnosis.Code = "DR304"
	CodeNoSnapshots        diagnosis.Code = "DR305"
	CodeSubnetOfVPC        diagnosis.Code = "DR401"
	CodeSubnetUnknown      diagnosis.Code = "DR402"
	CodeSubnetsNotChecked  diagnosis.Code = "DR403"
	CodeNetworkFailed      diagnosis.Code = "DR404"
	CodeNetworkNotReady    diagnosis.Code = "DR405"
	CodeNoFreeAddress      diagnosis.Code = "DR406"
	CodeCreationRefused    diagnosis.Code = "DR407"
	CodeNamespaceQuota     diagnosis.Code = "DR408"
	CodeServiceNotReached  diagnosis.Code = "DR409"
	CodeServiceNotResolved diagnosis.Code = "DR410"
	CodeNoReason           diagnosis.Code = "DR501"
	CodeLimitIgnored       diagnosis.Code = "DR502"
	CodeNoBookmarks        diagnosis.Code = "DR503"
	CodeWatchIncomplete    diagnosis.Code = "DR504"
	CodePreconditions      diagnosis.Code = "DR505"
	CodePodRefused         diagnosis.Code = "DR601"
	CodePodNotRunning      diagnosis.Code = "DR602"
	CodeImageNotPulled     diagnosis.Code = "DR603"
	CodeFieldsDropped      diagnosis.Code = "DR604"
	CodeUserNotApplied     diagnosis.Code = "DR605"
	CodeSearchesNotApplied diagnosis.Code = "DR606"
	CodeMountsMissing      diagnosis.Code = "DR607"
	CodePullWords          diagnosis.Code = "DR608"
	CodeSizeWords          diagnosis.Code = "DR609"
	CodeSizeAccepted       diagnosis.Code = "DR610"
	CodeUnlistedDropped    diagnosis.Code = "DR611"
	CodeNoSidecar          diagnosis.Code = "DR612"
	CodeNoNetAdmin         diagnosis.Code = "DR613"
	CodePodQuota           diagnosis.Code = "DR614"
	CodeNoLog              diagnosis.Code = "DR701"
	CodeNoExec             diagnosis.Code = "DR702"
	CodeSignedExecRefused  diagnosis.Code = "DR703"
	CodeNoPodEvents        diagnosis.Code = "DR704"
	CodeStepFailed         diagnosis.Code = "DR901"
	CodeLeftBehind         diagnosis.Code = "DR902"
	CodeLeftByEarlierRun   diagnosis.Code = "DR903"
	CodeNoTimeLeft         diagnosis.Code = "DR904"
	CodeStepTooSlow        diagnosis.Code = "DR905"
)

// Codes returns all codes in their order.
func Codes() diagnosis.Kinds {
	return diagnosis.Kinds{
		{
			Code: CodeNameNotResolved, Severity: diagnosis.Error, Title: "the name of the service is not known",
			Meaning: "No request can be sent.",
			Mend: "Correct `cci.region` (`--cci-region`), or set `cci.endpoint` (`--cci-endpoint`). Inside a VPC, use the " +
				"VPC's DNS servers: `nslookup cci.REGION.myhuaweicloud.com`.",
		},
		{
			Code: CodeNoConnection, Severity: diagnosis.Error, Title: "the service cannot be reached",
			Meaning: "No request can be sent.",
			Mend: "Allow connections to port 443 of the service: an EIP, a NAT gateway or an endpoint of the VPC, or a proxy " +
				"by the environment variable `HTTPS_PROXY`.",
		},
		{
			Code: CodeCertificate, Severity: diagnosis.Error, Title: "the certificate of the service is not accepted",
			Meaning: "vnode sends keys only to a service that proves its name. A proxy that decrypts TLS, or a wrong address, " +
				"is the usual cause.",
			Mend: "Correct `cci.endpoint`, or exempt the service from the proxy: `NO_PROXY=.myhuaweicloud.com`.",
		},
		{
			Code: CodeClockOff, Severity: diagnosis.Error, Title: "the clock is off",
			Meaning: "The service refuses signatures whose time differs from its own by more than 15 minutes.",
			Mend:    "Set the clock of this machine: `chronyc makestep`, or `timedatectl set-ntp true`.",
		},
		{
			Code: CodeClockDrifts, Severity: diagnosis.Warning, Title: "the clock is inaccurate",
			Meaning: "At a difference of more than 15 minutes the service refuses signatures.",
			Mend:    "Let the clock be synchronized: `timedatectl set-ntp true`.",
		},
		{
			Code: CodeClockUnknown, Severity: diagnosis.Info, Title: "the time of the service is not known",
			Meaning: "Its answers have no date. If signatures are refused, the clock may be the cause.",
		},
		{
			Code: CodeNoConnectionToIAM, Severity: diagnosis.Warning, Title: "IAM cannot be reached",
			Meaning: "`kubectl exec` needs a token of IAM.",
			Mend: "Allow connections to port 443 of `iam.REGION.myhuaweicloud.com`, set `cci.iamEndpoint` (`--iam-endpoint`), " +
				"or give a token as `authToken` of the credentials.",
		},
		{
			Code: CodeNotTheService, Severity: diagnosis.Error, Title: "something else than CCI answers",
			Meaning: "An answer to a request that needs a key was not JSON. A proxy with a page to log in is the usual " +
				"cause, or a wrong endpoint.",
			Mend: "Correct `cci.endpoint` (`--cci-endpoint`), or exempt the service from the proxy: " +
				"`NO_PROXY=.myhuaweicloud.com`.",
		},
		{
			Code: CodeProxy, Severity: diagnosis.Error, Title: "the proxy does not work",
			Meaning: "Requests are sent through a proxy, because the environment variable `HTTPS_PROXY` or `HTTP_PROXY` " +
				"names one.",
			Mend: "Correct `HTTPS_PROXY` (such as `http://proxy.example:3128`), or exempt the service from the proxy: " +
				"`NO_PROXY=.myhuaweicloud.com`.",
		},
		{
			Code: CodeKeyRefused, Severity: diagnosis.Error, Title: "the key is refused",
			Meaning: "The access key is wrong, expired, revoked or of another project, or the secret key does not belong to it.",
			Mend: "Compare `accessKey` and `cci.projectID` with My Credentials in the console. Temporary keys also need " +
				"`securityToken`.",
		},
		{
			Code: CodePermissionMissing, Severity: diagnosis.Error, Title: "a permission is missing",
			Meaning: "The user of the key may not do what vnode does.",
			Mend: "Grant the user `cci:namespace:*` and `cci:namespaceSubResource:*` in IAM, such as by the policy CCI " +
				"FullAccess.",
		},
		{
			Code: CodeNotAuthorized, Severity: diagnosis.Error, Title: "CCI is not authorized",
			Meaning: "CCI may not use the networks of the account (no agency).",
			Mend: "Open the CCI console of the region once and accept the authorization: " +
				"https://console.huaweicloud.com/cci/.",
		},
		{
			Code: CodeAccountBlocked, Severity: diagnosis.Error, Title: "the account is blocked",
			Meaning: "The account is in arrears or frozen: nothing can be created.",
			Mend:    "Settle the balance in the Billing Center. Only the support of the vendor can unfreeze an account.",
		},
		{
			Code: CodeTenantNotListed, Severity: diagnosis.Error, Title: "the account may not use CCI 2.0 here",
			Meaning: "The region serves selected accounts only.",
			Mend:    "Ask the vendor for access with a service ticket, or use another region (`cci.region`).",
		},
		{
			Code: CodeAgencyQuota, Severity: diagnosis.Error, Title: "the account has too many agencies",
			Meaning: "CCI cannot create the agency with which it uses the networks of the account.",
			Mend:    "Delete agencies that are no longer used in IAM, or request a larger quota.",
		},
		{
			Code: CodeAccessRefused, Severity: diagnosis.Error, Title: "requests are refused",
			Meaning: "The service, or a firewall or proxy in front of it, refuses signed requests.",
			Mend: "Read the text of the answer. If it is a web page, exempt the service from the proxy: " +
				"`NO_PROXY=.myhuaweicloud.com`.",
		},
		{
			Code: CodeNoToken, Severity: diagnosis.Warning, Title: "IAM issues no token",
			Meaning: "`kubectl exec` does not work: the service takes a token for it.",
			Mend: "Give a token as `authToken` of the credentials, or set `cci.exec.handshake: signature` if DR703 is not " +
				"reported.",
		},
		{
			Code: CodeAgencyUnknown, Severity: diagnosis.Info, Title: "the agency cannot be read",
			Meaning: "Whether CCI is authorized shows when a namespace is created: run `vnode doctor --create`.",
		},
		{
			Code: CodeResourceMissing, Severity: diagnosis.Error, Title: "the region lacks a resource",
			Meaning: "Virtual nodes need it.",
			Mend:    "Use another region (`cci.region`), or check that `cci.endpoint` is that of CCI 2.0.",
		},
		{
			Code: CodeNoEvents, Severity: diagnosis.Warning, Title: "the region offers no Events",
			Meaning: "Why a Pod waits is then known from its status only, and a sold-out cloud is recognized by time.",
		},
		{
			Code: CodeNoVolumes, Severity: diagnosis.Warning, Title: "the region offers no volumes",
			Meaning: "Pods with PersistentVolumeClaims cannot run there.",
			Mend: "Set `policy.volumeKinds: []` and `vnode.pods.claims: false` in the values of the chart, so that such Pods " +
				"stay on local nodes.",
		},
		{
			Code: CodeGatesUnknown, Severity: diagnosis.Info, Title: "the feature gates cannot be read",
			Meaning: "vnode does not need them.",
		},
		{
			Code: CodeNoSnapshots, Severity: diagnosis.Info, Title: "the region offers no image snapshots",
			Meaning: "Pods pull their images, whatever `cci.imageSnapshots` says.",
		},
		{
			Code: CodeSubnetOfVPC, Severity: diagnosis.Error, Title: "a subnet is given by the wrong ID",
			Meaning: "CCI takes the Neutron ID of a subnet. This is the ID of the VPC API, which the console calls network " +
				"ID. A network with it never becomes Ready.",
			Mend: "Use the ID in the message for `cci.subnetIDs` (Helm: `cloud.subnetIDs`).",
		},
		{
			Code: CodeSubnetUnknown, Severity: diagnosis.Error, Title: "a subnet does not exist",
			Meaning: "A network with it never becomes Ready.",
			Mend: "Take the Neutron ID from the VPC console: Subnets, the page of the subnet, `IPv4 subnet ID`. It must be in " +
				"the same region and project.",
		},
		{
			Code: CodeSubnetsNotChecked, Severity: diagnosis.Info, Title: "the subnets were not checked",
			Meaning: "The VPC API cannot be read with this key. Whether the IDs are right shows when a network is created: " +
				"run `vnode doctor --create`.",
		},
		{
			Code: CodeNetworkFailed, Severity: diagnosis.Error, Title: "the network has failed",
			Meaning: "Pods get no address.",
			Mend:    "Check that the subnets are given by their Neutron IDs (DR401) and that the security groups exist.",
		},
		{
			Code: CodeNetworkNotReady, Severity: diagnosis.Error, Title: "the network does not become Ready",
			Meaning: "Pods get no address.",
			Mend: "Check that the subnets are given by their Neutron IDs (DR401) and that the security groups exist. If both " +
				"are right, run again with a longer `--step-timeout`.",
		},
		{
			Code: CodeNoFreeAddress, Severity: diagnosis.Error, Title: "the subnets have no free address",
			Meaning: "Pods wait until an address is free.",
			Mend:    "Add a subnet to `cci.subnetIDs` (Helm: `cloud.subnetIDs`), or use a larger one.",
		},
		{
			Code: CodeCreationRefused, Severity: diagnosis.Error, Title: "the cloud refuses to create an object",
			Meaning: "Virtual nodes create the same.",
			Mend:    "Read the text of the answer: it names the field.",
		},
		{
			Code: CodeNamespaceQuota, Severity: diagnosis.Error, Title: "the quota of namespaces is used up",
			Meaning: "Neither this command nor a virtual node can create its namespace.",
			Mend:    "Delete CCI namespaces that are no longer used, or request a larger quota.",
		},
		{
			Code: CodeServiceNotReached, Severity: diagnosis.Warning, Title: "a ClusterIP cannot be reached",
			Meaning: "The network does not route the Services of the cluster to the cloud, so `pods.services: routed` does " +
				"not work.",
			Mend: "Route the Service network, or use `pods.services: proxy`: see docs/guides/services.md.",
		},
		{
			Code: CodeServiceNotResolved, Severity: diagnosis.Warning, Title: "the name of a Service is not resolved",
			Meaning: "The DNS of the cluster does not answer the cloud. With `pods.services: routed`, Pods find no Service by " +
				"its name.",
			Mend: "Set `pods.clusterDNS` to an address of the cluster's DNS that the subnets of the cloud reach, or use " +
				"`pods.services: proxy`: see docs/guides/services.md.",
		},
		{
			Code: CodeNoReason, Severity: diagnosis.Info, Title: "answers 404 have no reason",
			Meaning: "vnode does not take such an answer as proof that an object is gone: it confirms it with a list.",
		},
		{
			Code: CodeLimitIgnored, Severity: diagnosis.Info, Title: "lists come whole",
			Meaning: "The service ignores `limit`. vnode needs more memory for many Pods.",
		},
		{
			Code: CodeNoBookmarks, Severity: diagnosis.Info, Title: "watches have no bookmarks",
			Meaning: "vnode lists all Pods more often.",
		},
		{
			Code: CodeWatchIncomplete, Severity: diagnosis.Warning, Title: "a watch misses changes",
			Meaning: "vnode notices changes of Pods with its next list (`cci.relistInterval`) only.",
			Mend:    "Set a shorter `cci.relistInterval`, such as `1m`, and report it with a transcript.",
		},
		{
			Code: CodePreconditions, Severity: diagnosis.Warning, Title: "a deletion ignores the UID",
			Meaning: "A Pod that was created again under the same name can be deleted in the place of its predecessor.",
			Mend:    "Report it with a transcript. Do not let two clusters share a cloud namespace.",
		},
		{
			Code: CodePodRefused, Severity: diagnosis.Error, Title: "the cloud refuses a Pod",
			Meaning: "The smallest Pod that vnode creates is not accepted.",
			Mend: "Read the text of the answer. If it names the type of instance or the size, ask the vendor whether your " +
				"account may use it.",
		},
		{
			Code: CodePodNotRunning, Severity: diagnosis.Error, Title: "a Pod does not start",
			Meaning: "The smallest Pod does not run within the time of a step.",
			Mend: "Read the text of the service. If it has no capacity, try another zone or region. If it says nothing, the " +
				"image may take too long: name one of SWR with `--image` (DR603), or run again with a longer `--step-timeout`.",
		},
		{
			Code: CodeImageNotPulled, Severity: diagnosis.Error, Title: "the image cannot be pulled",
			Meaning: "Registries on the Internet are reached through a NAT gateway or an EIP only.",
			Mend: "Copy the image into SWR of the region and use " +
				"`--image=swr.REGION.myhuaweicloud.com/ORGANIZATION/busybox:1.37`. For workloads, set `pods.imagePrefixes`.",
		},
		{
			Code: CodeFieldsDropped, Severity: diagnosis.Warning, Title: "fields of a Pod are dropped",
			Meaning: "What they say has no effect in the cloud.",
			Mend:    "Do not rely on them for Pods that burst. Report it with a transcript.",
		},
		{
			Code: CodeUserNotApplied, Severity: diagnosis.Warning, Title: "the user of a container has no effect",
			Meaning: "Containers run as the user of their image, whatever `securityContext.runAsUser` says.",
			Mend:    "Set the user in the image (`USER`).",
		},
		{
			Code: CodeSearchesNotApplied, Severity: diagnosis.Warning, Title: "the DNS searches have no effect",
			Meaning: "Short names of Services are not found from the cloud.",
			Mend:    "Use full names, such as `db.prod.svc.cluster.local`.",
		},
		{
			Code: CodeMountsMissing, Severity: diagnosis.Warning, Title: "a ConfigMap or Secret is not in the container",
			Meaning: "Pods in the cloud do not see what they mount.",
			Mend:    "Report it with a transcript.",
		},
		{
			Code: CodePullWords, Severity: diagnosis.Info, Title: "what the cloud says about an image that does not exist",
			Meaning: "vnode shows this text on the Pod.",
		},
		{
			Code: CodeSizeWords, Severity: diagnosis.Info, Title: "what the cloud says about a size that does not exist",
			Meaning: "vnode shows this text on the Pod.",
		},
		{
			Code: CodeSizeAccepted, Severity: diagnosis.Warning, Title: "a size that does not exist is accepted",
			Meaning: "A Pod that is too large waits, and is not refused.",
			Mend:    "Report it with a transcript.",
		},
		{
			Code: CodeUnlistedDropped, Severity: diagnosis.Info, Title: "fields that CCI does not document are dropped",
			Meaning: "The cloud does not keep fields that the definitions of its API do not list. It pulls an image by its " +
				"own rule, whatever `imagePullPolicy` says.",
		},
		{
			Code: CodeNoSidecar, Severity: diagnosis.Warning, Title: "a Pod with a sidecar does not run",
			Meaning: "Pods whose init containers include sidecars do not start, and neither does a Pod with `pods.services` " +
				"`proxy` or `kube-proxy`.",
			Mend: "Use `pods.services: routed` or `off`, and report it with a transcript.",
		},
		{
			Code: CodeNoNetAdmin, Severity: diagnosis.Info, Title: "containers do not get NET_ADMIN",
			Meaning: "`pods.services: kube-proxy` does not work: kube-proxy needs this capability. `proxy` does not.",
		},
		{
			Code: CodePodQuota, Severity: diagnosis.Error, Title: "a quota has no room for a Pod",
			Meaning: "Pods of virtual nodes would wait until other cloud Pods end.",
			Mend: "Delete CCI Pods that are no longer used, or request a larger quota of CCI from the vendor (console: My " +
				"Quotas).",
		},
		{
			Code: CodeNoLog, Severity: diagnosis.Warning, Title: "the log of a container cannot be read",
			Meaning: "`kubectl logs` does not work.",
			Mend:    "Report it with a transcript.",
		},
		{
			Code: CodeNoExec, Severity: diagnosis.Warning, Title: "no command runs in a container",
			Meaning: "`kubectl exec` does not work with a token.",
			Mend:    "If DR703 is not reported, set `cci.exec.handshake: signature`. Otherwise report it with a transcript.",
		},
		{
			Code: CodeSignedExecRefused, Severity: diagnosis.Info, Title: "commands need a token",
			Meaning: "The service does not take a signature for `kubectl exec`. `cci.exec.handshake: token`, the default, is " +
				"right.",
		},
		{
			Code: CodeNoPodEvents, Severity: diagnosis.Info, Title: "a Pod has no Events",
			Meaning: "Why a Pod waits is then known from its status only.",
		},
		{
			Code: CodeStepFailed, Severity: diagnosis.Warning, Title: "a step could not be completed",
			Meaning: "What it checks is not known.",
			Mend:    "Run the command again. If it fails again, report it with a transcript (`--record`).",
		},
		{
			Code: CodeLeftBehind, Severity: diagnosis.Error, Title: "something was left in the cloud",
			Meaning: "It may be billed.",
			Mend:    "Run `vnode doctor --create` again, which removes it, or delete the namespace in the CCI console.",
		},
		{
			Code: CodeLeftByEarlierRun, Severity: diagnosis.Warning, Title: "an earlier run has left something in the cloud",
			Meaning: "It may be billed.",
			Mend:    "Run `vnode doctor --create`, which removes it, or delete the namespace in the CCI console.",
		},
		{
			Code: CodeNoTimeLeft, Severity: diagnosis.Warning, Title: "no time was left for all checks",
			Meaning: "What the other checks would have found is not known.",
			Mend: "Run the command again with a longer `--timeout`. If the service is slow, find out why: a proxy or a " +
				"firewall may be the cause.",
		},
		{
			Code: CodeStepTooSlow, Severity: diagnosis.Warning, Title: "a step took too long",
			Meaning: "What it checks is not known.",
			Mend: "Run the command again with a longer `--step-timeout` and `--timeout`. If requests get no answer, a proxy " +
				"or a firewall may drop them.",
		},
	}
}

// found returns a finding with a message, which has the text of the service if it answered.
func found(code diagnosis.Code, format string, args ...any) diagnosis.Finding {
	return Codes().Found(code, format, args...)
}
