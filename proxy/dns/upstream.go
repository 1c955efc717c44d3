package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

const (
	// nameserverTimeout is how long a nameserver may take. Resolvers of programs wait 5 s: a second one can answer.
	nameserverTimeout = 2 * time.Second
	// maxPending is how many queries wait for nameservers at the same time. More fail at once.
	maxPending = 500
)

// upstream passes queries on to nameservers.
type upstream struct {
	nameservers []string
	logger      *slog.Logger
	logs        rate.Sometimes
	pending     chan struct{}
	// preferred is the index of the nameserver that is asked first.
	preferred atomic.Int64
}

func newUpstream(nameservers []string, logger *slog.Logger) *upstream {
	return &upstream{
		nameservers: nameservers, logger: logger, logs: rate.Sometimes{Interval: time.Minute},
		pending: make(chan struct{}, maxPending),
	}
}

var (
	errNoNameserver = errors.New("there is no nameserver for names outside of the cluster (--nameservers)")
	errPending      = fmt.Errorf("%d queries wait for the nameservers already", maxPending)
	errOther        = errors.New("the answer is to another question")
	errNoAnswer     = errors.New("it has sent a query in place of an answer")
)

// ask returns the answer of a nameserver to the query. It asks the next one if one does not answer or fails, beginning
// with the one that has answered last.
func (u *upstream) ask(query *dns.Msg, isTCP bool) (*dns.Msg, error) {
	if len(u.nameservers) == 0 {
		return nil, errNoNameserver
	}
	select {
	case u.pending <- struct{}{}:
		defer func() { <-u.pending }()
	default:
		return nil, errPending
	}
	client := dns.Client{Timeout: nameserverTimeout, UDPSize: maxAnswer}
	if isTCP {
		client.Net = "tcp"
	}
	sent := query.Copy()
	if edns := sent.IsEdns0(); edns != nil && edns.UDPSize() > maxAnswer {
		edns.SetUDPSize(maxAnswer) // A buffer of this size waits for the answer.
	}
	var failed *dns.Msg
	var errs []error
	preferred := int(u.preferred.Load())
	for i := range u.nameservers {
		index := (preferred + i) % len(u.nameservers)
		sent.Id = dns.Id()
		response, _, err := client.Exchange(sent, u.nameservers[index])
		if err == nil {
			err = answers(response, sent)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("nameserver %s: %w", u.nameservers[index], err))
			continue
		}
		response.Id = query.Id
		if response.Rcode == dns.RcodeServerFailure || response.Rcode == dns.RcodeRefused {
			failed = response
			continue
		}
		u.preferred.CompareAndSwap(int64(preferred), int64(index))
		return response, nil
	}
	if failed != nil {
		return failed, nil
	}
	// The next query begins with another one.
	u.preferred.CompareAndSwap(int64(preferred), int64((preferred+1)%len(u.nameservers)))
	err := errors.Join(errs...)
	u.logs.Do(func() { u.logger.Warn("no nameserver answers", "err", err) })
	return nil, err
}

// answers returns an error unless a response is one to the query. Some nameservers send the name of the question in
// lower case. Clients that mix both cases, to recognize forged answers, compare it themselves.
func answers(response, query *dns.Msg) error {
	switch {
	case !response.Response:
		return errNoAnswer
	case len(response.Question) != 1:
		return errOther
	}
	got, want := response.Question[0], query.Question[0]
	if !strings.EqualFold(got.Name, want.Name) || got.Qtype != want.Qtype || got.Qclass != want.Qclass {
		return errOther
	}
	return nil
}

// resolve asks a question of its own, and returns what comes with the answer.
func (u *upstream) resolve(question dns.Question) (*answer, error) {
	query := new(dns.Msg)
	query.SetQuestion(question.Name, question.Qtype)
	query.SetEdns0(maxAnswer, false)
	response, err := u.ask(query, false)
	if err == nil && response.Truncated {
		response, err = u.ask(query, true)
	}
	if err != nil {
		return nil, err
	}
	return &answer{rcode: response.Rcode, records: response.Answer}, nil
}
