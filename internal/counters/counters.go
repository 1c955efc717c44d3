// Package counters exports counters with labels before their first event. It counts nothing.
package counters

import "github.com/prometheus/client_golang/prometheus"

// Start exports the series of a counter for each combination of the values of its labels, in the order of the labels.
// Without that, the first event would create its series at one, and rate and increase in Prometheus do not see that. It
// is for labels whose values are few and known. It panics, as the library does, if the number of labels is another one.
func Start(counter *prometheus.CounterVec, values ...[]string) {
	start(counter, nil, values)
}

func start(counter *prometheus.CounterVec, chosen []string, values [][]string) {
	if len(values) == 0 {
		counter.WithLabelValues(chosen...)
		return
	}
	for _, value := range values[0] {
		start(counter, append(chosen[:len(chosen):len(chosen)], value), values[1:])
	}
}

// Values returns the values of a label that are constants of a type.
func Values[T ~string](constants ...T) []string {
	values := make([]string, 0, len(constants))
	for _, constant := range constants {
		values = append(values, string(constant))
	}
	return values
}
