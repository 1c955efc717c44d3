package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/extender/wayhome"
	"github.com/spillway-k8s/spillway/internal/kube"
)

// addWayHome creates what moves Pods from the cloud to local nodes.
func (e *Extender) addWayHome(registry prometheus.Registerer) error {
	e.index, e.events = wayhome.NewIndex(), record.NewBroadcaster()
	var err error
	e.wayHome, err = wayhome.New(e.cfg.WayHome, wayhome.Deps{
		Client: e.clients.Kubernetes, Index: e.index, Placement: e.Placement, Nodes: e.nodes, Facts: e.facts,
		Leadership: e.leader, Now: time.Now, Logger: e.logger,
		Recorder: e.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "spillway-extender"}),
	}, registry)
	return err
}

// followPods lists and watches all Pods, once for the ledger and for the way home, until ctx ends. It blocks.
func (e *Extender) followPods(ctx context.Context) {
	client := e.clients.Kubernetes
	kube.Follow(ctx, "ledger", client, client.CoreV1().Pods(metav1.NamespaceAll), &corev1.Pod{},
		e.index.Store(e.Ledger.Store(e.logger)))
}

// runWayHome moves Pods until ctx ends. It blocks.
func (e *Extender) runWayHome(ctx context.Context) error {
	defer e.events.Shutdown()
	e.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.clients.Kubernetes.CoreV1().Events("")})
	return e.wayHome.Run(ctx)
}
