// Package bill sums up what the cloud bills for Pods, and what that costs by the prices of the installation. It reads
// nothing.
package bill

import (
	"cmp"
	"math/big"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Sum is what the cloud bills for some Pods. The zero value is that of none.
type Sum struct {
	use policy.CloudUse
	// hour is the price of an hour, nil for nothing.
	hour *big.Rat
}

// Of returns the sum of one Pod on a virtual node. A terminating Pod is billed until it is gone. One that has ended, or
// that no size holds, is not. table is nil without prices.
func Of(rules *policy.Policy, table *prices.Table, pod *corev1.Pod) Sum {
	use, err := rules.CloudUse(pod)
	if err != nil || policy.HasEnded(pod) {
		return Sum{}
	}
	if table == nil {
		return Sum{use: use}
	}
	return Sum{use, table.Hour(sizes.FamilyOf(pod.Annotations), use.Flavor)}
}

// Plus returns the sum of both.
func (s Sum) Plus(other Sum) Sum {
	if other.hour == nil {
		return Sum{s.use.Plus(other.use), s.hour}
	}
	return Sum{s.use.Plus(other.use), new(big.Rat).Add(s.price(), other.hour)}
}

// price returns the price of an hour.
func (s Sum) price() *big.Rat { return cmp.Or(s.hour, new(big.Rat)) }

// Bill returns the sum as commands print it. table is nil without prices.
func (s Sum) Bill(table *prices.Table) Bill {
	resources := s.use.Resources()
	b := Bill{CPU: resources.Cpu().String(), Memory: resources.Memory().String()}
	if table != nil {
		b.hour, b.month = s.price(), prices.Month(s.price())
		b.PerHour, b.PerMonth = prices.Exact(b.hour), prices.Exact(b.month)
	}
	return b
}

// Bill is a sum as commands print it.
type Bill struct {
	// CPU and Memory are what is billed.
	CPU    string `json:"billedCPU"`
	Memory string `json:"billedMemory"`
	// PerHour and PerMonth are the prices of an hour and of a month of 730 hours, empty without prices.
	PerHour  string `json:"perHour,omitempty"`
	PerMonth string `json:"perMonth,omitempty"`

	hour, month *big.Rat
}

// Hour returns the price of an hour for people, such as 0.2700.
func (b Bill) Hour() string { return rounded(b.hour, 4) }

// Month returns the price of a month for people, such as 197.10.
func (b Bill) Month() string { return rounded(b.month, 2) }

func rounded(amount *big.Rat, digits int) string {
	if amount == nil {
		return "-"
	}
	return amount.FloatString(digits)
}
