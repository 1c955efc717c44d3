package cci

import "net/http"

// hints tell an operator how to resolve an error code of CCI. Source: CCI manual, "Error codes".
var hints = map[string]string{
	"CCI.01.401102": hintAuthorize,
	"CCI.01.404101": hintAuthorize,
	"CCI.01.403122": hintAuthorize,
	"CCI.01.403009": "the account is in arrears: settle the balance, after which CCI accepts requests again",
	"CCI.01.403010": "the account is frozen: contact Huawei Cloud support",
	codeQuota:       "the quota of CCI namespaces is used up: delete unused namespaces or request a larger quota",
	codeNoCluster: "the region has no capacity for a new namespace: this may be temporary; " +
		"otherwise use another region",
}

const (
	hintAuthorize = "CCI is not authorized to use the networks of the account: open the CCI console of the region once " +
		"and accept the authorization (agency)"
	codeQuota = "CCI.02.400106"
)

// hint tells an operator how to resolve the error. It is empty if that is not known.
func (e *Error) hint() string {
	switch text := hints[e.Code]; {
	case text != "":
		return text
	case e.Status == http.StatusUnauthorized:
		return "the access key is wrong, expired, revoked or of another project, or the clock is off by more than 15 minutes"
	case isPermissionCode(e.Code):
		return "the IAM user of the access key lacks a permission: grant it cci:namespace:* and cci:namespaceSubResource:*"
	}
	return ""
}
