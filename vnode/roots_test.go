package main

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The image has no file but the program: without roots of its own it could not trust the cloud.
func TestTheProgramBringsRootCertificates(t *testing.T) {
	assert.PanicsWithValue(t, "SetFallbackRoots has already been called", func() { x509.SetFallbackRoots(x509.NewCertPool()) })
}
