package doctor

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// seenKeys remembers the credentials that a run has used: temporary ones may change meanwhile.
type seenKeys struct {
	cci.Source

	mu   sync.Mutex
	seen []cci.Credentials
}

// maxKeys is how many credentials are remembered. Temporary ones last for hours.
const maxKeys = 20

// Current implements cci.Source.
func (k *seenKeys) Current() cci.Credentials {
	keys := k.Source.Current()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Contains(k.seen, keys) && len(k.seen) < maxKeys {
		k.seen = append(k.seen, keys)
	}
	return keys
}

// all returns the credentials that were used, and the present ones.
func (k *seenKeys) all() []cci.Credentials {
	_ = k.Current()
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

// Redactor returns what hides everything that identifies the account in a transcript of this run.
func (d *Doctor) Redactor() *transcript.Redactor {
	r := transcript.NewRedactor(namePrefix)
	for _, keys := range d.keys.all() {
		r.Hide("ACCESS-KEY", keys.AccessKey)
		r.Hide("SECRET-KEY", keys.SecretKey)
		r.Hide("SECURITY-TOKEN", keys.SecurityToken)
		r.Hide("AUTH-TOKEN", keys.AuthToken)
	}
	c := d.config.CCI
	r.Hide("PROJECT-ID", c.ProjectID)
	r.Hide("DOMAIN-ID", c.DomainID)
	r.HideAll("SUBNET-ID", c.SubnetIDs)
	r.HideAll("SECURITY-GROUP-ID", c.SecurityGroupIDs)
	r.Hide("VPC-ID", c.Network1.VPCID)
	r.Hide("NETWORK-ID", c.Network1.NetworkID)
	r.Hide("CLUSTER-ID", d.config.ClusterID)
	r.Hide("SERVICE", d.options.ServiceName)
	if secret := d.config.Pods.PullSecret; secret != config.Default().Pods.PullSecret {
		r.Hide("PULL-SECRET", secret)
	}
	hideImage(r, d.options.Image)
	endpoints := map[string]string{
		"CCI.EXAMPLE": c.Endpoint, "IAM.EXAMPLE": c.IAMEndpoint, "VPC.EXAMPLE": d.options.VPCEndpoint,
	}
	for name, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		if err == nil && net.ParseIP(u.Hostname()) == nil && !strings.HasSuffix(u.Hostname(), ".myhuaweicloud.com") {
			r.Hide(name, u.Hostname())
		}
	}
	for _, endpoint := range []string{c.ServiceEndpoint(), c.TokenEndpoint(), d.options.VPCEndpoint} {
		hideProxy(r, endpoint)
	}
	for _, name := range d.recorder.Names() {
		if name != c.Region {
			r.Hide("ACCOUNT-NAME", name)
		}
	}
	return r
}

// hideImage hides an image and the parts by which messages and the IDs of images name it: the registry, the
// organization and the repository.
func hideImage(r *transcript.Redactor, image string) {
	r.Hide("REGISTRY/IMAGE:TAG", image)
	if image == DefaultImage {
		return
	}
	repository, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository = repository[:i]
	}
	r.Hide("REGISTRY/IMAGE", repository)
	registry, path, ok := strings.Cut(repository, "/")
	if !ok {
		return
	}
	if !strings.ContainsAny(registry, ".:") {
		path, registry = repository, "docker.io"
	}
	if registry != "docker.io" && !strings.HasSuffix(registry, ".myhuaweicloud.com") {
		r.Hide("REGISTRY", registry)
	}
	r.Hide("IMAGE", path)
	if organization, _, ok := strings.Cut(path, "/"); ok {
		r.Hide("ORGANIZATION", organization)
	}
}

// hideProxy hides the proxy that requests to an endpoint use, with its user and password.
func hideProxy(r *transcript.Redactor, endpoint string) {
	proxy := proxyOf(endpoint)
	if proxy == nil {
		return
	}
	r.Hide("PROXY", proxy.Host)
	r.Hide("PROXY", proxy.Hostname())
	r.Hide("PROXY-USER", proxy.User.Username())
	if password, ok := proxy.User.Password(); ok {
		r.Hide("PROXY-PASSWORD", password)
	}
}

// proxyOf returns the proxy of the environment for an endpoint, nil if there is none. Go ignores one that is no URL.
func proxyOf(endpoint string) *url.URL {
	request, err := http.NewRequest(http.MethodGet, endpoint, nil)
	if err != nil {
		return nil
	}
	proxy, err := http.ProxyFromEnvironment(request)
	if err != nil {
		return nil
	}
	return proxy
}
