package ccisim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// adminHandler serves the simulator's own API; the package comment lists it.
func (s *Sim) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/requests", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, http.StatusOK, s.Requests()) })
	mux.HandleFunc("DELETE /_sim/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.ForgetRequests()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_sim/dropped-fields", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, http.StatusOK, s.DroppedFields()) })
	mux.HandleFunc("GET /_sim/pods", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, http.StatusOK, s.PodsEver()) })
	mux.HandleFunc("GET /_sim/faults", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, http.StatusOK, s.Faults()) })
	mux.HandleFunc("POST /_sim/faults", s.adminAddFault)
	mux.HandleFunc("DELETE /_sim/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /_sim/faults/{id}", s.adminRemoveFault)
	mux.HandleFunc("GET /_sim/policies", func(w http.ResponseWriter, _ *http.Request) { adminAnswer(w, http.StatusOK, s.Policies()) })
	mux.HandleFunc("PUT /_sim/policies", s.adminSetPolicies)
	mux.HandleFunc("PUT /_sim/credentials", s.adminSetCredentials)
	mux.HandleFunc("POST /_sim/watches/cut", s.adminCutWatches)
	mux.HandleFunc("POST /_sim/history/compact", func(w http.ResponseWriter, _ *http.Request) {
		s.Compact()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_sim/namespaces/{namespace}/image-snapshot", s.adminImageSnapshot)
	mux.HandleFunc("POST /_sim/namespaces/{namespace}/pods/{pod}/containers/{container}/log", s.adminAppendLog)
	mux.HandleFunc("POST /_sim/namespaces/{namespace}/pods/{pod}/containers/{container}/finish", s.adminFinish)
	return mux
}

func adminAnswer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(mustEncode(value), '\n'))
}

func adminRefuse(w http.ResponseWriter, status int, err error) {
	adminAnswer(w, status, map[string]string{"error": err.Error()})
}

// adminDecode reads a small JSON body strictly; an empty one leaves value as it is.
func adminDecode(r *http.Request, value any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("decoding the body: %w", err)
	}
	return nil
}

func (s *Sim) adminAddFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if err := adminDecode(r, &f); err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	added, err := s.AddFault(f)
	if err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	adminAnswer(w, http.StatusCreated, added)
}

func (s *Sim) adminRemoveFault(w http.ResponseWriter, r *http.Request) {
	if !s.RemoveFault(r.PathValue("id")) {
		adminRefuse(w, http.StatusNotFound, fmt.Errorf("no fault has the id %q", r.PathValue("id")))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sim) adminSetPolicies(w http.ResponseWriter, r *http.Request) {
	var policies Policies
	err := adminDecode(r, &policies)
	if err == nil {
		err = s.SetPolicies(policies)
	}
	if err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	adminAnswer(w, http.StatusOK, s.Policies())
}

func (s *Sim) adminSetCredentials(w http.ResponseWriter, r *http.Request) {
	var credentials []Credential
	err := adminDecode(r, &credentials)
	if err == nil {
		err = s.SetCredentials(credentials)
	}
	if err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sim) adminCutWatches(w http.ResponseWriter, r *http.Request) {
	s.CutWatches(isTrue(r.URL.Query().Get("abrupt")))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sim) adminImageSnapshot(w http.ResponseWriter, r *http.Request) {
	name, err := s.AddImageSnapshotPod(r.PathValue("namespace"))
	if err != nil {
		adminRefuse(w, http.StatusConflict, err)
		return
	}
	adminAnswer(w, http.StatusCreated, map[string]string{"name": name})
}

func (s *Sim) adminAppendLog(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	if err := s.AppendLog(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), string(text)); err != nil {
		adminRefuse(w, http.StatusConflict, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sim) adminFinish(w http.ResponseWriter, r *http.Request) {
	body := struct {
		ExitCode int32 `json:"exitCode"`
	}{}
	if err := adminDecode(r, &body); err != nil {
		adminRefuse(w, http.StatusBadRequest, err)
		return
	}
	if err := s.FinishContainer(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), body.ExitCode); err != nil {
		adminRefuse(w, http.StatusConflict, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
