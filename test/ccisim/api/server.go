package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// maxBody is the largest body that the gateway accepts with AK/SK authentication.
const maxBody = 12 << 20

// Config is what a Server needs. The durations are those of ccisim.Config.
type Config struct {
	Generation objects.Generation
	Store      *store.Store
	Life       *podlife.Controller
	// Auth, Faults and Requests are shared by both generations.
	Auth     *Auth
	Faults   *faults.Table
	Requests *Requests
	Clock    clock.WithTicker
	Logger   *slog.Logger

	BookmarkInterval time.Duration
	WatchTimeout     time.Duration
	ExecIdle         time.Duration
}

// Server serves one generation of the API.
type Server struct {
	cfg   Config
	store *store.Store
	life  *podlife.Controller
	kinds map[*objects.Resource]kind
}

// New returns a server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, store: cfg.Store, life: cfg.Life, kinds: kindsOf(cfg.Generation)}
}

// reply is a response that is not sent yet. Faults may still change it.
type reply struct {
	status int
	header http.Header
	body   []byte
	// stream, if set, writes the body in pieces after the header.
	stream func(w *streamWriter)
	// upgrade, if set, sends the whole response, in another protocol.
	upgrade func(w http.ResponseWriter, r *http.Request)
}

func jsonReply(status int, raw []byte) *reply {
	return &reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: raw}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := string(uuid.NewUUID())
	w.Header().Set("X-Request-Id", requestID)
	c, routeErr := s.route(r)
	injected := s.cfg.Faults.ForRequest(c.verb, r.URL.Path)
	sleep(r.Context(), injected.Latency)

	out, refusal := s.answer(c, routeErr, injected)
	if refusal != nil {
		if s.cfg.Faults.Policies().BareErrors {
			refusal = refusal.bare()
		}
		status, body, header := refusal.encode(requestID)
		out = &reply{status: status, header: header, body: body}
	}
	s.cfg.Requests.count(c.verb, c.label(), out.status, injected.LoseAnswer)
	s.cfg.Logger.Debug("Answered",
		"method", r.Method, "path", r.URL.Path, "status", out.status, "lost", injected.LoseAnswer)
	s.send(w, r, c.verb, out, injected)
}

// sleep waits in real time, because a slow response is slow for the client, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer processes a request in the order of the real service: the gateway first, then the API server.
func (s *Server) answer(c *call, routeErr *apiError, injected faults.RequestFaults) (*reply, *apiError) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, gateway(http.StatusRequestEntityTooLarge, "APIG.0201", "Request entity too large")
		}
		return nil, gateway(http.StatusBadRequest, "APIG.0201", "Bad request: reading the body: "+err.Error())
	}
	caller, reason := s.cfg.Auth.authenticate(c.r, body)
	if caller == nil {
		return nil, gateway(http.StatusUnauthorized, "APIG.0301", reason)
	}
	if injected.Refusal != nil {
		return nil, refusalOf(injected.Refusal)
	}
	if routeErr != nil {
		return nil, routeErr
	}
	c.caller, c.body = caller, body
	return s.dispatch(c)
}

// dispatch calls the handler of the verb.
func (s *Server) dispatch(c *call) (*reply, *apiError) {
	if c.account != "" {
		return s.serveAccount(c)
	}
	if c.res == nil {
		return s.discover(c)
	}
	if err := s.checkPolicies(c); err != nil {
		return nil, err
	}
	switch c.verb {
	case "log":
		return s.serveLog(c)
	case "exec":
		return s.serveExec(c)
	case "get":
		return s.serveGet(c)
	case "list":
		return s.serveList(c)
	case "watch":
		return s.serveWatch(c)
	case "create":
		return s.serveCreate(c)
	case "update":
		return s.serveUpdate(c)
	case "patch":
		return s.servePatch(c)
	case "delete":
		return s.serveDelete(c)
	default:
		return nil, methodNotAllowed(c.res, c.verb)
	}
}

// checkPolicies applies the policies about resources that a region may lack.
func (s *Server) checkPolicies(c *call) *apiError {
	policies := s.cfg.Faults.Policies()
	if slices.Contains(policies.Unpublished, c.label()) {
		return unpublished()
	}
	switch c.res {
	case objects.Volumes, objects.Claims:
		if s.cfg.Generation == objects.CCI1 || policies.NoVolumes {
			return unknownPath()
		}
	case objects.Snapshots:
		if s.cfg.Generation == objects.CCI1 || policies.NoSnapshots {
			return unknownPath()
		}
	case objects.Events:
		switch {
		case policies.Events == faults.EventsAbsent:
			return unknownPath()
		case policies.Events == faults.EventsListed && c.verb == "watch":
			return methodNotAllowed(c.res, c.verb)
		}
	}
	return nil
}

// send writes the response, as far as the faults allow.
func (s *Server) send(w http.ResponseWriter, r *http.Request, verb string, out *reply, injected faults.RequestFaults) {
	if injected.LoseAnswer {
		// net/http closes the connection without writing anything.
		panic(http.ErrAbortHandler)
	}
	for name, values := range out.header {
		w.Header()[name] = values
	}
	if out.upgrade != nil {
		out.upgrade(w, r)
		return
	}
	if out.stream != nil {
		w.WriteHeader(out.status)
		out.stream(&streamWriter{
			w: w, control: http.NewResponseController(w), ctx: r.Context(),
			injected: func() faults.WriteFaults { return s.cfg.Faults.ForWrite(verb, r.URL.Path) },
		})
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(out.body)))
	w.WriteHeader(out.status)
	body := out.body
	if injected.HalfBody {
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body) // The client may have closed the connection.
	if injected.HalfBody {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
