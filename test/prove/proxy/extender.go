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

// answerTimeout is how long the extender may take. The scheduler gives up earlier.
const answerTimeout = 10 * time.Second

// AnswerFault is what becomes of the answers of the extender.
type AnswerFault string

const (
	// AnswersSlow: each comes later than it would have.
	AnswersSlow AnswerFault = "slow"
	// AnswersLost: the extender has answered, and the connection is lost.
	AnswersLost AnswerFault = "lost"
	// AnswersFail: 500, and the extender is not asked.
	AnswersFail AnswerFault = "fail"
)

// slowBy is how much later a slow answer comes: still within the scheduler's patience.
const slowBy = 400 * time.Millisecond

// Extender passes the scheduler's questions on to the extender, and notes them with their answers.
type Extender struct {
	listener  net.Listener
	log       *record.Log
	logger    *slog.Logger
	isVirtual func(node string) bool
	asked     atomic.Int64

	mu     sync.Mutex
	target string
	client *http.Client
	fault  AnswerFault
}

// ListenExtender opens a port on loopback. isVirtual tells a virtual node by its name.
func ListenExtender(log *record.Log, isVirtual func(node string) bool, logger *slog.Logger) (*Extender, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the scheduler: %w", err)
	}
	return &Extender{listener: listener, log: log, isVirtual: isVirtual, logger: logger}, nil
}

// URL is where the scheduler finds the extender.
func (p *Extender) URL() string { return "http://" + p.listener.Addr().String() }

// Target says where questions go, and how.
func (p *Extender) Target(url string, transport http.RoundTripper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target, p.client = url, &http.Client{Transport: transport, Timeout: answerTimeout}
}

// Disturb has all answers end like this, until it is called with none.
func (p *Extender) Disturb(fault AnswerFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Run serves until ctx ends. It blocks.
func (p *Extender) Run(ctx context.Context) error {
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(p.listener); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the scheduler: %w", err)
	}
	return nil
}

// question is what filter, prioritize and preempt have in common.
type question struct {
	Pod                   *corev1.Pod
	NodeNames             *[]string
	NodeNameToMetaVictims map[string]*extenderv1.MetaVictims
}

// reply is what filter and preempt answer with.
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
	answered := p.note(path.Base(r.URL.Path), body)
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	if fault == AnswersFail {
		p.log.Add(record.Entry{Answered: answered.failed("500: the proof disturbs")})
		http.Error(w, "the proof disturbs", http.StatusInternalServerError)
		return
	}
	status, content, err := p.ask(r, body)
	if fault == AnswersSlow {
		time.Sleep(slowBy)
	}
	switch {
	case err != nil:
		p.log.Add(record.Entry{Answered: answered.failed(err.Error())})
		panic(http.ErrAbortHandler)
	case fault == AnswersLost:
		lost := p.read(answered, status, content)
		lost.Error = "lost: the proof disturbs"
		p.log.Add(record.Entry{Answered: lost})
		panic(http.ErrAbortHandler)
	}
	p.log.Add(record.Entry{Answered: p.read(answered, status, content)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // A scheduler that has given up needs no answer.
}

// answerTo is an Answered that is not complete yet.
type answerTo record.Answered

func (a answerTo) failed(why string) *record.Answered {
	answered := record.Answered(a)
	answered.Error = why
	return &answered
}

// note adds a question to the record.
func (p *Extender) note(verb string, body []byte) answerTo {
	asked := record.Asked{ID: p.asked.Add(1), Verb: verb}
	var q question
	// One that cannot be read is passed on as it is; the extender will say what is wrong with it.
	if err := json.Unmarshal(body, &q); err == nil && q.Pod != nil {
		asked.UID = q.Pod.UID
		asked.Version, _ = strconv.ParseUint(q.Pod.ResourceVersion, 10, 64)
		asked.Local, asked.Virtual = p.count(q.NodeNames, q.NodeNameToMetaVictims)
	}
	p.log.Add(record.Entry{Asked: &asked})
	return answerTo{ID: asked.ID, Verb: verb, UID: asked.UID}
}

func (p *Extender) ask(r *http.Request, body []byte) (status int, content []byte, err error) {
	p.mu.Lock()
	target, client := p.target, p.client
	p.mu.Unlock()
	if client == nil {
		return 0, nil, errors.New("there is no extender yet")
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("passing on a question: %w", err)
	}
	request.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("passing on a question: %w", err)
	}
	defer response.Body.Close()
	content, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading an answer: %w", err)
	}
	return response.StatusCode, content, nil
}

// read completes what is noted of an answer.
func (p *Extender) read(a answerTo, status int, content []byte) *record.Answered {
	if status != http.StatusOK {
		return a.failed(fmt.Sprintf("%d: %s", status, content))
	}
	answered := record.Answered(a)
	if a.Verb == "prioritize" {
		return &answered
	}
	var r reply
	if err := json.Unmarshal(content, &r); err != nil {
		return a.failed("the answer cannot be read: " + err.Error())
	}
	answered.Error = r.Error
	answered.Local, answered.Virtual = p.count(r.NodeNames, r.NodeNameToMetaVictims)
	for _, refusal := range r.FailedAndUnresolvableNodes {
		answered.Refusal = refusal
	}
	return &answered
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
