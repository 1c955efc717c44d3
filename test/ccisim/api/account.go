package api

import (
	"net/http"
	"strings"
	"time"
)

// featureGate is one property of the account. Source: the reference page readCciFeatureGates, with its example.
type featureGate struct {
	Description string `json:"description,omitempty"`
	Feature     string `json:"feature"`
	Type        string `json:"type"`
	Value       string `json:"value"`
}

// agency is what lets the service act in the name of the account. Source of the fields: the vendor's Terraform
// provider. The values are not documented.
type agency struct {
	Name            string `json:"name"`
	DomainID        string `json:"domain_id"`
	TrustDomainID   string `json:"trust_domain_id"`
	TrustDomainName string `json:"trust_domain_name"`
	Description     string `json:"description"`
	Duration        string `json:"duration"`
	CreateTime      string `json:"create_time"`
	NeedUpdate      string `json:"need_update"`
}

// routeAccount parses the paths that are not of Kubernetes' form: /v1/agency and /v1/{project}/feature-gates. It
// reports whether the path is one of them. The quotas of namespaces in CCI 1.0 are no objects of the store either.
func (c *call) routeAccount(parts []string) bool {
	switch {
	case len(parts) == 2 && parts[0] == "v1" && parts[1] == "agency":
		c.account = "agency"
	case len(parts) == 3 && parts[0] == "v1" && parts[1] != "" && parts[2] == "feature-gates":
		c.account, c.project = "feature-gates", parts[1]
	case c.allNamespaces && len(parts) == 5 && strings.Join(parts[:3], "/") == "api/v1/namespaces" &&
		parts[4] == "resourcequotas":
		c.account, c.project = "resourcequotas", parts[3]
	default:
		return false
	}
	return true
}

// serveAccount serves what routeAccount has parsed.
func (s *Server) serveAccount(c *call) (*reply, *apiError) {
	switch {
	case c.account == "feature-gates" && c.r.Method == http.MethodGet:
		return s.serveFeatureGates(c)
	case c.account == "resourcequotas" && c.r.Method == http.MethodGet:
		return s.serveQuotas(c.project)
	case c.account == "agency" && c.r.Method == http.MethodGet:
		return jsonReply(http.StatusOK, mustEncode([]agency{{
			Name: "cci_admin_trust", DomainID: c.caller.DomainID, TrustDomainID: "cci-domain", TrustDomainName: "op_svc_cci",
			Duration: "FOREVER", CreateTime: time.Unix(0, 0).UTC().Format(time.RFC3339), NeedUpdate: "false",
		}})), nil
	case c.account == "agency" && c.r.Method == http.MethodPost:
		// The account has its agency already. The fault noAgency makes every request fail as if it had none.
		return &reply{status: http.StatusNoContent}, nil
	}
	return nil, codedError(http.StatusMethodNotAllowed, "",
		"the server does not allow this method on the requested resource")
}

func (s *Server) serveFeatureGates(c *call) (*reply, *apiError) {
	if c.project != c.caller.ProjectID {
		return nil, codedError(http.StatusForbidden, "", "project "+c.project+" is not the project of the credentials")
	}
	sold := instanceTypes
	if s.cfg.Faults.Policies().RefuseLite {
		sold = sold[:1]
	}
	return jsonReply(http.StatusOK, mustEncode([]featureGate{{
		Description: "List of resources to be sold.", Feature: "sale_policy_list", Type: "list",
		Value: string(mustEncode(sold)),
	}})), nil
}
