package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// answerTimeout is how long the extender may take. It is longer than the scheduler's timeout.
const answerTimeout = 10 * time.Second

// AnswerFault is a fault of the extender's answers.
type AnswerFault string

const (
	// AnswersSlow: each answer is delayed.
	AnswersSlow AnswerFault = "slow"
	// AnswersLost: the extender has answered, but the connection is lost.
	AnswersLost AnswerFault = "lost"
	// AnswersFail: the scheduler gets 500, and the request does not reach the extender.
	AnswersFail AnswerFault = "fail"
)

// slowBy is the delay of a slow answer. It is shorter than the scheduler's timeout.
const slowBy = 400 * time.Millisecond

// Extender passes the scheduler's requests on to the extender, and records them with their answers.
type Extender struct {
	listener  net.Listener
	log       *record.Log
	logger    *slog.Logger
	isVirtual func(node string) bool
	requests  atomic.Int64

	mu     sync.Mutex
	target string
	client *http.Client
	fault  AnswerFault
}

// ListenExtender opens a port on loopback. The function isVirtual recognizes a virtual node by its name.
func ListenExtender(log *record.Log, isVirtual func(node string) bool, logger *slog.Logger) (*Extender, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the scheduler: %w", err)
	}
	return &Extender{listener: listener, log: log, isVirtual: isVirtual, logger: logger}, nil
}

// URL returns the URL of the extender for the scheduler.
func (p *Extender) URL() string { return "http://" + p.listener.Addr().String() }

// Target sets the URL and the transport for requests.
func (p *Extender) Target(url string, transport http.RoundTripper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target, p.client = url, &http.Client{Transport: transport, Timeout: answerTimeout}
}

// Disturb applies the fault to all answers. An empty fault ends it.
func (p *Extender) Disturb(fault AnswerFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Run serves until ctx ends. It blocks.
func (p *Extender) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(p.listener); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the scheduler: %w", err)
	}
	return nil
}

// arguments contains the fields that filter, prioritize and preempt share.
type arguments struct {
	Pod                   *corev1.Pod
	NodeNames             *[]string
	NodeNameToMetaVictims map[string]*extenderv1.MetaVictims
}

// reply contains the fields of the answers to filter and preempt.
type reply struct {
	NodeNames                  *[]string
	FailedAndUnresolvableNodes map[string]string
	Error                      string
	NodeNameToMetaVictims      map[string]*extenderv1.MetaVictims
}

// ServeHTTP implements http.Handler.
func (p *Extender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	response := p.note(path.Base(r.URL.Path), body)
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	if fault == AnswersFail {
		p.log.Add(record.Entry{Response: response.failed("500: the proof disturbs")})
		http.Error(w, "the proof disturbs", http.StatusInternalServerError)
		return
	}
	status, content, err := p.call(r, body)
	if fault == AnswersSlow {
		time.Sleep(slowBy)
	}
	switch {
	case err != nil:
		p.log.Add(record.Entry{Response: response.failed(err.Error())})
		panic(http.ErrAbortHandler)
	case fault == AnswersLost:
		lost := p.read(response, status, content)
		lost.Error = "lost: the proof disturbs"
		p.log.Add(record.Entry{Response: lost})
		panic(http.ErrAbortHandler)
	}
	p.log.Add(record.Entry{Response: p.read(response, status, content)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // An error means that the scheduler has disconnected.
}

// responseTo is a Response that is not complete yet.
type responseTo record.Response

func (a responseTo) failed(why string) *record.Response {
	response := record.Response(a)
	response.Error = why
	return &response
}

// note adds a request to the record.
func (p *Extender) note(verb string, body []byte) responseTo {
	request := record.Request{ID: p.requests.Add(1), Verb: verb}
	var args arguments
	// A malformed request is passed on unchanged. The extender reports what is wrong with it.
	if err := json.Unmarshal(body, &args); err == nil && args.Pod != nil {
		request.UID = args.Pod.UID
		request.Version, _ = strconv.ParseUint(args.Pod.ResourceVersion, 10, 64)
		request.Local, request.Virtual = p.count(args.NodeNames, args.NodeNameToMetaVictims)
	}
	p.log.Add(record.Entry{Request: &request})
	return responseTo{ID: request.ID, Verb: verb, UID: request.UID}
}

func (p *Extender) call(r *http.Request, body []byte) (status int, content []byte, err error) {
	p.mu.Lock()
	target, client := p.target, p.client
	p.mu.Unlock()
	if client == nil {
		return 0, nil, errors.New("the extender has not been started yet")
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("passing on a request: %w", err)
	}
	request.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("passing on a request: %w", err)
	}
	defer response.Body.Close()
	content, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading an answer: %w", err)
	}
	return response.StatusCode, content, nil
}

// read completes the Response with the extender's answer.
func (p *Extender) read(a responseTo, status int, content []byte) *record.Response {
	if status != http.StatusOK {
		return a.failed(fmt.Sprintf("%d: %s", status, content))
	}
	response := record.Response(a)
	if a.Verb == "prioritize" {
		return &response
	}
	var r reply
	if err := json.Unmarshal(content, &r); err != nil {
		return a.failed("the answer cannot be read: " + err.Error())
	}
	response.Error = r.Error
	response.Local, response.Virtual = p.count(r.NodeNames, r.NodeNameToMetaVictims)
	for _, refusal := range r.FailedAndUnresolvableNodes {
		response.Refusal = refusal
	}
	return &response
}

func (p *Extender) count(names *[]string, victims map[string]*extenderv1.MetaVictims) (local, virtual int) {
	add := func(name string) {
		if p.isVirtual(name) {
			virtual++
		} else {
			local++
		}
	}
	if names != nil {
		for _, name := range *names {
			add(name)
		}
	}
	for name := range victims {
		add(name)
	}
	return local, virtual
}
