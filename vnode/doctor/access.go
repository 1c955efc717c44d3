package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

func accessChecks() []check {
	return []check{
		// The clock is not needed: what the service says to a signature of the wrong time is worth a transcript.
		{name: "key", needs: []string{"connection"}, run: useKey},
		{name: "token", needs: []string{"key", "connection-iam"}, run: requestToken},
		{name: "agency", needs: []string{"key"}, run: readAgency},
		{name: "feature-gates", needs: []string{"key"}, run: readFeatureGates},
		{name: "subnets", needs: []string{"key"}, run: checkSubnets},
	}
}

// useKey sends the first signed request.
func useKey(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	body, err := d.cloud.Read(ctx, "", "/apis", nil)
	refused := refusal(err)
	switch {
	case err == nil && !isObject(body):
		return "", []diagnosis.Finding{found(CodeNotTheService, "%s/apis is answered 200: %s", d.config.CCI.ServiceEndpoint(),
			beginning(body))}, nil
	case err == nil:
		return "a signed request is accepted", nil, nil
	case refused != nil && refused.Code == CodeKeyRefused && d.clockOff:
		return "refused, because the clock is off: " + quote(err), nil, errExplained
	case refused != nil:
		return "", []diagnosis.Finding{*refused}, nil
	case statusOf(err) == http.StatusNotFound:
		// The key was accepted: it is the path that is unknown. Discovery reports it.
		return "a signed request is accepted", nil, nil
	}
	return "", nil, err
}

// isObject reports whether a body is a JSON object, as all answers of the API are.
func isObject(body []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(body, &object) == nil && object != nil
}

// beginning quotes the beginning of a body.
func beginning(body []byte) string {
	if len(body) == 0 {
		return "an empty body"
	}
	return strconv.Quote(policy.Clip(string(body), 100))
}

// requestToken requests the token with which commands run in containers.
func requestToken(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.keys.Current().AuthToken != "" {
		return "the credentials have a token", nil, nil
	}
	if d.outcomes["connection-iam"] != Passed {
		return "IAM cannot be reached", nil, errSkip
	}
	if err := d.cloud.CheckToken(ctx); err != nil {
		return "", []diagnosis.Finding{found(CodeNoToken, "%s", quote(err))}, nil
	}
	return "IAM issues a token for the key", nil, nil
}

// readAgency asks whether CCI may use the networks of the account. What a good answer contains is not documented.
func readAgency(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	body, err := d.cloud.Read(ctx, "", "/v1/agency", nil)
	if err == nil && strings.TrimSpace(string(body)) == "[]" {
		return "", []diagnosis.Finding{found(CodeAgencyUnknown, "the service lists no agency")}, nil
	}
	if err == nil && !json.Valid(body) {
		return "", []diagnosis.Finding{found(CodeAgencyUnknown, "the answer is not JSON: %s", beginning(body))}, nil
	}
	if err == nil {
		return "the account has authorized CCI", nil, nil
	}
	if refused := refusal(err); refused != nil && refused.Code != CodeAccessRefused &&
		refused.Code != CodePermissionMissing {
		return "", []diagnosis.Finding{*refused}, nil
	}
	return "", []diagnosis.Finding{found(CodeAgencyUnknown, "%s", quote(err))}, nil
}

// readFeatureGates reads what the region lets this account do. Source: CCI API, "FeatureGate".
func readFeatureGates(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	body, err := d.cloud.Read(ctx, "", "/v1/"+url.PathEscape(d.config.CCI.ProjectID)+"/feature-gates", nil)
	if err != nil {
		return "", []diagnosis.Finding{found(CodeGatesUnknown, "%s", quote(err))}, nil
	}
	var gates []struct {
		Feature string `json:"feature"`
		Value   string `json:"value"`
	}
	if err := json.Unmarshal(body, &gates); err != nil {
		return "", []diagnosis.Finding{found(CodeGatesUnknown, "the answer is not a list of gates: %v", err)}, nil
	}
	var texts []string
	for _, gate := range gates {
		texts = append(texts, gate.Feature+"="+gate.Value)
	}
	return strings.Join(texts, " "), nil, nil
}

// checkSubnets asks the VPC API for the configured subnets. Its ID of a subnet is another than Neutron's. Source: VPC
// API, "Querying Subnet Details", and "Differences between the VPC subnet API and the OpenStack Neutron subnet API".
func checkSubnets(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	ids, endpoint := d.config.CCI.SubnetIDs, d.options.VPCEndpoint
	switch {
	case len(ids) == 0:
		return "no subnet is configured", nil, nil
	case endpoint == "":
		return "", []diagnosis.Finding{
			found(CodeSubnetsNotChecked, "the endpoint of the VPC API is not known: set --vpc-endpoint"),
		}, nil
	}
	var findings []diagnosis.Finding
	for _, id := range ids {
		problem, err := d.checkSubnet(ctx, endpoint, id)
		if err != nil {
			return "", []diagnosis.Finding{found(CodeSubnetsNotChecked, "%s", quote(err))}, nil
		}
		if problem != nil {
			findings = append(findings, *problem)
		}
	}
	if len(findings) > 0 {
		return "", findings, nil
	}
	return "given by their Neutron IDs: " + strings.Join(ids, ", "), nil, nil
}

// checkSubnet returns what is wrong with the ID of a subnet, nil if it is right.
func (d *Doctor) checkSubnet(ctx context.Context, endpoint, id string) (*diagnosis.Finding, error) {
	_, err := d.cloud.Read(ctx, endpoint, "/v2.0/subnets/"+url.PathEscape(id), nil)
	if err == nil {
		return nil, nil
	}
	if statusOf(err) != http.StatusNotFound {
		return nil, err
	}
	path := "/v1/" + url.PathEscape(d.config.CCI.ProjectID) + "/subnets/" + url.PathEscape(id)
	body, err := d.cloud.Read(ctx, endpoint, path, nil)
	if statusOf(err) == http.StatusNotFound {
		f := found(CodeSubnetUnknown, "the project has no subnet %s in this region", id)
		return &f, nil
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Subnet struct {
			Neutron string `json:"neutron_subnet_id"`
			CIDR    string `json:"cidr"`
		} `json:"subnet"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Subnet.Neutron == "" {
		f := found(CodeSubnetOfVPC, "%s is the ID of the VPC API; its Neutron ID is not known", id)
		return &f, nil
	}
	subnet := "this subnet"
	if answer.Subnet.CIDR != "" {
		subnet += " (" + answer.Subnet.CIDR + ")"
	}
	f := found(CodeSubnetOfVPC, "%s is the ID of the VPC API; the Neutron ID of %s is %s",
		id, subnet, answer.Subnet.Neutron)
	return &f, nil
}

// statusOf returns the HTTP status of an error, 0 if the service has not answered.
func statusOf(err error) int {
	if answered, ok := errors.AsType[*cci.Error](err); ok {
		return answered.Status
	}
	return 0
}
