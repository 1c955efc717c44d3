package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/explain"
)

// extenderAnswer is what the story reads of an answer of the extender to POST /v1/explain.
type extenderAnswer struct {
	Decision    string
	Passed      []string
	Explanation explain.Explanation
}

// PlayExplain asks the extender about Pods of a Deployment, and compares its answers with kubectl spillway why. Then it
// asks about a replica that does not exist, and creates it.
func PlayExplain(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	nodes, err := w.nodeNames(ctx)
	if err != nil {
		return err
	}
	if err := w.await(ctx, "the extender to say what kubectl spillway why says", func(
		ctx context.Context,
	) (bool, string, error) {
		return w.explainsAlike(ctx, nodes)
	}); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "nginx")
	if err != nil {
		return err
	}
	next := pods[0].DeepCopy()
	next.Name, next.UID, next.Spec.NodeName, next.Status = "", "", "", corev1.PodStatus{}
	answer, err := w.askExtender(ctx, next, nodes)
	if err != nil {
		return err
	}
	w.printf("the extender about a fifth replica: %s, on %q", answer.Decision, answer.Passed)
	if answer.Decision != "Cloud" || len(answer.Passed) == 0 || !isVirtual(answer.Passed[0]) ||
		answer.Explanation.Place != explain.NotCreated {
		return fmt.Errorf("the extender said %+v about a fifth replica: want that it would run in the cloud", answer)
	}
	if err := w.run(ctx, "scale", "deployment", "nginx-deployment", "--replicas=5"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 4)
}

// explainsAlike compares the answers about each Pod of the Deployment.
func (w *World) explainsAlike(ctx context.Context, nodes []string) (same bool, difference string, err error) {
	text, err := w.spillway(ctx, "why", "deployment", "nginx-deployment", "-o", "json")
	if err != nil {
		return false, "", err
	}
	var plugin struct{ Items []explain.Explanation }
	if err := json.Unmarshal([]byte(text), &plugin); err != nil {
		return false, "", fmt.Errorf("reading the output of kubectl spillway why: %w", err)
	}
	if len(plugin.Items) == 0 {
		return false, "", errors.New("kubectl spillway why printed nothing")
	}
	for _, item := range plugin.Items {
		pod, err := w.client.CoreV1().Pods(w.Namespace).Get(ctx, item.Pod, metav1.GetOptions{})
		if err != nil {
			return false, "", fmt.Errorf("reading pod %s: %w", item.Pod, err)
		}
		answer, err := w.askExtender(ctx, pod, nodes)
		if err != nil {
			return false, "", err
		}
		want, got := common(item), common(answer.Explanation)
		if want != got {
			return false, fmt.Sprintf("the extender said %s, kubectl spillway why %s", got, want), nil
		}
	}
	return true, "", nil
}

// common returns what the extender and kubectl spillway why both know of a Pod, as JSON.
func common(e explain.Explanation) string {
	e.Workload, e.Changes, e.Unknown = "", nil, nil
	e.Steps = slices.DeleteFunc(slices.Clone(e.Steps), func(s explain.Step) bool {
		return s.Name == "scheduler" || s.Name == "cloud" // The extender does not know the state of nodes.
	})
	if e.Size != nil {
		size := *e.Size
		size.Currency, size.PerHour = "", ""
		e.Size = &size
	}
	text, err := json.Marshal(e)
	if err != nil { // Texts and numbers can always be encoded.
		return err.Error()
	}
	return string(text)
}

func (w *World) nodeNames(ctx context.Context) ([]string, error) {
	list, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// askExtender asks the extender why a Pod may go to some nodes and not to others.
func (w *World) askExtender(ctx context.Context, pod *corev1.Pod, nodes []string) (extenderAnswer, error) {
	body, err := json.Marshal(map[string]any{"Pod": pod, "NodeNames": nodes})
	if err != nil {
		return extenderAnswer{}, fmt.Errorf("encoding a question: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cluster.Extender+"/v1/explain",
		bytes.NewReader(body))
	if err != nil {
		return extenderAnswer{}, fmt.Errorf("asking the extender: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return extenderAnswer{}, fmt.Errorf("asking the extender: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return extenderAnswer{}, fmt.Errorf("reading the answer of the extender: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return extenderAnswer{}, fmt.Errorf("asking the extender: status %d: %s", response.StatusCode, text)
	}
	var answer extenderAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return extenderAnswer{}, fmt.Errorf("reading the answer of the extender: %w", err)
	}
	return answer, nil
}
