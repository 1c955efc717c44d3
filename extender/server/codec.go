package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// maxBody is the size limit of a request in bytes. A Pod as large as the API server accepts (1.5 MiB) and 50,000 long
// node names fit.
const maxBody = 8 << 20

// maxNodes is ten times as many nodes as a cluster of Kubernetes supports.
const maxNodes = 50_000

// maxMemory is what all requests in flight may need, in bytes: a fifth of the memory limit in the chart. A scheduler
// sends its requests one after another.
const maxMemory = 96 << 20

// decode reads the one JSON value of a request. If the request is malformed, it responds with status 400 and a message,
// and returns false.
func (s *server) decode(c *gin.Context, reservation *serve.Reservation, into any) bool {
	err := decode(c, reservation, into)
	if err == nil {
		return true
	}
	if errors.Is(err, serve.ErrBusy) {
		s.metrics.outcome(c, outcomeBusy)
		serve.RejectBusy(c.Writer, err.Error())
		return false
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fmt.Errorf("larger than %d bytes", tooLarge.Limit)
	}
	s.reject(c, fmt.Errorf("the body must be one JSON object as kube-scheduler sends it: %w", err))
	return false
}

func decode(c *gin.Context, reservation *serve.Reservation, into any) error {
	body, err := reservation.Body(c.Writer, c.Request, maxBody)
	if err != nil {
		return err
	}
	text, err := rawjson.Scan(body)
	if err != nil {
		return err
	}
	if err := reservation.Grow(c, text.Memory()); err != nil {
		return err
	}
	return text.Unmarshal(into)
}

// decodeArgs reads the arguments of filter and prioritize.
func (s *server) decodeArgs(
	c *gin.Context, reservation *serve.Reservation,
) (*extenderv1.ExtenderArgs, []string, bool) {
	var args extenderv1.ExtenderArgs
	if !s.decode(c, reservation, &args) {
		return nil, nil, false
	}
	if err := checkArgs(&args); err != nil {
		s.reject(c, err)
		return nil, nil, false
	}
	return &args, *args.NodeNames, true
}

func checkArgs(args *extenderv1.ExtenderArgs) error {
	return errors.Join(checkPod(args.Pod), checkNodeNames(args))
}

func checkNodeNames(args *extenderv1.ExtenderArgs) error {
	switch {
	case args.NodeNames == nil && args.Nodes != nil:
		return errors.New("field NodeNames: missing: set nodeCacheCapable: true on the extender entry " +
			"of the scheduler, so that it sends names and not whole nodes")
	case args.NodeNames == nil || len(*args.NodeNames) == 0:
		return errors.New("field NodeNames: missing: the request must name the nodes to choose from")
	case len(*args.NodeNames) > maxNodes:
		return fmt.Errorf("field NodeNames: %d nodes: must be at most %d", len(*args.NodeNames), maxNodes)
	}
	return nil
}

func checkPreemption(args *extenderv1.ExtenderPreemptionArgs) error {
	err := checkPod(args.Pod)
	if args.NodeNameToMetaVictims == nil {
		err = errors.Join(err, errors.New("field NodeNameToMetaVictims: missing: "+
			"set nodeCacheCapable: true on the extender entry of the scheduler"))
	}
	for node, victims := range args.NodeNameToMetaVictims {
		// The scheduler sends an empty list for a node without victims, and would crash if it got null back. The first
		// one is enough: there may be as many as fit into the body.
		if victims == nil {
			return errors.Join(err, fmt.Errorf("field NodeNameToMetaVictims[%.253q]: must not be null", node))
		}
	}
	return err
}

func checkPod(pod *corev1.Pod) error {
	if pod == nil {
		return errors.New("field Pod: missing: the request must contain the Pod that is being scheduled")
	}
	var err error
	for _, field := range []struct{ name, value string }{
		{"name", pod.Name}, {"namespace", pod.Namespace}, {"uid", string(pod.UID)},
	} {
		if field.value == "" {
			err = errors.Join(err, fmt.Errorf("field Pod.metadata.%s: missing", field.name))
		}
	}
	if _, parseErr := strconv.ParseUint(pod.ResourceVersion, 10, 64); parseErr != nil {
		err = errors.Join(err, fmt.Errorf("field Pod.metadata.resourceVersion: invalid value %.50q: must be a number",
			pod.ResourceVersion))
	}
	return err
}

// reject responds with status 400 to a malformed request.
func (s *server) reject(c *gin.Context, err error) {
	s.logger.WarnContext(c, "rejected a malformed request", "path", c.Request.URL.Path, "err", err)
	s.metrics.outcome(c, outcomeMalformed)
	c.String(http.StatusBadRequest, "Spillway: %s\n", err)
}

// write sends a response with its length. Without a length the response is sent in chunks. kube-scheduler does not read
// the last chunk, and loses the connection with every call (docs/sources.md#scheduler-connections).
func write(c *gin.Context, response any) {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false) // The nodes of a dry run would need up to six times the memory of the request.
	if err := encoder.Encode(response); err != nil {
		c.String(http.StatusInternalServerError, "Spillway: encoding the response: %s\n", err)
		return
	}
	respond(c, bytes.TrimSuffix(encoded.Bytes(), []byte("\n")))
}

func respond(c *gin.Context, body []byte) {
	c.Header("Content-Length", strconv.Itoa(len(body)))
	c.Data(http.StatusOK, "application/json", body)
}
