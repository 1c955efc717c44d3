package usage

import "time"

// Target is a running cloud Pod.
type Target struct {
	// Namespace, Name and UID are those of the Pod in the cluster.
	Namespace, Name, UID string
	// Address is host:port of its exporter.
	Address string
	// Started is when the Pod did.
	Started time.Time
	// Containers are those that run, with the times of their starts.
	Containers map[string]time.Time
}

// Sample is what a Pod has used until a time.
type Sample struct {
	Target Target
	// At is when the exporter was asked.
	At time.Time
	// Containers are those of the Target, each one.
	Containers map[string]Use
	// Rates are the cores that containers used on average since the sample before; without those that have none.
	Rates map[string]float64
}

// Use is what a container has used, or uses.
type Use struct {
	// CPU is in core-seconds since the start.
	CPU float64
	// WorkingSet is in bytes; RSS and Memory too, nil where the exporter does not tell them.
	WorkingSet  uint64
	RSS, Memory *uint64
}

// total adds up the containers.
func (s *Sample) total() (cpu float64, workingSet uint64) {
	for _, use := range s.Containers {
		cpu += use.CPU
		workingSet += use.WorkingSet
	}
	return cpu, workingSet
}

// since returns the cores used on average since the sample before, by container; a container that was started anew has none.
func (s *Sample) since(before *Sample) map[string]float64 {
	rates := map[string]float64{}
	if before == nil {
		return rates
	}
	elapsed := s.At.Sub(before.At).Seconds()
	for name, use := range s.Containers {
		old, known := before.Containers[name]
		if known && elapsed > 0 && use.CPU >= old.CPU && before.Target.Containers[name].Equal(s.Target.Containers[name]) {
			rates[name] = (use.CPU - old.CPU) / elapsed
		}
	}
	return rates
}
