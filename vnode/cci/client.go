package cci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/internal/fairness"
	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	userAgent = "spillway-vnode"
	// defaultPause is how long requests are delayed after a throttled request without a Retry-After header.
	defaultPause = time.Second
)

// Config configures a Client.
type Config struct {
	// Endpoint is the scheme and the host of CCI, such as https://cci.cn-north-4.myhuaweicloud.com. It has no path.
	Endpoint string
	// AllowHTTP allows endpoints without TLS. A loopback address is always allowed.
	AllowHTTP bool
	// Version is the generation of CCI. Empty means policy.CCI2.
	Version policy.CCIVersion
	// ProjectID is the ID of the project in the region.
	ProjectID string
	// Credentials returns the keys that sign a request. It is called for each request.
	Credentials Source
	// QPS is the sustained rate of requests per second, Burst the number of requests that may exceed it at once. Higher
	// values are faster until the service throttles. The limits of the service are not published: the rate grows up
	// to MaxQPS while the service takes all that it allows, and falls when the service throttles. A MaxQPS that is not
	// above QPS means that the rate only falls and recovers. Requests that wait take turns by the namespaces of their
	// contexts (see package fairness).
	QPS, MaxQPS float64
	Burst       int
	// RequestTimeout is the timeout of one attempt of a request that is not a stream.
	RequestTimeout time.Duration
	// Tries is the maximum number of attempts of a request that can be retried. RetryDelay is the delay before the
	// second attempt. It doubles with each attempt, with jitter. After ten consecutive requests without an answer no
	// request is sent for four times RetryDelay, which doubles up to 30 seconds.
	Tries      int
	RetryDelay time.Duration
	// Exec configures how commands run in containers.
	Exec ExecConfig
	// Addresses are the addresses that cloud Pods may have.
	Addresses Addresses
	// Transport sends the requests. Nil means a transport that connects directly or through the proxy of the
	// environment.
	Transport http.RoundTripper
	// Guard lets requests pass only while it allows them. Nil means always.
	Guard Guard
	// Registerer registers the client's metrics. Nil means that they are not exported. Only one Client may use a
	// registerer.
	Registerer prometheus.Registerer
	// Outcome is called with the result of each attempt, a nil error for a success. It must not block. Nil means no
	// call.
	Outcome func(operation string, err error)
	// Logger logs errors that are retried. Nil discards them.
	Logger *slog.Logger
}

// Guard lets requests pass only while this process may send them (leaderelection.Term).
type Guard interface {
	// Err returns why no request may be sent, nil if requests may be sent.
	Err() error
	// Wrap returns a transport that sends requests only while they may be sent.
	Wrap(http.RoundTripper) http.RoundTripper
}

// Validate returns all errors of the configuration. path is that of the field that holds the configuration.
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, ValidateEndpoint(path.Child("endpoint"), c.Endpoint, c.AllowHTTP)...)
	if c.Version != "" && c.Version != policy.CCI1 && c.Version != policy.CCI2 {
		errs = append(errs, field.NotSupported(path.Child("version"), c.Version,
			[]policy.CCIVersion{policy.CCI2, policy.CCI1}))
	}
	if c.ProjectID == "" {
		errs = append(errs, field.Required(path.Child("projectID"), "the console shows it under My Credentials"))
	}
	if c.Credentials == nil {
		errs = append(errs, field.Required(path.Child("credentials"), "requests are signed with them"))
	} else {
		keys := c.Credentials.Current()
		errs = append(errs, keys.Validate(path.Child("credentials"))...)
		errs = append(errs, c.Exec.validate(path, keys, c.AllowHTTP)...)
	}
	for _, number := range []struct {
		field    string
		value    any
		positive bool
	}{
		{"qps", c.QPS, c.QPS > 0},
		{"burst", c.Burst, c.Burst > 0},
		{"requestTimeout", c.RequestTimeout.String(), c.RequestTimeout > 0},
		{"tries", c.Tries, c.Tries > 0},
		{"retryDelay", c.RetryDelay.String(), c.RetryDelay > 0},
	} {
		if !number.positive {
			errs = append(errs, field.Invalid(path.Child(number.field), number.value, "must be above zero"))
		}
	}
	return errs
}

