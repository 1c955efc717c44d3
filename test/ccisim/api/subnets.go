package api

import (
	"net/http"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Subnet is a subnet of the account's VPC. It has two IDs.
type Subnet struct {
	// VPCID is its ID in the VPC API, which the console calls network ID. NeutronID is its ID in the Neutron API, which
	// CCI takes.
	VPCID     string `json:"vpcId"`
	NeutronID string `json:"neutronId"`
	// CIDR has the addresses of its Pods. Optional.
	CIDR string `json:"cidr"`
}

// ValidateSubnets returns every error of the subnets.
func ValidateSubnets(list []Subnet, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, subnet := range list {
		if subnet.VPCID == "" {
			errs = append(errs, field.Required(path.Index(i).Child("vpcId"), "its ID in the VPC API"))
		}
		if subnet.NeutronID == "" {
			errs = append(errs, field.Required(path.Index(i).Child("neutronId"), "its ID in the Neutron API"))
		}
		if subnet.CIDR == "" {
			continue
		}
		if _, err := netip.ParsePrefix(subnet.CIDR); err != nil {
			errs = append(errs, field.Invalid(path.Index(i).Child("cidr"), subnet.CIDR,
				"must be a range of addresses, such as 10.0.1.0/24"))
		}
	}
	return errs
}

// SubnetHandler serves the parts of the VPC API that show one subnet: GET /v1/{project}/subnets/{id}, and Neutron's GET
// /v2.0/subnets/{id}. Source: VPC API, "Querying Subnet Details" of both APIs.
func (a *Auth) SubnetHandler(list []Subnet) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := a.showSubnet(r, list)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(mustEncode(body)) // The client may have closed the connection.
	})
}

func (a *Auth) showSubnet(r *http.Request, list []Subnet) (status int, body any) {
	if caller, reason := a.authenticate(r, nil); caller == nil {
		return http.StatusUnauthorized, gatewayError{ErrorCode: "APIGW.0301", ErrorMsg: reason}
	}
	ofNeutron := strings.HasPrefix(r.URL.Path, neutronSubnets)
	_, id, _ := strings.Cut(r.URL.Path, "/subnets/")
	for _, subnet := range list {
		switch {
		case ofNeutron && subnet.NeutronID == id:
			return http.StatusOK, map[string]any{"subnet": map[string]string{
				"id": id, "network_id": subnet.VPCID, "cidr": subnet.CIDR,
			}}
		case !ofNeutron && subnet.VPCID == id:
			return http.StatusOK, map[string]any{"subnet": map[string]string{
				"id": id, "neutron_network_id": id, "neutron_subnet_id": subnet.NeutronID, "cidr": subnet.CIDR,
			}}
		}
	}
	if ofNeutron {
		return http.StatusNotFound, map[string]any{"NeutronError": map[string]string{
			"type": "SubnetNotFound", "message": "Subnet " + id + " could not be found.",
		}}
	}
	return http.StatusNotFound, map[string]string{"code": "VPC.0202", "message": "Query resource by id " + id + " fail."}
}

const neutronSubnets = "/v2.0/subnets/"

// IsSubnetPath reports whether SubnetHandler serves a path.
func IsSubnetPath(path string) bool {
	if strings.HasPrefix(path, neutronSubnets) {
		return true
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return len(parts) == 4 && parts[0] == "v1" && parts[2] == "subnets"
}
