package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Home says where the successor of a cloud Pod would be placed now.
type Home struct {
	// Local says that it would be placed on the local node, and that the local share of its revision has a free slot.
	Local bool
	// Reason is why.
	Reason policy.Reason
	// Unmanaged says that the scheduler alone would place it.
	Unmanaged bool
}

// Home says where a Pod would be placed that does not exist yet, if one local node and all virtual nodes would fit. It
// changes nothing and waits for nothing, as DryRun. The cap of its revision is that without the Pod, because the Pod is
// to take the place of another one.
func (p *Placement) Home(successor *corev1.Pod, node string) (Home, error) {
	managed, err := p.manages(successor)
	if err != nil {
		return Home{}, err
	}
	offer := Offer{Names: []string{node}}
	for _, virtual := range p.nodes.Ours() {
		offer.Names = append(offer.Names, virtual.Name)
	}
	f, err := p.foresee(successor, offer, 0)
	if err != nil {
		return Home{}, err
	}
	if !managed {
		return Home{Local: f.fits.local, Reason: policy.ReasonUnmanaged, Unmanaged: true}, nil
	}
	result := p.result(f.candidate, f.outcome)
	home := Home{Reason: result.Reason}
	if local := f.sight.Local; f.Shares.HasLocalCap() &&
		local.Used >= f.Shares.LocalCap(local.Used+local.InCloud+local.Waiting) {
		home.Reason = policy.ReasonLocalQuota
		return home, nil
	}
	home.Local = len(result.Names) == 1 && result.Names[0] == node
	return home, nil
}
