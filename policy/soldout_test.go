package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseOnSoldOut(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		want        OnSoldOut
		fault       string
	}{
		"no annotation leaves it to the virtual node": {},
		"wait":       {annotations: map[string]string{OnSoldOutAnnotation: "wait"}, want: SoldOutWait},
		"reschedule": {annotations: map[string]string{OnSoldOutAnnotation: "reschedule"}, want: SoldOutReschedule},
		"a misspelt word evicts nothing": {
			annotations: map[string]string{OnSoldOutAnnotation: "Reschedule"}, want: SoldOutWait,
			fault: `spillway.io/on-sold-out: invalid value "Reschedule": must be one of wait, reschedule`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOnSoldOut(test.annotations)
			assert.Equal(t, test.want, got)
			if test.fault == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.fault)
		})
	}
}
