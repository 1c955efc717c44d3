package cci

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"sigs.k8s.io/yaml"
)

// Credentials sign requests. They never print themselves.
type Credentials struct {
	// AccessKey names the account.
	AccessKey string `json:"accessKey"`
	// SecretKey makes the signature. It is sent to nobody but IAM, for a token.
	SecretKey string `json:"secretKey"`
	// SecurityToken goes with temporary keys; empty for permanent ones.
	SecurityToken string `json:"securityToken,omitempty"`
	// AuthToken is an IAM token for running commands in containers; empty to get one by the keys.
	AuthToken string `json:"authToken,omitempty"`
}

// Source is asked before each request what to sign it with. Its method may be called by many goroutines at once; it may block for as
// long as a renewal of temporary keys takes.
type Source interface {
	Current() Credentials
}

// Current makes credentials that never change a Source.
func (c Credentials) Current() Credentials { return c }

// ReadCredentials reads a YAML file with accessKey, secretKey, for temporary keys securityToken and, where none can be got by the
// keys, authToken.
func ReadCredentials(file string) (Credentials, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("reading the cloud credentials: %w", err)
	}
	var c Credentials
	if yaml.UnmarshalStrict(data, &c) != nil {
		// The parser's own words may quote the file.
		return Credentials{}, fmt.Errorf("reading the cloud credentials: %s is no YAML with accessKey, secretKey, securityToken and authToken alone", file)
	}
	if err := c.Validate(); err != nil {
		return Credentials{}, fmt.Errorf("reading the cloud credentials from %s: %w", file, err)
	}
	return c, nil
}

// Validate reports every fault at once.
func (c Credentials) Validate() error {
	var faults []error
	if c.AccessKey == "" {
		faults = append(faults, errors.New("accessKey: must not be empty"))
	}
	if c.SecretKey == "" {
		faults = append(faults, errors.New("secretKey: must not be empty"))
	}
	return errors.Join(faults...)
}

// String hides the secrets.
func (c Credentials) String() string { return "credentials of " + c.AccessKey }

// GoString hides the secrets.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the secrets.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
