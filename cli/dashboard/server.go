package dashboard

import (
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/internal/explain"
)

// page has the files of the page. They are served as they are.
//
//go:embed page
var page embed.FS

// files are the paths that need no key: they contain nothing of the cluster.
var files = map[string]struct{ name, contentType string }{
	"/":          {"page/index.html", "text/html; charset=utf-8"},
	"/page.js":   {"page/page.js", "text/javascript; charset=utf-8"},
	"/style.css": {"page/style.css", "text/css; charset=utf-8"},
}

// headers are those of every answer. The page may load its own files and nothing else, runs no script in its text, and
// no browser lets it make markup of text (Trusted Types). No other page may embed, open or read it.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
		"trusted-types 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cache-Control":                "no-store",
}

// maxQuery is how many bytes a query has at most.
const maxQuery = 4 << 10

// pollTime is how long a request for changes waits for one.
const pollTime = 25 * time.Second

// Config is what a page needs besides its source.
type Config struct {
	// Namespace is the namespace that the page shows, empty for all.
	Namespace string
	// Key is what requests for data must have. Other users of the machine can reach the port, and do not know it.
	Key string
	// Now is the clock.
	Now func() time.Time
	// Done ends requests that wait for a change.
	Done <-chan struct{}
}

// Scope says which namespaces the page shows, for people.
func (c Config) Scope() string {
	if c.Namespace == "" {
		return "all namespaces"
	}
	return "namespace " + c.Namespace
}

// server serves the page. It knows no port.
type server struct {
	Config
	source Source
	sums   *summary
	// pollTime is the constant, but in tests.
	pollTime time.Duration
}

// New returns the handler of the page. It is read-only.
func New(source Source, config Config) http.Handler {
	return newServer(source, config).handler()
}

func newServer(source Source, config Config) *server {
	return &server{
		Config: config, source: source, sums: &summary{source: source, now: config.Now, minPeriod: minPeriod},
		pollTime: pollTime,
	}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for path, file := range files {
		if path == "/" {
			path = "/{$}"
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			content, err := page.ReadFile(file.name)
			if err != nil {
				http.Error(w, "reading "+file.name+": "+err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", file.contentType)
			_, _ = w.Write(content) // The browser has gone.
		})
	}
	mux.HandleFunc("GET /v1/view", s.withKey(s.view))
	mux.HandleFunc("GET /v1/why", s.withKey(s.why))
	return guard(mux)
}

// guard refuses requests that are not from the page itself: by another name, to which an attacker has given the address
// of this machine (DNS rebinding), or from another page.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		if !isLoopback(r.Host) {
			http.Error(w, fmt.Sprintf("host %q: must be localhost or a loopback address", r.Host),
				http.StatusMisdirectedRequest)
			return
		}
		// Browsers send this header. "none" is an address that the user has entered. A link of another page may open
		// the page, which is empty without its key.
		site := r.Header.Get("Sec-Fetch-Site")
		if site != "" && site != "same-origin" && site != "none" && r.URL.Path != "/" {
			http.Error(w, "requests of other pages are refused", http.StatusForbidden)
			return
		}
		if len(r.URL.RawQuery) > maxQuery {
			http.Error(w, "the query is too long", http.StatusRequestURITooLong)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback reports whether a Host header names this machine. The port does not matter: it is another one if the page
// is reached through a tunnel.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// withKey refuses requests without the key.
func (s *server) withKey(next http.HandlerFunc) http.HandlerFunc {
	want := []byte("Bearer " + s.Key)
	return func(w http.ResponseWriter, r *http.Request) {
		if s.Key == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "the key is missing or wrong: open the address that the command has printed",
				http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

// view answers a query. With the parameter after it waits until the version is another one, and answers 204 if it is
// still the same after pollTime.
func (s *server) view(w http.ResponseWriter, r *http.Request) {
	parameters := r.URL.Query()
	query := Query{Text: parameters.Get("text"), Show: parameters.Get("show")}
	query.Page, _ = strconv.Atoi(parameters.Get("page")) // What is no number is the first page.
	after := parameters.Get("after")
	deadline := time.After(s.pollTime)
	for {
		d, changed, err := s.sums.get()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if d.version != after {
			writeJSON(w, d.view(s.Config, query))
			return
		}
		select {
		case <-changed:
			select { // There are no newer data before.
			case <-time.After(s.sums.minPeriod):
			case <-r.Context().Done():
				return
			case <-s.Done:
				w.WriteHeader(http.StatusNoContent)
				return
			}
		case <-deadline:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return
		case <-s.Done:
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}

// Why is the answer for a workload.
type Why struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	// Pods are explained, those that wait first. Total counts those that the workload has.
	Pods  []explain.Explanation `json:"pods"`
	Total int                   `json:"total"`
}

func (s *server) why(w http.ResponseWriter, r *http.Request) {
	parameters := r.URL.Query()
	answer := Why{Namespace: parameters.Get("namespace"), Workload: parameters.Get("workload")}
	if answer.Namespace == "" || answer.Workload == "" {
		http.Error(w, "the parameters namespace and workload are required", http.StatusBadRequest)
		return
	}
	var err error
	answer.Pods, answer.Total, err = s.source.Explain(r.Context(), answer.Namespace, answer.Workload, maxExplained)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for i := range answer.Pods {
		if q := answer.Pods[i].Quota; q != nil {
			q.Holders = q.Holders[:min(maxHolders, len(q.Holders))]
		}
	}
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, value any) {
	content, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "encoding the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(content) // The browser has gone.
}
