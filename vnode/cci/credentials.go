package cci

import (
	"fmt"
	"log/slog"
	"os"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Credentials sign requests. Their string and log forms contain only the access key.
type Credentials struct {
	// AccessKey identifies the IAM user.
	AccessKey string `json:"accessKey"`
	// SecretKey computes the signature. It is sent only to IAM, to request a token.
	SecretKey string `json:"secretKey"`
	// SecurityToken belongs to temporary keys. It is empty for permanent keys.
	SecurityToken string `json:"securityToken,omitempty"`
	// AuthToken is an IAM token for running commands in containers. If it is empty, the client requests one with the keys.
	AuthToken string `json:"authToken,omitempty"`
}

// Source returns the credentials of the next request. Current is safe for concurrent use. It may block while temporary
// keys are renewed.
type Source interface {
	Current() Credentials
}

// Current implements Source: the credentials never change.
func (c Credentials) Current() Credentials { return c }

// ReadCredentials reads a YAML file with the fields accessKey and secretKey, and optionally securityToken and
// authToken. Errors never contain text of the file.
func ReadCredentials(file string) (Credentials, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("reading the cloud credentials: %w", err)
	}
	var c Credentials
	if yaml.UnmarshalStrict(data, &c) != nil {
		// The error of the parser is dropped because it can quote the file.
		return Credentials{}, fmt.Errorf("reading the cloud credentials: %s must be YAML with no other fields than "+
			"accessKey, secretKey, securityToken and authToken", file)
	}
	if err := c.Validate(nil).ToAggregate(); err != nil {
		return Credentials{}, fmt.Errorf("reading the cloud credentials from %s: %w", file, err)
	}
	return c, nil
}

// Validate returns all errors of the credentials, without their values. path is that of the field that holds them, nil
// for a file of its own.
func (c Credentials) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.AccessKey == "" {
		errs = append(errs, field.Required(path.Child("accessKey"), "it identifies the IAM user"))
	}
	if c.SecretKey == "" {
		errs = append(errs, field.Required(path.Child("secretKey"), "requests are signed with it"))
	}
	return errs
}

// String hides the secrets.
func (c Credentials) String() string { return "credentials of " + c.AccessKey }

// GoString hides the secrets.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the secrets.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
