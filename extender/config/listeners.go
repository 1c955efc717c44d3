package config

import (
	"net"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// UsesTLS reports whether the scheduler is served over TLS.
func (c *Config) UsesTLS() bool { return c.TLSCertFile != "" || c.TLSPrivateKeyFile != "" }

// AllowedClients returns the names of which a client certificate must have one. Without TLS there are none, and every
// client is served.
func (c *Config) AllowedClients() []string {
	if !c.UsesTLS() {
		return nil
	}
	return c.ClientNames
}

// validateListeners ensures that only the scheduler can send requests: a listener that other machines can reach must
// verify client certificates.
func (c *Config) validateListeners() field.ErrorList {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("listen"), c.Listen, "must be host:port: "+err.Error())}
	}
	var errs field.ErrorList
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		errs = c.validateService()
	}
	if c.HealthListen != "" {
		errs = append(errs, serve.ValidateAddress(field.NewPath("healthListen"), c.HealthListen, ":10291")...)
	}
	return append(errs, c.validateTLS()...)
}

// validateService checks what a listener beyond loopback requires.
func (c *Config) validateService() field.ErrorList {
	var errs field.ErrorList
	if !c.UsesTLS() {
		errs = append(errs, field.Invalid(field.NewPath("listen"), c.Listen,
			"must be a loopback address such as 127.0.0.1:10290 without tlsCertFile, tlsPrivateKeyFile and clientCAFile: "+
				"a client that can send requests can use up slots"))
	}
	if c.LeaderElectionNamespace == "" {
		errs = append(errs, field.Required(field.NewPath("leaderElectionNamespace"),
			"must be set if listen is not a loopback address: two extenders that both answer would give the same slot"))
	}
	return errs
}

// validateTLS ensures that TLS is complete: with a certificate alone, every client could connect.
func (c *Config) validateTLS() field.ErrorList {
	if !c.UsesTLS() {
		if c.ClientCAFile == "" {
			return nil
		}
		return field.ErrorList{field.Invalid(field.NewPath("clientCAFile"), c.ClientCAFile,
			"has no effect without tlsCertFile and tlsPrivateKeyFile")}
	}
	var errs field.ErrorList
	for _, required := range []struct{ name, value, detail string }{
		{"tlsCertFile", c.TLSCertFile, "must be a file if tlsPrivateKeyFile is set"},
		{"tlsPrivateKeyFile", c.TLSPrivateKeyFile, "must be a file if tlsCertFile is set"},
		{"clientCAFile", c.ClientCAFile, "must be a file with TLS: without it every client could use up slots"},
		{"healthListen", c.HealthListen,
			"must be host:port with TLS, such as :10291: the kubelet's probes have no client certificate"},
	} {
		if required.value == "" {
			errs = append(errs, field.Required(field.NewPath(required.name), required.detail))
		}
	}
	if len(c.ClientNames) == 0 || slices.Contains(c.ClientNames, "") {
		errs = append(errs, field.Invalid(field.NewPath("clientNames"), c.ClientNames,
			"must be the names of the clients that may send requests, such as system:kube-scheduler"))
	}
	return errs
}
