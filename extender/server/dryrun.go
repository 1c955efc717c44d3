package server

import (
	"errors"
	"fmt"

	"github.com/gin-gonic/gin"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/placement"
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
	var args extenderv1.ExtenderArgs
	if !s.decode(c, reservation, &args) {
		return
	}
	if err := checkDryRun(&args); err != nil {
		s.reject(c, err)
		return
	}
	offer := offered(&args)
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

// checkDryRun accepts a Pod that does not exist, such as the template of a workload.
func checkDryRun(args *extenderv1.ExtenderArgs) error {
	switch {
	case args.Pod == nil:
		return errors.New("field Pod: missing: the request must contain the Pod to place")
	case args.Pod.Namespace == "":
		return errors.New("field Pod.metadata.namespace: missing")
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
	}
	return nil
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
