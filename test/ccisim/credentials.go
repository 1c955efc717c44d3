package ccisim

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"sigs.k8s.io/yaml"
)

// Credential is one access key of the simulated account.
type Credential struct {
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	// ProjectID is the tenant's: X-Project-Id must name it, and objects get it. Empty takes, and gives, what X-Project-Id names.
	ProjectID string `json:"projectId,omitempty"`
	// DomainID is the account's; objects get it.
	DomainID string `json:"domainId,omitempty"`
	// SecurityToken makes the pair a temporary one: requests must carry it in X-Security-Token.
	SecurityToken string `json:"securityToken,omitempty"`
	// AuthToken is an IAM token that X-Auth-Token may carry in place of a signature. Empty means none.
	AuthToken string `json:"authToken,omitempty"`
}

// LogValue keeps secrets out of logs.
func (c Credential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("accessKey", c.AccessKey), slog.String("projectId", c.ProjectID))
}

// String keeps secrets out of errors.
func (c Credential) String() string { return "credential of " + c.AccessKey }

// GoString keeps secrets out of what a test prints.
func (c Credential) GoString() string { return c.String() }

func (c Credential) validate() error {
	var errs []error
	if c.AccessKey == "" {
		errs = append(errs, errors.New("accessKey: must not be empty"))
	}
	if c.SecretKey == "" {
		errs = append(errs, errors.New("secretKey: must not be empty"))
	}
	return errors.Join(errs...)
}

// LoadCredentials reads a YAML file that holds one credential, as a caller's own file does, or a list of them. Unknown keys are an error,
// so that a misspelt one is noticed.
func LoadCredentials(file string) ([]Credential, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	var list []Credential
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-")) {
		err = yaml.UnmarshalStrict(data, &list)
	} else {
		list = make([]Credential, 1)
		err = yaml.UnmarshalStrict(data, &list[0])
	}
	if err != nil {
		// The parser's words may quote a secret.
		return nil, fmt.Errorf("reading credentials: %s must be YAML with accessKey, secretKey, projectId, domainId, securityToken and authToken alone, or a list of such", file)
	}
	return list, nil
}
