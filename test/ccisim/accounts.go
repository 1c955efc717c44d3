package ccisim

import (
	"errors"
	"fmt"
)

// accounts are the credentials that may call.
type accounts struct {
	list        []Credential
	byAccessKey map[string]*Credential
}

func newAccounts(list []Credential) *accounts {
	a := &accounts{list: list, byAccessKey: map[string]*Credential{}}
	for i := range a.list {
		a.byAccessKey[a.list[i].AccessKey] = &a.list[i]
	}
	return a
}

// SetCredentials replaces the credentials that may call: whoever signs with another from now on gets 401. Streams that are open go on.
func (s *Sim) SetCredentials(list []Credential) error {
	if err := validateCredentials(list); err != nil {
		return fmt.Errorf("setting credentials: %w", err)
	}
	for _, g := range s.generations() {
		g.accounts.Store(newAccounts(append([]Credential(nil), list...)))
	}
	return nil
}

func validateCredentials(list []Credential) error {
	var errs []error
	if len(list) == 0 {
		errs = append(errs, errors.New("credentials: at least one is required, or nobody could call"))
	}
	keys := map[string]bool{}
	for i, credential := range list {
		if err := credential.validate(); err != nil {
			errs = append(errs, fmt.Errorf("credentials[%d]: %w", i, err))
		}
		if keys[credential.AccessKey] {
			errs = append(errs, fmt.Errorf("credentials[%d].accessKey: %q is given twice", i, credential.AccessKey))
		}
		keys[credential.AccessKey] = true
	}
	return errors.Join(errs...)
}
