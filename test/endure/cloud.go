package endure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
)

// faults are the faults that the cloud can have in a round.
var faults = []ccisim.Fault{
	{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: 300 * time.Millisecond}},
	{Kind: ccisim.Throttle, Times: 5},
	{Kind: ccisim.Throttle, RatePerSecond: 5, Burst: 3},
	{Kind: ccisim.ServerError, Status: 500, Times: 4},
	{Kind: ccisim.ServerError, Status: 503, RetryAfterSeconds: 1, Times: 3},
	{Kind: ccisim.ServerError, Status: 502, HTML: true, Times: 3},
	{Kind: ccisim.Arrears, Times: 6},
	{Kind: ccisim.NoAgency, Times: 4},
	{Kind: ccisim.LoseAnswer, Verb: "create", Times: 3},
	{Kind: ccisim.LoseAnswer, Verb: "delete", Times: 3},
	{Kind: ccisim.LoseAnswer, Verb: "list", Times: 2},
	{Kind: ccisim.HalfBody, Verb: "create", Times: 2},
	{Kind: ccisim.HalfBody, Verb: "list", Times: 2},
	{Kind: ccisim.HalfBody, Verb: "watch", Times: 2},
	{Kind: ccisim.DuplicateEvents},
	{Kind: ccisim.SoldOut},
	{Kind: ccisim.IPInsufficient},
	{Kind: ccisim.HoldFinalizer},
}

// cloud is the simulated cloud.
type cloud struct{ system.Cloud }

// disturb switches a fault on. Sometimes it also cuts the watches, or removes their history so that clients must list.
// It returns a description.
func (c cloud) disturb(ctx context.Context, random *rand.Rand) (string, error) {
	fault := faults[random.IntN(len(faults))]
	description := fmt.Sprintf("%s %s", fault.Kind, fault.Verb)
	err := c.Simulate(ctx, http.MethodPost, "faults", fault, nil)
	switch random.IntN(4) {
	case 0:
		description += ", watches cut"
		err = errors.Join(err, c.Simulate(ctx, http.MethodPost, "watches/cut?abrupt=true", nil, nil))
	case 1:
		description += ", watches expired"
		err = errors.Join(err, c.Simulate(ctx, http.MethodPost, "history/compact", nil, nil),
			c.Simulate(ctx, http.MethodPost, "watches/cut", nil, nil))
	}
	return description, err
}

func (c cloud) resetFaults(ctx context.Context) error {
	return c.Simulate(ctx, http.MethodDelete, "faults", nil, nil)
}
