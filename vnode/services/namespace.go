package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Services returns the Services of a namespace, and the Service kubernetes of namespace default. It returns an error as
// long as they are not known. It does not block.
func (s *Server) Services(namespace string) ([]*corev1.Service, error) {
	if !s.services.resources.synced() {
		return nil, errors.New("the Services of the cluster are not known yet")
	}
	objects, _, _ := s.services.resources.snapshot()
	first, _ := slices.BinarySearchFunc(objects, namespace, func(o *object, namespace string) int {
		return strings.Compare(o.namespace, namespace)
	})
	var found []*corev1.Service
	for _, object := range objects[first:] {
		if object.namespace != namespace {
			break
		}
		if err := decodeInto(&found, object); err != nil {
			return nil, err
		}
	}
	if namespace == metav1.NamespaceDefault {
		return found, nil
	}
	for _, object := range objects {
		if object.namespace == metav1.NamespaceDefault && object.name == "kubernetes" {
			return found, decodeInto(&found, object)
		}
	}
	return found, nil
}

func decodeInto(found *[]*corev1.Service, object *object) error {
	service := &corev1.Service{}
	if err := json.Unmarshal(object.json, service); err != nil {
		return fmt.Errorf("decoding Service %s: %w", object.key(), err)
	}
	*found = append(*found, service)
	return nil
}
