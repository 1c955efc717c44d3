package webhook

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
)

func TestNoPartMayBeMissing(t *testing.T) {
	for name, parts := range map[string]Parts{
		"no judge":     {Validator: validatorOf(t), InCloud: nothing},
		"no validator": {Judge: world{}.judge(t), InCloud: nothing},
		"no cloud":     {Judge: world{}.judge(t), Validator: validatorOf(t)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(parts, prometheus.NewRegistry(), nil)
			assert.ErrorContains(t, err, "needs a judge, a validator and somebody who knows what is in the cloud")
		})
	}
}
