package usage

import "time"

// Target is a running cloud Pod.
type Target struct {
	// Namespace, Name and UID are those of the Pod in the cluster.
	Namespace, Name, UID string
	// Address is host:port of the Pod's metrics exporter.
	Address string
	// Started is the start time of the Pod.
	Started time.Time
	// Containers maps the running containers to their start times.
	Containers map[string]time.Time
	// Images maps the same containers to their images.
	Images map[string]string
}

// Sample is the usage of a Pod at one time.
type Sample struct {
	Target Target
	// At is the time of the request to the exporter.
	At time.Time
	// Containers maps each container of the Target to its usage.
	Containers map[string]ContainerUsage
	// Rates maps containers to the number of cores that they used on average since the previous sample. A container
	// without a rate is missing.
	Rates map[string]float64
}

// ContainerUsage is the usage of a container.
type ContainerUsage struct {
	// CPU is the time used since the start of the container, in core-seconds.
	CPU float64
	// WorkingSet, RSS and Memory are in bytes. RSS and Memory are nil if the exporter does not report them.
	WorkingSet  uint64
	RSS, Memory *uint64
}

// total returns the sums over all containers.
func (s *Sample) total() (cpu float64, workingSet uint64) {
	for _, use := range s.Containers {
		cpu += use.CPU
		workingSet += use.WorkingSet
	}
	return cpu, workingSet
}

// maxCores is the highest rate that a container can have. The largest size of a Pod has 64 cores.
const maxCores = 128

// ratesSince returns the cores that each container used on average since the previous sample. A container that has
// restarted in between, or reports more than a Pod can use, has no rate.
func (s *Sample) ratesSince(previous *Sample) map[string]float64 {
	rates := map[string]float64{}
	if previous == nil {
		return rates
	}
	elapsed := s.At.Sub(previous.At).Seconds()
	for name, use := range s.Containers {
		old, known := previous.Containers[name]
		restarted := !previous.Target.Containers[name].Equal(s.Target.Containers[name]) || use.CPU < old.CPU
		if known && elapsed > 0 && !restarted {
			if rate := (use.CPU - old.CPU) / elapsed; rate <= maxCores {
				rates[name] = rate
			}
		}
	}
	return rates
}
