package transcript

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// What is kept is bounded, so that Read takes every transcript and a service cannot exhaust the memory: bodies of up to
// maxBody bytes, and of maxKept bytes together. Control characters need six bytes in JSON.
const (
	maxBody = maxEntry / 16
	maxKept = maxTranscript / 16
)

// Recorder is an http.RoundTripper that keeps what it sends and receives. It is safe for concurrent use.
type Recorder struct {
	next http.RoundTripper
	// iamHost is the host of IAM, empty if it is that of CCI.
	iamHost string

	mu   sync.Mutex
	all  []*Exchange
	step string
	// size is the length of all bodies.
	size int
	// tokens are those that IAM has issued.
	tokens []string
}

// The services of Exchange.
const (
	ServiceCCI = "cci"
	ServiceIAM = "iam"
	ServiceVPC = "vpc"
)

// NewRecorder returns a Recorder that sends requests with next. iam is the endpoint of IAM. All other requests that are
// not recognized by their paths are to CCI.
func NewRecorder(next http.RoundTripper, cci, iam string) *Recorder {
	r := &Recorder{next: next}
	if u, err := url.Parse(iam); err == nil && iam != cci {
		r.iamHost = u.Host
	}
	return r
}

// serviceOf returns the service of a URL. A simulated cloud serves all of them at one address.
func (r *Recorder) serviceOf(u *url.URL) string {
	switch {
	case u.Host == r.iamHost, strings.HasPrefix(u.Path, "/v3/auth/"):
		return ServiceIAM
	case strings.Contains(u.Path, "/subnets/"):
		return ServiceVPC
	}
	return ServiceCCI
}

// Begin names the step of the requests that follow.
func (r *Recorder) Begin(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step = step
}

// Add keeps an exchange that did not pass the Recorder, such as a WebSocket.
func (r *Recorder) Add(e Exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Step = r.step
	r.addLocked(&e)
	r.size += len(e.Text)
}

// addLocked adds an exchange. If there are too many, it replaces the newest one.
func (r *Recorder) addLocked(e *Exchange) {
	last := len(r.all) - 1
	if last >= 0 && r.size > maxKept {
		r.all[last].Request, r.all[last].Answer, r.all[last].Stream, r.all[last].Text = nil, nil, nil, leftOut
	}
	if len(r.all) == maxEntries {
		r.all[last] = e
		return
	}
	r.all = append(r.all, e)
}

// Exchanges returns a copy of all exchanges so far. Answers that are still read are cut off.
func (r *Recorder) Exchanges() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Exchange
	for _, e := range r.all {
		all = append(all, *e)
	}
	return all
}

// Last returns the newest exchange of the present step, nil if it has none.
func (r *Recorder) Last() *Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 || r.all[len(r.all)-1].Step != r.step {
		return nil
	}
	last := *r.all[len(r.all)-1]
	return &last
}

// RoundTrip implements http.RoundTripper.
func (r *Recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	e := r.begin(request)
	response, err := r.next.RoundTrip(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		e.Error = err.Error()
		return response, err
	}
	e.Status, e.Header = response.StatusCode, keptHeaders(response.Header)
	if e.Status == http.StatusSwitchingProtocols {
		e.Status, e.Error = 0, "the answer to a request without a protocol switches the protocol"
	}
	if token := response.Header.Get("X-Subject-Token"); token != "" {
		r.tokens = append(r.tokens, token)
	}
	response.Body = &recordedBody{ReadCloser: response.Body, recorder: r, exchange: e}
	return response, nil
}

// CloseIdleConnections closes the connections that no request uses.
func (r *Recorder) CloseIdleConnections() {
	if next, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

var signedHeaders = regexp.MustCompile(`SignedHeaders=([^,\s]+)`)

// begin keeps the request.
func (r *Recorder) begin(request *http.Request) *Exchange {
	e := &Exchange{
		Service: r.serviceOf(request.URL), Method: request.Method, Path: request.URL.Path, Auth: AuthNone,
	}
	if query := request.URL.Query(); len(query) > 0 {
		e.Query = query
	}
	if match := signedHeaders.FindStringSubmatch(request.Header.Get("Authorization")); match != nil {
		e.Auth, e.SignedHeaders = AuthSignature, match[1]
	} else if request.Header.Get("X-Auth-Token") != "" {
		e.Auth = AuthToken
	}
	if body := bodyOf(request); json.Valid(body) {
		e.Request = body
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Step = r.step
	r.addLocked(e)
	r.size += len(e.Request)
	return e
}

// bodyOf returns the body of a request, which can still be sent.
func bodyOf(request *http.Request) []byte {
	if request.Body == nil {
		return nil
	}
	if request.GetBody != nil {
		if body, err := request.GetBody(); err == nil {
			defer body.Close()
			data, _ := io.ReadAll(io.LimitReader(body, maxBody)) // What cannot be read is left out.
			return data
		}
	}
	data, err := io.ReadAll(request.Body)
	_ = request.Body.Close()
	request.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), failing{err}))
	return data[:min(len(data), maxBody)]
}

// failing returns an error of reading, io.EOF for nil.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// kept are the headers of answers that matter to a client. All others could identify the account.
var kept = []string{"Content-Type", "Date", "Retry-After"}

func keptHeaders(header http.Header) map[string]string {
	out := map[string]string{}
	for _, name := range kept {
		if value := header.Get(name); value != "" {
			out[name] = value
		}
	}
	return out
}

// recordedBody keeps what is read of a body.
type recordedBody struct {
	io.ReadCloser
	recorder *Recorder
	exchange *Exchange
	data     []byte
}

// Read implements io.Reader.
func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.recorder.mu.Lock()
	defer b.recorder.mu.Unlock()
	kept := min(n, max(maxBody-len(b.data), 0))
	b.data = append(b.data, p[:kept]...)
	b.recorder.size += kept
	if err != nil {
		b.exchange.setAnswer(b.data)
	}
	return n, err
}

// Close implements io.Closer.
func (b *recordedBody) Close() error {
	b.recorder.mu.Lock()
	b.exchange.setAnswer(b.data)
	b.recorder.mu.Unlock()
	return b.ReadCloser.Close()
}

// Names returns the tokens, and the names and IDs of the account, its user and the project, in the answers of IAM.
func (r *Recorder) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := slices.Clone(r.tokens)
	for _, e := range r.all {
		var answer any
		if e.Service == ServiceIAM && e.Status < http.StatusMultipleChoices && json.Unmarshal(e.Answer, &answer) == nil {
			names = owners(names, answer, 0)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// owners appends all names and IDs of an answer of IAM, but those of roles and services, which all accounts have.
func owners(names []string, value any, depth int) []string {
	if depth > maxDepth || len(names) > maxNames {
		return names
	}
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			names = owners(names, element, depth+1)
		}
	case map[string]any:
		for key, part := range v {
			text, _ := part.(string)
			switch {
			case key == "roles" || key == "catalog" || key == "methods":
			case text != "" && (key == "id" || key == "name"):
				names = append(names, text)
			default:
				names = owners(names, part, depth+1)
			}
		}
	}
	return names
}

// maxNames is how many names of an answer of IAM are kept. A token has about six.
const maxNames = 100