// ValidateEndpoint requires that an endpoint has a scheme and a host, and nothing else. Without TLS, the access key for
// tokens, the tokens, and the contents of Secrets could be read on the way.
func ValidateEndpoint(path *field.Path, endpoint string, allowHTTP bool) field.ErrorList {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "":
		return field.ErrorList{field.Invalid(path, endpoint,
			"must be a scheme and a host, such as https://cci.cn-north-4.myhuaweicloud.com")}
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return field.ErrorList{field.Invalid(path, endpoint,
			"must begin with https://, because keys and Secrets are sent to it; for a simulated cloud, set allowHTTP")}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Client implements API over HTTP.
type Client struct {
	config  Config
	paths   paths
	http    *http.Client
	limiter *fairness.Limiter
	breaker *breaker
	tokens  tokenCache
	names   nameLists
	// decoding is held while a large object is decoded.
	decoding sync.Mutex
	metrics  metrics
}

var _ API = (*Client)(nil)

// New returns a Client after it has validated the configuration. It does not connect.
func New(config Config) (*Client, error) {
	if err := config.Validate(field.NewPath("cci")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("validating the configuration of the cloud client: %w", err)
	}
	if config.Transport == nil {
		config.Transport = newTransport()
	}
	if config.Outcome == nil {
		config.Outcome = func(string, error) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Exec.KeepAlive = cmp.Or(config.Exec.KeepAlive, defaultKeepAlive)
	guarded := config.Transport
	if config.Guard != nil {
		guarded = config.Guard.Wrap(config.Transport)
	}
	limiter := fairness.NewLimiter(config.QPS, config.MaxQPS, config.Burst)
	return &Client{
		config:  config,
		paths:   paths{config.Version},
		limiter: limiter,
		breaker: &breaker{now: time.Now, first: 4 * config.RetryDelay},
		metrics: newMetrics(config.Registerer, limiter),
		http: &http.Client{
			// There is no timeout, because it would end watches. Redirects are not followed, because they would not be
			// signed.
			Transport:     guarded,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// CloseIdleConnections closes the connections that no request uses.
func (c *Client) CloseIdleConnections() {
	if transport, ok := c.config.Transport.(interface{ CloseIdleConnections() }); ok {
		transport.CloseIdleConnections()
	}
}

// newTransport returns Go's default transport with enough idle connections to the one host for all workers.
func newTransport() http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	transport := standard.Clone()
	transport.MaxIdleConnsPerHost = 64
	transport.MaxResponseHeaderBytes = maxHeader
	return transport
}

// streamed is a result that decodes a response while it is read.
type streamed interface{ decode(body io.Reader) error }

// do sends a call once and decodes the response into result, unless result is nil. It finds out what a 404 means.
func (c *Client) do(ctx context.Context, call call, result any) error {
	return c.explained(ctx, call, c.attempt(ctx, call, result))
}

// attempt sends a call once and decodes the response into result, unless result is nil.
func (c *Client) attempt(ctx context.Context, call call, result any) error {
	if err := c.limiter.Wait(ctx); err != nil {
		return err
	}
	tryCtx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	response, err := c.send(tryCtx, ctx, call)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if stream, ok := result.(streamed); ok {
		if err := stream.decode(response.Body); err != nil {
			return noAnswer(ctx, "reading the answer of the cloud", err)
		}
		return nil
	}
	reader := &boundedReader{reader: response.Body, total: maxObject}
	reader.next()
	body, err := io.ReadAll(reader)
	if err != nil {
		return noAnswer(ctx, "reading the answer of the cloud", err)
	}
	if result == nil {
		return nil
	}
	if len(body) > largeObject {
		c.decoding.Lock()
		defer c.decoding.Unlock()
	}
	if err := rawjson.Unmarshal(body, result); err != nil {
		return noAnswer(ctx, "decoding the answer of the cloud", err)
	}
	if pod, ok := result.(*Pod); ok {
		c.receive(pod)
	}
	return nil
}

// receive bounds what a Pod of an answer contains, and checks its addresses.
func (c *Client) receive(pod *Pod) {
	c.config.Addresses.apply(pod)
	pod.Status = Bound(pod.Status)
}

// doWithRetry sends a call that may be executed more than once. It retries after errors that may be temporary. It finds
// out at most once what a 404 means.
func (c *Client) doWithRetry(ctx context.Context, call call, result any) error {
	backoff := wait.Backoff{Duration: c.config.RetryDelay, Factor: 2, Jitter: 0.5, Steps: c.config.Tries}
	send := c.do
	for try := 1; ; try++ {
		err := send(ctx, call, result)
		if _, unexplained := asUnexplained(err); unexplained {
			send = c.attempt
		}
		if err == nil || (!IsTransient(err) && !IsThrottled(err)) || isUnsent(err) || try >= c.config.Tries {
			return err
		}
		c.config.Logger.Debug("retrying a request to the cloud", "operation", call.operation, "try", try, "err", err)
		if sleepErr := sleep(ctx, max(backoff.Step(), RetryAfter(err))); sleepErr != nil {
			return err
		}
	}
}

// send signs and sends a call and returns a successful response whose body is not read yet. requestCtx bounds the
// connection. callerCtx determines whether the caller has canceled the request.
func (c *Client) send(requestCtx, callerCtx context.Context, call call) (*http.Response, error) {
	namespace := fairness.NamespaceOf(callerCtx)
	if err := c.breaker.admit(namespace); err != nil {
		return nil, err
	}
	response, err := c.try(requestCtx, callerCtx, call)
	c.breaker.done(namespace, err)
	c.config.Outcome(call.operation, err)
	return response, err
}

func (c *Client) try(requestCtx, callerCtx context.Context, call call) (response *http.Response, err error) {
	_, span := tracing.Child(callerCtx, "cloud: "+call.operation)
	defer func() { tracing.End(span, err) }()
	request, err := c.sign(requestCtx, call)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err = c.http.Do(request)
	if err != nil {
		c.metrics.observe(call.operation, noResponse, time.Since(start))
		return nil, noAnswer(callerCtx, "sending a request to the cloud", err)
	}
	c.metrics.observe(call.operation, strconv.Itoa(response.StatusCode), time.Since(start))
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		c.limiter.Accepted()
		return response, nil
	}
	defer response.Body.Close()
	// A partial body is sufficient for an error.
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxError))
	answered := c.decodeAnswer(call, response, body)
	if isOverload(answered) {
		c.limiter.Refused(start)
	}
	if answered.Kind == Throttled {
		// The jitter keeps this client apart from other virtual nodes of the account, which receive the same delay.
		c.limiter.Pause(wait.Jitter(cmp.Or(answered.After, defaultPause), 0.2))
	}
	c.config.Logger.Debug("the cloud refused a request", "operation", call.operation, "status", answered.Status,
		"code", answered.Code, "message", answered.Message, "request", answered.RequestID)
	return nil, answered
}

// isOverload reports whether fewer requests per second could have succeeded. A 503 that says when to come back is from
// a service that sheds load. Others are failures.
func isOverload(answered *Error) bool {
	return answered.Kind == Throttled || (answered.Status == http.StatusServiceUnavailable && answered.After > 0)
}

// decodeAnswer returns the error of a response to a call.
func (c *Client) decodeAnswer(call call, response *http.Response, body []byte) *Error {
	answered := decodeError(call.method, response.StatusCode, response.Header, body, time.Now())
	if answered.Kind == NotOffered {
		return c.notOffered(call, *answered)
	}
	return answered
}

// sleep blocks for d or until ctx ends. It returns the error of ctx in the second case.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// encode returns the JSON body of a call.
func encode(object any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	if buffer.Len() > maxRequest {
		return nil, &Error{Kind: Permanent, Message: fmt.Sprintf(
			"the object has %d KiB, and the cloud takes %d KiB", buffer.Len()>>10, maxRequest>>10)}
	}
	if text, err := rawjson.Scan(buffer.Bytes()); err != nil || text.Elements() > maxElements {
		return nil, &Error{Kind: Permanent, Message: fmt.Sprintf(
			"the object has more than %d elements in all its lists (arguments, variables and others) together",
			maxElements)}
	}
	return buffer.Bytes(), nil
}
