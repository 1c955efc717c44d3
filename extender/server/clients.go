package server

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// authorize accepts clients whose certificate has one of the names. The listener has verified that the certificate is
// signed by the right authority. Other clients get status 403 with a message: the authority may be that of the whole
// cluster, in which every node has a certificate.
func (s *server) authorize(names []string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if len(names) == 0 {
			return
		}
		var found []string
		if state := c.Request.TLS; state != nil && len(state.PeerCertificates) > 0 {
			found = namesOf(state.PeerCertificates[0])
		}
		if slices.ContainsFunc(found, func(name string) bool { return slices.Contains(names, name) }) {
			return
		}
		s.logger.WarnContext(c, "rejected a client",
			"client", found, "address", c.Request.RemoteAddr, "path", c.Request.URL.Path)
		s.metrics.outcome(c, outcomeForbidden)
		c.String(http.StatusForbidden,
			"Spillway: the client certificate is for %q: only %q may send requests (clientNames)\n",
			strings.Join(found, ", "), strings.Join(names, ", "))
		c.Abort()
	}
}

// namesOf returns the names in a certificate: its common name, DNS names and URIs.
func namesOf(certificate *x509.Certificate) []string {
	var names []string
	if certificate.Subject.CommonName != "" {
		names = append(names, certificate.Subject.CommonName)
	}
	names = append(names, certificate.DNSNames...)
	for _, uri := range certificate.URIs {
		names = append(names, uri.String())
	}
	return names
}
