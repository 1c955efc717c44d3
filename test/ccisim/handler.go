package ccisim

import (
	"errors"
	"io"
	"net/http"
	"strconv"
)

// maxBody is the largest body that the gateway takes with AK/SK authentication.
const maxBody = 12 << 20

// reply is an answer that is not sent yet: faults may still spoil it.
type reply struct {
	status int
	header http.Header
	body   []byte
	// stream, when set, writes the body bit by bit after the header.
	stream func(w *streamWriter)
	// upgrade, when set, answers by itself, by another protocol.
	upgrade func(w http.ResponseWriter, r *http.Request)
}

func jsonReply(status int, raw []byte) *reply {
	return &reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: raw}
}

// serveAPI answers one request of the CCI API.
func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	requestID := string(newUID())
	w.Header().Set("X-Request-Id", requestID)
	c, routeErr := s.route(r)
	spoil := s.faults.takeForRequest(c.verb, r.URL.Path)
	spoil.delay(r.Context())

	out, refusal := s.answer(c, routeErr, spoil)
	if refusal != nil {
		status, body, header := refusal.encode(requestID)
		out = &reply{status: status, header: header, body: body}
	}
	s.records.countRequest(c.verb, c.label(), out.status, spoil.loseAnswer)
	s.cfg.Logger.Debug("Answered", "method", r.Method, "path", r.URL.Path, "status", out.status, "lost", spoil.loseAnswer)
	s.send(w, r, c.verb, out, spoil)
}

// answer decides, in the order of the real service: the gateway first, then the API server.
func (s *Sim) answer(c *call, routeErr *apiError, spoil *spoiling) (*reply, *apiError) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, gateway(http.StatusRequestEntityTooLarge, "APIG.0201", "Request entity too large")
		}
		return nil, gateway(http.StatusBadRequest, "APIG.0201", "Bad request: reading the body: "+err.Error())
	}
	caller, reason := s.authenticate(c.r, body)
	if caller == nil {
		return nil, gateway(http.StatusUnauthorized, "APIG.0301", reason)
	}
	if spoil.refusal != nil {
		return nil, spoil.refusal
	}
	if routeErr != nil {
		return nil, routeErr
	}
	c.caller, c.body = caller, body
	return s.dispatch(c)
}

// dispatch hands the call to what serves its verb.
func (s *Sim) dispatch(c *call) (*reply, *apiError) {
	if c.res == nil {
		return discover(c.r.URL.Path, c.r.Method)
	}
	if err := s.resourceAllows(c); err != nil {
		return nil, err
	}
	switch {
	case c.verb == "log":
		return s.serveLog(c)
	case c.verb == "exec":
		return s.serveExec(c)
	case c.verb == "get":
		return s.serveGet(c)
	case c.verb == "list":
		return s.serveList(c)
	case c.verb == "watch":
		return s.serveWatch(c)
	case c.verb == "create":
		return s.serveCreate(c)
	case c.verb == "update":
		return s.serveUpdate(c)
	case c.verb == "patch":
		return s.servePatch(c)
	case c.verb == "delete":
		return s.serveDelete(c)
	default:
		return nil, methodNotAllowed(c.res, c.verb)
	}
}

// resourceAllows applies the policies of events and volumes.
func (s *Sim) resourceAllows(c *call) *apiError {
	if (c.res == volumes || c.res == claims) && (s.isFirst || s.Policies().NoVolumes) {
		return unknownPath()
	}
	if c.res != podEvents {
		return nil
	}
	switch s.Policies().Events {
	case EventsAbsent:
		return unknownPath()
	case EventsListed:
		if c.verb == "watch" {
			return methodNotAllowed(c.res, c.verb)
		}
	}
	return nil
}

// send writes the answer, or what the faults leave of it.
func (s *Sim) send(w http.ResponseWriter, r *http.Request, verb string, out *reply, spoil *spoiling) {
	if spoil.loseAnswer {
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
		out.stream(&streamWriter{w: w, control: http.NewResponseController(w), ctx: r.Context(), spoil: func() writeSpoil {
			return s.faults.takeForWrite(verb, r.URL.Path)
		}})
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(out.body)))
	w.WriteHeader(out.status)
	body := out.body
	if spoil.halfBody {
		body = body[:len(body)/2]
	}
	// A caller that has gone away is no concern of the service.
	_, _ = w.Write(body)
	if spoil.halfBody {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
