package certificate

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// register registers the metrics.
func (s *Source) register(registerer prometheus.Registerer) error {
	s.failures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spillway_admission_certificate_failures_total",
		Help: "Failed attempts to create or renew the certificate of the webhooks, or to write its CA to the " +
			"registrations. They are retried. Conflicts do not count.",
	})
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_admission_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that this process serves expires, in seconds since 1970, 0 if it serves none. " +
			"The metric is missing if the certificate comes from files.",
	}, func() float64 {
		if served := s.served.Load(); served != nil {
			return float64(served.Leaf.NotAfter.Unix())
		}
		return 0
	})
	if err := errors.Join(registerer.Register(s.failures), registerer.Register(expiry)); err != nil {
		return fmt.Errorf("registering the metrics of the certificate: %w", err)
	}
	return nil
}
