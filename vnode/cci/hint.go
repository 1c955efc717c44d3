package cci

import "net/http"

// advices say what an operator can do about a code of the service. Source: CCI manual, error codes.
var advices = map[string]string{
	"CCI.01.401102": authorise,
	"CCI.01.404101": authorise,
	"CCI.01.403122": authorise,
	"CCI.01.403009": "the account owes money: pay, and the service takes requests again",
	"CCI.01.403010": "the account is frozen: ask the vendor why",
	codeQuota:       "the account may have no more CCI namespaces: delete some that nobody uses, or ask for a larger quota",
	codeNoCluster:   "the region has no capacity for a new namespace: this may pass; otherwise use another region",
}

const (
	authorise = "CCI may not use the account's networks yet: open the CCI console of the region once and agree to the authorisation (agency)"
	codeQuota = "CCI.02.400106"
)

// advice is what an operator can do about an answer; empty where that is not known.
func (e *Error) advice() string {
	switch words := advices[e.Code]; {
	case words != "":
		return words
	case e.Status == http.StatusUnauthorized:
		return "the key is wrong, over or revoked, belongs to another project, or the clock is more than 15 minutes off"
	case isPermissionCode(e.Code):
		return "the user of the key lacks a permission: give it cci:namespace:* and cci:namespaceSubResource:* in IAM"
	}
	return ""
}
