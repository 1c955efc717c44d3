package kubelet

import (
	"encoding/json"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refuse answers a request with an error. If the request asks to upgrade the connection, the answer is a Status object.
// API servers up to 1.35 parse the answer to such a request as YAML, and a text with a colon then becomes an error
// without a message. Source: Kubernetes v1.34, apimachinery/pkg/util/httpstream/spdy/roundtripper.go (NewConnection).
// Any other request gets the text, because API servers quote that.
func refuse(w http.ResponseWriter, r *http.Request, code int, message string) {
	if r.Header.Get("Upgrade") == "" {
		http.Error(w, message, code)
		return
	}
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Message: message,
	})
	if err != nil {
		http.Error(w, message, code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}
