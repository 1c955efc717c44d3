package ccisim

import (
	"slices"
	"strings"
)

// The paths of CCI 1.0, which is a plain Kubernetes API, and a group of its own for networks.
const (
	firstAPI      = "/api"
	firstNetworks = "/apis/networking.cci.io"
)

// newFirst makes the CCI 1.0 of the account: what is in it is not seen in 2.0, and the other way round. Accounts, faults, policies, records and
// tokens are the same for both; everything else is its own, the state file too.
func (s *Sim) newFirst() (*Sim, error) {
	cfg := s.cfg
	if cfg.StateFile != "" {
		cfg.StateFile += ".cci1"
	}
	first, err := newGeneration(cfg, strategiesOfFirst())
	if err != nil {
		return nil, err
	}
	first.isFirst = true
	first.faults, first.records, first.tokens = s.faults, s.records, s.tokens
	return first, first.open()
}

// generations are both APIs of the account.
func (s *Sim) generations() []*Sim {
	if s.first == nil {
		return []*Sim{s}
	}
	return []*Sim{s, s.first}
}

// holding is the generation that has the namespace, CCI 2.0 where none has, or both.
func (s *Sim) holding(namespace string) *Sim {
	for _, g := range s.generations() {
		g.mu.RLock()
		phase := g.namespacePhase(namespace)
		g.mu.RUnlock()
		if phase != "" {
			return g
		}
	}
	return s
}

// serving is the generation whose API a path is of.
func (s *Sim) serving(path string) *Sim {
	if s.first != nil && (path == firstAPI || strings.HasPrefix(path, firstAPI+"/") || strings.HasPrefix(path, firstNetworks+"/")) {
		return s.first
	}
	return s
}

// canonical gives the parts of a path of CCI 1.0 as those of the same in 2.0. Of 1.0's discovery it knows nothing.
func canonical(parts []string) ([]string, *apiError) {
	switch {
	case len(parts) > 2 && parts[0] == "api" && parts[1] == "v1":
		return slices.Concat([]string{"apis", groupCCI, version}, parts[2:]), nil
	case len(parts) > 3 && parts[1] == "networking.cci.io" && parts[2] == "v1beta1":
		return slices.Concat([]string{"apis", groupYangtse, version}, parts[3:]), nil
	}
	return nil, unknownPath()
}

// apiVersion is that of a resource in this generation.
func (s *Sim) apiVersion(res *resource) string {
	switch {
	case !s.isFirst:
		return res.group + "/" + version
	case res == networks:
		return "networking.cci.io/v1beta1"
	}
	return "v1"
}
