package ccisim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
)

const (
	timeout = time.Minute
	tick    = 5 * time.Millisecond
)

var account = ccisim.Credential{
	AccessKey: "AKTEST", SecretKey: "secret of the test", ProjectID: "project-1", DomainID: "domain-1",
	AuthToken: "token-1",
}

// env is a running simulator with a listener, and a client of its only account.
type env struct {
	*client
	sim *ccisim.Sim
}

func newEnv(t testing.TB, change ...func(*ccisim.Config)) *env {
	t.Helper()
	cfg := ccisimtest.Quick(account)
	for _, c := range change {
		c(&cfg)
	}
	sim, url := ccisimtest.Start(t, cfg)
	return &env{client: &client{t: t, base: url, credential: cfg.Credentials[0]}, sim: sim}
}

// newNamespaceEnv also has the namespace "ns" with a Ready network.
func newNamespaceEnv(t testing.TB, change ...func(*ccisim.Config)) *env {
	t.Helper()
	b := newEnv(t, change...)
	b.makeNamespace("ns")
	return b
}

func (b *env) makeNamespace(name string) {
	b.t.Helper()
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces", namespaceBody(name))
	b.want(http.StatusCreated, "POST", "/apis/yangtse/v2/namespaces/"+name+"/networks", networkBody("net", "subnet-1"))
	b.eventually(func() bool {
		var network ccisim.Network
		b.get("/apis/yangtse/v2/namespaces/"+name+"/networks/net", &network)
		return network.Status.Status == "Ready"
	}, "the network is Ready")
}

func (b *env) eventually(condition func() bool, message string, args ...any) {
	b.t.Helper()
	require.Eventually(b.t, condition, timeout, tick, fmt.Sprintf(message, args...))
}

// client signs requests with the signer of the SDK, as a client of the real service does.
type client struct {
	t          testing.TB
	base       string
	credential ccisim.Credential
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// statusBody decodes the body as a Kubernetes Status with its errorCode.
func (a answer) statusBody(t testing.TB) (metav1.Status, string) {
	t.Helper()
	var out struct {
		metav1.Status
		ErrorCode string `json:"errorCode"`
	}
	require.NoError(t, json.Unmarshal(a.body, &out), "body: %s", a.body)
	require.Equal(t, "Status", out.Kind, "body: %s", a.body)
	return out.Status, out.ErrorCode
}

// signed returns a signed request. The headers are added before it is signed.
func (c *client) signed(ctx context.Context, method, target string, body []byte,
	headers map[string]string) *http.Request {
	c.t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(c.t, err)
	builder := request.NewHttpRequestBuilder().WithMethod(method).WithEndpoint(c.base).WithPath(parsed.Path)
	for name, values := range parsed.Query() {
		builder.AddQueryParam(name, reflect.ValueOf(values))
	}
	if body != nil {
		builder.WithBody("", string(body)).AddHeaderParam("Content-Type", "application/json")
	}
	builder.AddHeaderParam("X-Project-Id", c.credential.ProjectID)
	if c.credential.SecurityToken != "" {
		builder.AddHeaderParam("X-Security-Token", c.credential.SecurityToken)
	}
	for name, value := range headers {
		builder.AddHeaderParam(name, value)
	}
	req := builder.Build()
	signature, err := signer.Sign(req, c.credential.AccessKey, c.credential.SecretKey)
	require.NoError(c.t, err)
	for name, value := range signature {
		req.AddHeaderParam(name, value)
	}
	out, err := req.ConvertRequest()
	require.NoError(c.t, err)
	return out.WithContext(ctx)
}

func (c *client) send(req *http.Request) answer {
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, body, err}
}

// do sends a request. The body may be bytes, a string, nil for none, or a value that is encoded as JSON.
func (c *client) do(method, target string, body any) answer {
	c.t.Helper()
	return c.doAs(method, target, "application/json", body)
}

func (c *client) doAs(method, target, contentType string, body any) answer {
	c.t.Helper()
	raw := encoded(c.t, body)
	headers := map[string]string{}
	if raw != nil {
		headers["Content-Type"] = contentType
	}
	return c.send(c.signed(context.Background(), method, target, raw, headers))
}

func encoded(t testing.TB, body any) []byte {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return nil
	case []byte:
		return b
	case string:
		return []byte(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(t, err)
		return raw
	}
}

