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

// weathers are what the cloud may suffer from in a round.
var weathers = []ccisim.Fault{
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

// cloud is the simulated cloud's own API.
type cloud struct{ endpoint string }

// worsen switches a fault on and now and then cuts the watches, or forgets their past, so that a list is needed. It says what it did.
func (c cloud) worsen(ctx context.Context, random *rand.Rand) (string, error) {
	fault := weathers[random.IntN(len(weathers))]
	words := fmt.Sprintf("%s %s", fault.Kind, fault.Verb)
	err := c.call(ctx, http.MethodPost, "faults", fault, nil)
	switch random.IntN(4) {
	case 0:
		words += ", watches cut"
		err = errors.Join(err, c.call(ctx, http.MethodPost, "watches/cut?abrupt=true", nil, nil))
	case 1:
		words += ", watches expired"
		err = errors.Join(err, c.call(ctx, http.MethodPost, "history/compact", nil, nil), c.call(ctx, http.MethodPost, "watches/cut", nil, nil))
	}
	return words, err
}

func (c cloud) heal(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// pods returns the Pods that the cloud has, by the UID of the Pod that each stands for. It is an error if it ever made two for one.
func (c cloud) pods(ctx context.Context) (map[types.UID]string, error) {
	var ever []ccisim.PodRecord
	if err := c.call(ctx, http.MethodGet, "pods", nil, &ever); err != nil {
		return nil, err
	}
	made, present := map[types.UID]string{}, map[types.UID]string{}
	for _, record := range ever {
		uid := types.UID(record.Annotations[policy.CloudUIDAnnotation])
		if first, twice := made[uid]; twice {
			return nil, fmt.Errorf("the cloud made %s and %s for the one Pod with UID %s", first, record.Name, uid)
		}
		made[uid] = record.Name
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
		return fmt.Errorf("making the request %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the simulator for %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("asking the simulator for %s: %s", path, response.Status)
	}
	if receive == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(receive); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}
