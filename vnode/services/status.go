package services

import (
	"encoding/json"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusOf returns an error as API servers send it.
func statusOf(err *apierrors.StatusError) metav1.Status {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return status
}

// refuse answers a request with a Status.
func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := statusOf(err)
	if status.Code == http.StatusTooManyRequests && status.Details != nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	answer(w, int(status.Code), status)
}

// answer answers a request with an object.
func answer(w http.ResponseWriter, code int, object any) {
	body, err := json.Marshal(object)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // It fails if the client has gone.
}

// refuseElsewhere answers the request of a Pod that this process does not serve. The client tries the next address. The
// connection is closed, because behind a load balancer a new one may reach another process. There is no Retry-After:
// clients would repeat the request here.
func refuseElsewhere(w http.ResponseWriter, message string) {
	w.Header().Set("Connection", "close")
	refuse(w, apierrors.NewServiceUnavailable(message))
}

// appendError appends a frame that ends a watch.
func appendError(to []byte, err *apierrors.StatusError) []byte {
	body, problem := json.Marshal(statusOf(err))
	if problem != nil {
		return to // The client only sees the end.
	}
	return append(append(append(to, `{"type":"ERROR","object":`...), body...), "}\n"...)
}
