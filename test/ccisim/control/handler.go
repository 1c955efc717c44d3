// Package control serves the simulator's own API under /_sim/, with which tests inject faults and read records. It has
// no state: it calls a Simulator.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// Prefix is the path prefix of the API.
const Prefix = "/_sim/"

// maxBody bounds the bodies of requests.
const maxBody = 1 << 20

// Simulator is what the API controls. Sim of package ccisim implements it.
type Simulator interface {
	Requests() []api.RequestCount
	DroppedFields() []api.DroppedField
	ResetRequests()
	PodsEver() []store.PodRecord

	Faults() []faults.Fault
	AddFault(f faults.Fault) (faults.Fault, error)
	RemoveFault(id string) bool
	ResetFaults()
	Policies() faults.Policies
	SetPolicies(policies faults.Policies) error
	SetCredentials(list []api.Credential) error
	SetRoutes(cidrs []string) error

	CutWatches(abrupt bool)
	Compact()
	AddImageSnapshotPod(namespace string) (string, error)
	AppendLog(namespace, pod, container, text string) error
	FinishContainer(namespace, pod, container string, exitCode int32) error
}

// Handler returns the API of a simulator. The comment of package ccisim lists the requests.
func Handler(sim Simulator) http.Handler {
	c := controller{sim}
	mux := http.NewServeMux()
	read := func(path string, value func() any) {
		mux.HandleFunc("GET "+Prefix+path, func(w http.ResponseWriter, _ *http.Request) { send(w, http.StatusOK, value()) })
	}
	act := func(pattern string, action func()) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			action()
			w.WriteHeader(http.StatusNoContent)
		})
	}
	read("requests", func() any { return sim.Requests() })
	read("dropped-fields", func() any { return sim.DroppedFields() })
	read("pods", func() any { return sim.PodsEver() })
	read("faults", func() any { return sim.Faults() })
	read("policies", func() any { return sim.Policies() })
	act("DELETE "+Prefix+"requests", sim.ResetRequests)
	act("DELETE "+Prefix+"faults", sim.ResetFaults)
	act("POST "+Prefix+"history/compact", sim.Compact)
	mux.HandleFunc("POST "+Prefix+"faults", c.addFault)
	mux.HandleFunc("DELETE "+Prefix+"faults/{id}", c.removeFault)
	mux.HandleFunc("PUT "+Prefix+"policies", c.setPolicies)
	mux.HandleFunc("PUT "+Prefix+"credentials", c.setCredentials)
	mux.HandleFunc("PUT "+Prefix+"routes", c.setRoutes)
	mux.HandleFunc("POST "+Prefix+"watches/cut", c.cutWatches)
	mux.HandleFunc("POST "+Prefix+"namespaces/{namespace}/image-snapshot", c.addImageSnapshot)
	const container = Prefix + "namespaces/{namespace}/pods/{pod}/containers/{container}/"
	mux.HandleFunc("POST "+container+"log", c.appendLog)
	mux.HandleFunc("POST "+container+"finish", c.finish)
	return mux
}

type controller struct{ sim Simulator }

// send writes a response of JSON.
func send(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // The client may have closed the connection.
}

func sendError(w http.ResponseWriter, status int, err error) {
	send(w, status, map[string]string{"error": err.Error()})
}

// finishWith sends 204, or the error.
func finishWith(w http.ResponseWriter, err error, status int) {
	if err != nil {
		sendError(w, status, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decode decodes a JSON body without unknown fields. An empty body leaves value as it is.
func decode(r *http.Request, value any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("decoding the body: %w", err)
	}
	return nil
}

func (c controller) addFault(w http.ResponseWriter, r *http.Request) {
	var f faults.Fault
	err := decode(r, &f)
	if err == nil {
		f, err = c.sim.AddFault(f)
	}
	if err != nil {
		sendError(w, http.StatusBadRequest, err)
		return
	}
	send(w, http.StatusCreated, f)
}

func (c controller) removeFault(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !c.sim.RemoveFault(id) {
		sendError(w, http.StatusNotFound, fmt.Errorf("no fault has the id %q", id))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c controller) setPolicies(w http.ResponseWriter, r *http.Request) {
	var policies faults.Policies
	err := decode(r, &policies)
	if err == nil {
		err = c.sim.SetPolicies(policies)
	}
	if err != nil {
		sendError(w, http.StatusBadRequest, err)
		return
	}
	send(w, http.StatusOK, c.sim.Policies())
}

func (c controller) setCredentials(w http.ResponseWriter, r *http.Request) {
	var credentials []api.Credential
	err := decode(r, &credentials)
	if err == nil {
		err = c.sim.SetCredentials(credentials)
	}
	finishWith(w, err, http.StatusBadRequest)
}

func (c controller) setRoutes(w http.ResponseWriter, r *http.Request) {
	var routes []string
	err := decode(r, &routes)
	if err == nil {
		err = c.sim.SetRoutes(routes)
	}
	finishWith(w, err, http.StatusBadRequest)
}

func (c controller) cutWatches(w http.ResponseWriter, r *http.Request) {
	c.sim.CutWatches(api.IsTrue(r.URL.Query().Get("abrupt")))
	w.WriteHeader(http.StatusNoContent)
}

func (c controller) addImageSnapshot(w http.ResponseWriter, r *http.Request) {
	name, err := c.sim.AddImageSnapshotPod(r.PathValue("namespace"))
	if err != nil {
		sendError(w, http.StatusConflict, err)
		return
	}
	send(w, http.StatusCreated, map[string]string{"name": name})
}

func (c controller) appendLog(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		sendError(w, http.StatusBadRequest, err)
		return
	}
	err = c.sim.AppendLog(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), string(text))
	finishWith(w, err, http.StatusConflict)
}

func (c controller) finish(w http.ResponseWriter, r *http.Request) {
	body := struct {
		ExitCode int32 `json:"exitCode"`
	}{}
	if err := decode(r, &body); err != nil {
		sendError(w, http.StatusBadRequest, err)
		return
	}
	err := c.sim.FinishContainer(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), body.ExitCode)
	finishWith(w, err, http.StatusConflict)
}