// want sends a request, and requires a status of the response.
func (c *client) want(status int, method, target string, body any) answer {
	c.t.Helper()
	a := c.do(method, target, body)
	require.NoError(c.t, a.err)
	require.Equal(c.t, status, a.status, "%s %s: %s", method, target, a.body)
	return a
}

// get reads an object. If there is none, out stays as it is.
func (c *client) get(target string, out any) int {
	c.t.Helper()
	a := c.do("GET", target, nil)
	require.NoError(c.t, a.err)
	if a.status == http.StatusOK {
		require.NoError(c.t, json.Unmarshal(a.body, out), "body: %s", a.body)
	}
	return a.status
}

func (c *client) pod(name string) *ccisim.Pod {
	c.t.Helper()
	pod := &ccisim.Pod{}
	c.get("/apis/cci/v2/namespaces/ns/pods/"+name, pod)
	return pod
}

// admin sends a request to the simulator's own API, which needs no signature.
func (c *client) admin(method, path string, body any) answer {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+"/_sim"+path, bytes.NewReader(encoded(c.t, body)))
	require.NoError(c.t, err)
	return c.send(req)
}

type object = map[string]any

func namespaceBody(name string) object {
	return object{"apiVersion": "cci/v2", "kind": "Namespace", "metadata": object{"name": name}}
}

func networkBody(name, subnet string) object {
	return object{
		"apiVersion": "yangtse/v2", "kind": "Network", "metadata": object{"name": name},
		"spec": object{"networkType": "underlay_neutron", "securityGroups": []string{"sg-1"},
			"subnets":    []object{{"subnetID": subnet}},
			"ipFamilies": []string{"IPv4"}, "defaultNetwork": true},
	}
}

// podBody returns a valid Pod with one container "web", changed by the functions.
func podBody(name string, change ...func(pod, spec, container object)) object {
	container := object{"name": "web", "image": "registry/nginx:1.27",
		"resources": object{"requests": object{"cpu": "500m", "memory": "1Gi"},
			"limits": object{"cpu": "500m", "memory": "1Gi"}}}
	spec := object{"containers": []any{container}}
	pod := object{"apiVersion": "cci/v2", "kind": "Pod", "metadata": object{"name": name}, "spec": spec}
	for _, c := range change {
		c(pod, spec, container)
	}
	return pod
}

func withAnnotations(pairs ...string) func(pod, spec, container object) {
	return func(pod, _, _ object) {
		annotations := object{}
		for i := 0; i+1 < len(pairs); i += 2 {
			annotations[pairs[i]] = pairs[i+1]
		}
		pod["metadata"].(object)["annotations"] = annotations
	}
}

func withLabels(pairs ...string) func(pod, spec, container object) {
	return func(pod, _, _ object) {
		labels := object{}
		for i := 0; i+1 < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
		}
		pod["metadata"].(object)["labels"] = labels
	}
}

func withSpec(name string, value any) func(pod, spec, container object) {
	return func(_, spec, _ object) { spec[name] = value }
}

func withContainer(name string, value any) func(pod, spec, container object) {
	return func(_, _, container object) { container[name] = value }
}

const podsPath = "/apis/cci/v2/namespaces/ns/pods"

// createPod creates a Pod, and returns the Pod of the response.
func (b *env) createPod(name string, change ...func(pod, spec, container object)) *ccisim.Pod {
	b.t.Helper()
	a := b.want(http.StatusCreated, "POST", podsPath, podBody(name, change...))
	pod := &ccisim.Pod{}
	require.NoError(b.t, json.Unmarshal(a.body, pod))
	return pod
}

// untilPhase waits until a Pod has a phase, and returns the Pod.
func (b *env) untilPhase(name, phase string) *ccisim.Pod {
	b.t.Helper()
	var pod *ccisim.Pod
	b.eventually(func() bool {
		pod = b.pod(name)
		return string(pod.Status.Phase) == phase
	}, "pod %s is %s", name, phase)
	return pod
}

// untilPod waits until a condition is true for a Pod, and returns the Pod.
func (b *env) untilPod(name, message string, condition func(*ccisim.Pod) bool) *ccisim.Pod {
	b.t.Helper()
	var pod *ccisim.Pod
	b.eventually(func() bool {
		pod = b.pod(name)
		return pod.Name != "" && condition(pod)
	}, "pod %s: %s", name, message)
	return pod
}

func (b *env) untilGone(name string) {
	b.t.Helper()
	b.eventually(func() bool {
		return b.do("GET", podsPath+"/"+name, nil).status == http.StatusNotFound
	}, "pod %s is gone", name)
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
