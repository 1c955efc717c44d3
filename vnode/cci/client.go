package cci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	userAgent = "spillway-vnode"
	// largestAnswer bounds what is read of one answer: a page of 500 Pods has about 5 MB.
	largestAnswer = 64 << 20
	// defaultPause is after throttling that does not say for how long.
	defaultPause = time.Second
)

// Config is how the service is reached.
type Config struct {
	// Endpoint is scheme and host, such as https://cci.cn-north-4.myhuaweicloud.com. A path in it would be lost.
	Endpoint string
	// Version is the generation of the service; empty for policy.CCI2.
	Version policy.CCIVersion
	// ProjectID is the project of the region.
	ProjectID string
	// Credentials sign the requests. They are asked for anew for each.
	Credentials Source
	// QPS and Burst pace the requests: so many a second in the long run, so many at once. More is quicker until the
	// service throttles; its own limits are not published.
	QPS   float64
	Burst int
	// RequestTimeout is for one try of a request that is no stream.
	RequestTimeout time.Duration
	// Tries is how often a request that may be repeated is tried in all, RetryDelay the first time between two tries; it
	// doubles, with jitter. After ten requests in a row without an answer none is sent for four times that, doubling to 30 s.
	Tries      int
	RetryDelay time.Duration
	// Exec is how commands are run in containers.
	Exec ExecConfig
	// Transport sends requests; nil for one that connects directly or by the environment's proxy.
	Transport http.RoundTripper
	// Observe is told of every try that ended: the operation, the HTTP status or "none", and how long it took; nil for nobody.
	Observe func(operation, status string, elapsed time.Duration)
	// Outcome is told how every try ended, nil for a success; nil for nobody.
	Outcome func(operation string, err error)
	// Logger gets what goes wrong and is then repeated.
	Logger *slog.Logger
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	if !isHost(c.Endpoint) {
		faults = append(faults, fmt.Errorf("endpoint: invalid value %q: must be a scheme and a host, such as https://cci.cn-north-4.myhuaweicloud.com",
			c.Endpoint))
	}
	if c.Version != "" && c.Version != policy.CCI1 && c.Version != policy.CCI2 {
		faults = append(faults, fmt.Errorf("version: invalid value %q: must be %s or %s", string(c.Version), policy.CCI2, policy.CCI1))
	}
	if c.ProjectID == "" {
		faults = append(faults, errors.New("project id: must not be empty"))
	}
	if c.Credentials == nil {
		faults = append(faults, errors.New("credentials: must be given"))
	} else {
		keys := c.Credentials.Current()
		faults = append(faults, keys.Validate(), c.Exec.validate(keys))
	}
	if c.QPS <= 0 || c.Burst <= 0 {
		faults = append(faults, fmt.Errorf("requests a second and at once: invalid values %g and %d: must be above zero", c.QPS, c.Burst))
	}
	if c.RequestTimeout <= 0 || c.RetryDelay <= 0 || c.Tries <= 0 {
		faults = append(faults, fmt.Errorf("request time-out, delay and tries: invalid values %s, %s and %d: must be above zero",
			c.RequestTimeout, c.RetryDelay, c.Tries))
	}
	return errors.Join(faults...)
}

// isHost tells an address that has a scheme and a host and nothing more.
func isHost(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && (u.Path == "" || u.Path == "/")
}

// Client is API over HTTP.
type Client struct {
	config Config
	paths  paths
	http   *http.Client
	pace   *pace
	// breaker keeps requests back while the service answers none.
	breaker *breaker
	tokens  tokenCache
}

var _ API = (*Client)(nil)

// New checks the configuration. It does not connect.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("checking the configuration of the cloud client: %w", err)
	}
	if config.Transport == nil {
		config.Transport = newTransport()
	}
	if config.Observe == nil {
		config.Observe = func(string, string, time.Duration) {}
	}
	if config.Outcome == nil {
		config.Outcome = func(string, error) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Exec.KeepAlive = cmp.Or(config.Exec.KeepAlive, defaultKeepAlive)
	return &Client{
		config:  config,
		paths:   paths{config.Version},
		pace:    newPace(config.QPS, config.Burst),
		breaker: &breaker{now: time.Now, first: 4 * config.RetryDelay},
		http: &http.Client{
			// No time-out: it would end watches. A redirect would go unsigned.
			Transport:     config.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// newTransport is Go's own with room for as many connections to the one host as there are workers.
func newTransport() http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	transport := standard.Clone()
	transport.MaxIdleConnsPerHost = 64
	return transport
}

// do sends a call and decodes its answer into result, unless that is nil. One try.
func (c *Client) do(ctx context.Context, call call, result any) error {
	if err := c.pace.wait(ctx); err != nil {
		return err
	}
	tryCtx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	response, err := c.send(tryCtx, ctx, call)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		return noAnswer(ctx, "reading the answer of the cloud", err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(body, result); err != nil {
		return noAnswer(ctx, "decoding the answer of the cloud", err)
	}
	return nil
}

// repeat sends a call that may be carried out twice, again after errors that may pass.
func (c *Client) repeat(ctx context.Context, call call, result any) error {
	backoff := wait.Backoff{Duration: c.config.RetryDelay, Factor: 2, Jitter: 0.5, Steps: c.config.Tries}
	for try := 1; ; try++ {
		err := c.do(ctx, call, result)
		if err == nil || (!IsTransient(err) && !IsThrottled(err)) || isUnsent(err) || try >= c.config.Tries {
			return err
		}
		c.config.Logger.Debug("trying again", "operation", call.operation, "try", try, "err", err)
		if sleepErr := sleep(ctx, max(backoff.Step(), RetryAfter(err))); sleepErr != nil {
			return err
		}
	}
}

// send signs and sends a call and returns the answer if it is a success; its body is not read yet. requestCtx rules the
// connection, callerCtx is asked whether the caller has gone.
func (c *Client) send(requestCtx, callerCtx context.Context, call call) (*http.Response, error) {
	if err := c.breaker.admit(); err != nil {
		return nil, err
	}
	response, err := c.try(requestCtx, callerCtx, call)
	c.breaker.done(err)
	c.config.Outcome(call.operation, err)
	return response, err
}

func (c *Client) try(requestCtx, callerCtx context.Context, call call) (*http.Response, error) {
	request, err := c.sign(requestCtx, call)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		c.config.Observe(call.operation, "none", time.Since(start))
		return nil, noAnswer(callerCtx, "asking the cloud", err)
	}
	c.config.Observe(call.operation, strconv.Itoa(response.StatusCode), time.Since(start))
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	// What can be read of the reason is enough.
	body, _ := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	fault := decodeFault(response.StatusCode, response.Header, body, time.Now())
	if fault.Kind == Throttled {
		// With jitter: other virtual nodes of the account were told the same.
		c.pace.pause(wait.Jitter(cmp.Or(fault.After, defaultPause), 0.2))
	}
	c.config.Logger.Debug("the cloud refused", "operation", call.operation, "status", fault.Status, "code", fault.Code,
		"message", fault.Message, "request", fault.RequestID)
	return nil, fault
}

// encode makes the body of a call. Only this package's own types are encoded.
func encode(object any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return buffer.Bytes(), nil
}
