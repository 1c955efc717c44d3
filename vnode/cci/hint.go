package cci

import (
	"fmt"
	"net/http"
)

// hints tell an operator how to resolve an error code of CCI. Source: CCI manual, "Error codes".
var hints = map[string]string{
	"CCI.01.401102": hintAuthorize,
	"CCI.01.404101": hintAuthorize,
	"CCI.01.403122": hintAuthorize,
	"CCI.01.403009": "the account is in arrears: settle the balance, after which CCI accepts requests again",
	"CCI.01.403010": "the account is frozen: contact Huawei Cloud support",
	codeAgencyQuota: "the account has no quota left for the agency that CCI creates: delete unused agencies in the IAM " +
		"console (Agencies), or request a larger quota by a service ticket",
	codeNotListed: "the account is not on the list of those that may use this function of CCI in the region: request it " +
		"by a service ticket",
	codeQuota: "the quota of CCI namespaces is used up: delete unused namespaces or request a larger quota",
	codeNoCluster: "the region has no capacity for a new namespace: this may be temporary; " +
		"otherwise use another region",
}

const (
	// The user who accepts it needs two permissions. Source: CCI manual, "Authorization Using an Agency".
	hintAuthorize = "CCI is not authorized to use the networks of the account: open the CCI console of the region once " +
		"and accept the authorization (agency), as a user who may create agencies (iam:agencies:createAgency, " +
		"iam:permissions:grantRoleToAgencyOnProject)"
	// Source: CCI manual, "Role/Policy-based Authorization"; CCI API, "Actions Supported by Identity Policy-based
	// Authorization".
	hintPermission = "the IAM user of the access key lacks a permission: grant it cci:namespace:* and " +
		"cci:namespaceSubResource:* for the project (the policy CCIFullAccess has both); if the account uses identity " +
		"policies (the new IAM console), attach one with the actions of CCI, which have other names there"
	codeQuota       = "CCI.02.400106"
	codeAgencyQuota = "CCI.01.400104"
	codeNotListed   = "CCI.02.400102"
)

// hint tells an operator how to resolve the error. It is empty if that is not known.
func (e *Error) hint() string {
	switch text := hints[e.Code]; {
	case text != "":
		return text
	case e.Kind == NotOffered && e.Feature != "":
		return fmt.Sprintf("%s does not offer %s", e.api, e.Feature)
	case e.Kind == NotOffered && e.api != "":
		return e.api + " is not there: check cci.region, cci.endpoint and policy.cciVersion"
	case e.Status == http.StatusUnauthorized:
		return "the access key is wrong, expired, revoked or of another project, or the clock is off by more than 15 minutes"
	case isPermissionCode(e.Code):
		return hintPermission
	case e.Kind == QuotaExceeded:
		return "delete what is not used, or request a larger quota in the console (My Quotas)"
	}
	return ""
}

// IsPermission reports whether the service has refused the request because the user of the key lacks a permission.
func (e *Error) IsPermission() bool { return isPermissionCode(e.Code) }
