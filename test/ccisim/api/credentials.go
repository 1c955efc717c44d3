package api

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Credential is one access key of the simulated account.
type Credential struct {
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	// ProjectID is the project of the tenant: X-Project-Id must name it, and objects get it. If it is empty, the project
	// of X-Project-Id is used.
	ProjectID string `json:"projectId,omitempty"`
	// DomainID is the ID of the account. Objects get it.
	DomainID string `json:"domainId,omitempty"`
	// SecurityToken makes the access key temporary: requests must have it in X-Security-Token.
	SecurityToken string `json:"securityToken,omitempty"`
	// AuthToken is an IAM token that X-Auth-Token may have instead of a signature. Empty means none.
	AuthToken string `json:"authToken,omitempty"`
}

// LogValue keeps secrets out of logs.
func (c Credential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("accessKey", c.AccessKey), slog.String("projectId", c.ProjectID))
}

// String keeps secrets out of errors.
func (c Credential) String() string { return "credential of " + c.AccessKey }

// GoString keeps secrets out of the output of tests.
func (c Credential) GoString() string { return c.String() }

// LoadCredentials reads a YAML file with one credential, as the file of a client has it, or a list. Unknown keys are an
// error, so that a misspelled key is noticed.
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
		// The message of the parser may quote a secret.
		return nil, fmt.Errorf("reading credentials: %s must be YAML with no other keys than accessKey, secretKey, "+
			"projectId, domainId, securityToken and authToken, or a list of such", file)
	}
	return list, nil
}

// ValidateCredentials returns every error of a list of credentials.
func ValidateCredentials(list []Credential, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) == 0 {
		errs = append(errs, field.Required(path, "at least one is required, or every request would be refused"))
	}
	keys := map[string]bool{}
	for i, credential := range list {
		at := path.Index(i)
		if credential.AccessKey == "" {
			errs = append(errs, field.Required(at.Child("accessKey"), ""))
		}
		if credential.SecretKey == "" {
			errs = append(errs, field.Required(at.Child("secretKey"), ""))
		}
		if keys[credential.AccessKey] {
			errs = append(errs, field.Duplicate(at.Child("accessKey"), credential.AccessKey))
		}
		keys[credential.AccessKey] = true
	}
	return errs
}
