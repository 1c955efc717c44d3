package endure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
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

// cloud is the control API of the simulated cloud.
type cloud struct{ endpoint string }

// disturb switches a fault on. Sometimes it also cuts the watches, or removes their history so that clients must list.
// It returns a description.
func (c cloud) disturb(ctx context.Context, random *rand.Rand) (string, error) {
	fault := faults[random.IntN(len(faults))]
	description := fmt.Sprintf("%s %s", fault.Kind, fault.Verb)
	err := c.call(ctx, http.MethodPost, "faults", fault, nil)
	switch random.IntN(4) {
	case 0:
		description += ", watches cut"
		err = errors.Join(err, c.call(ctx, http.MethodPost, "watches/cut?abrupt=true", nil, nil))
	case 1:
		description += ", watches expired"
		err = errors.Join(err, c.call(ctx, http.MethodPost, "history/compact", nil, nil),
			c.call(ctx, http.MethodPost, "watches/cut", nil, nil))
	}
	return description, err
}

func (c cloud) resetFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// pods returns the Pods of the cloud, by the UIDs of their Pods in the cluster. It fails if the cloud ever created two
// for one Pod.
func (c cloud) pods(ctx context.Context) (map[types.UID]string, error) {
	var ever []ccisim.PodRecord
	if err := c.call(ctx, http.MethodGet, "pods", nil, &ever); err != nil {
		return nil, err
	}
	created, present := map[types.UID]string{}, map[types.UID]string{}
	for _, record := range ever {
		uid := types.UID(record.Annotations[policy.CloudUIDAnnotation])
		if uid == "" {
			continue // A probe of a virtual node stands for no Pod.
		}
		if first, twice := created[uid]; twice {
			return nil, fmt.Errorf("the cloud created %s and %s for the Pod with UID %s: want one", first, record.Name, uid)
		}
		created[uid] = record.Name
		if record.Deleted == nil {
			present[uid] = record.Name
		}
	}
	return present, nil
}

func (c cloud) call(ctx context.Context, method, path string, send, receive any) error {
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return fmt.Errorf("encoding %s: %w", path, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.endpoint+"/_sim/"+path, &body)
	if err != nil {
		return fmt.Errorf("creating the request %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("calling the simulator at %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("calling the simulator at %s: %s", path, response.Status)
	}
	if receive == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(receive); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}
