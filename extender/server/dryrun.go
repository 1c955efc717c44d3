package server

import (
	"errors"
	"fmt"

	"github.com/gin-gonic/gin"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/internal/serve"
)

const (
	filterPath  = "/v1/filter"
	dryRunQuery = "dryRun=true"
)

// maxWholeNodes is how many nodes Kubernetes supports. A dry run may describe as many, and the answer repeats them.
const maxWholeNodes = 5000

func isDryRun(c *gin.Context) bool {
	return c.Request.URL.Path == filterPath && c.Request.URL.RawQuery == dryRunQuery
}

// checkQuery rejects every other query: a misspelled one would take a slot.
func (s *server) checkQuery(c *gin.Context) {
	if c.Request.URL.RawQuery == "" || isDryRun(c) {
		return
	}
	s.reject(c, fmt.Errorf("query %.50q: must be empty, or %s for %s", c.Request.URL.RawQuery, dryRunQuery, filterPath))
	c.Abort()
}

// dryRun responds as filter would, and takes nothing. Who sends whole nodes gets whole nodes back: without
// nodeCacheCapable kube-scheduler reads no names.
func (s *server) dryRun(c *gin.Context) {
	reservation := s.memory.For(c.Request)
	defer reservation.Release()
	args, offer, ok := s.decodeQuestion(c, reservation)
	if !ok {
		return
	}
	result, err := s.placement.DryRun(args.Pod, offer)
	response := s.filtered(c, args.Pod, offer.Names, result, err)
	if response == nil {
		return
	}
	if args.Nodes != nil {
		response.Nodes = only(args.Nodes, *response.NodeNames)
	}
	write(c, response)
}

// explain responds with what filter would answer now, and why. It takes nothing.
func (s *server) explain(c *gin.Context) {
	reservation := s.memory.For(c.Request)
	defer reservation.Release()
	args, offer, ok := s.decodeQuestion(c, reservation)
	if !ok {
		return
	}
	answer, err := s.placement.Explain(args.Pod, offer)
	switch {
	case s.rejectNodes(c, err):
	case err != nil:
		s.fail(c, verbExplain, args.Pod, err)
	default:
		write(c, answer)
	}
}

// decodeQuestion reads the arguments of a dry run and of explain.
func (s *server) decodeQuestion(
	c *gin.Context, reservation *serve.Reservation,
) (*extenderv1.ExtenderArgs, placement.Offer, bool) {
	var args extenderv1.ExtenderArgs
	if !s.decode(c, reservation, &args) {
		return nil, placement.Offer{}, false
	}
	if err := checkQuestion(&args); err != nil {
		s.reject(c, err)
		return nil, placement.Offer{}, false
	}
	return &args, offered(&args), true
}

// checkQuestion accepts a Pod that does not exist, such as the template of a workload.
func checkQuestion(args *extenderv1.ExtenderArgs) error {
	switch {
	case args.Pod == nil:
		return errors.New("field Pod: missing: the request must contain the Pod to place")
	case args.Pod.Namespace == "":
		return errors.New("field Pod.metadata.namespace: missing")
	case longest(args.Pod) > maxName:
		return fmt.Errorf("field Pod: a name of %d bytes: must have at most %d", longest(args.Pod), maxName)
	case args.NodeNames != nil && args.Nodes != nil:
		return errors.New("fields NodeNames and Nodes: only one may be set")
	case args.Nodes == nil:
		return checkNodeNames(args)
	case len(args.Nodes.Items) == 0:
		return errors.New("field Nodes.items: missing: the request must have the nodes to choose from")
	case len(args.Nodes.Items) > maxWholeNodes:
		return fmt.Errorf("field Nodes.items: %d nodes: must be at most %d", len(args.Nodes.Items), maxWholeNodes)
	}
	for i, node := range args.Nodes.Items {
		if node.Name == "" {
			return fmt.Errorf("field Nodes.items[%d].metadata.name: missing", i)
		}
		if len(node.Name) > maxName {
			return fmt.Errorf("field Nodes.items[%d].metadata.name: %d bytes: must have at most %d", i, len(node.Name),
				maxName)
		}
	}
	return nil
}

// maxName is how many bytes a name has in Kubernetes at most. Explain repeats names.
const maxName = 253

// longest returns the length of the longest of the names in a Pod that an explanation repeats.
func longest(pod *corev1.Pod) int {
	most := max(len(pod.Namespace), len(pod.Name), len(pod.Spec.NodeName), len(pod.Spec.SchedulerName))
	for i := range pod.Spec.SchedulingGates {
		most = max(most, len(pod.Spec.SchedulingGates[i].Name))
	}
	return most
}

func offered(args *extenderv1.ExtenderArgs) placement.Offer {
	if args.Nodes == nil {
		return placement.Offer{Names: *args.NodeNames}
	}
	offer := placement.Offer{Labels: make(map[string]map[string]string, len(args.Nodes.Items))}
	for _, node := range args.Nodes.Items {
		offer.Names = append(offer.Names, node.Name)
		offer.Labels[node.Name] = node.Labels
	}
	return offer
}

// only returns the nodes that have one of the names.
func only(list *corev1.NodeList, names []string) *corev1.NodeList {
	named := make(map[string]bool, len(names))
	for _, name := range names {
		named[name] = true
	}
	kept := &corev1.NodeList{Items: []corev1.Node{}}
	for _, node := range list.Items {
		if named[node.Name] {
			kept.Items = append(kept.Items, node)
		}
	}
	return kept
}
