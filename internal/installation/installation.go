// Package installation is what an installation of Spillway tells its users: a ConfigMap in namespace kube-public, which
// every user of the cluster may read. The chart writes it, and kubectl spillway decides with it. It has no secrets.
package installation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// The ConfigMap, and the key of its data. The value is an Installation in YAML.
const (
	ConfigMapNamespace = metav1.NamespacePublic
	ConfigMapName      = "spillway"
	key                = "installation.yaml"
)

// Installation describes an installation. Fields that are not known here are ignored: the programs may be newer than
// the plugin.
type Installation struct {
	// Version is the version of the programs, such as 0.1.0.
	Version string `json:"version"`
	// Namespace is the namespace of the programs.
	Namespace string `json:"namespace"`
	// VirtualNodes are the names of the virtual nodes: most users may not read Nodes.
	VirtualNodes []string `json:"virtualNodes,omitempty"`
	// Scheduler says which schedulers call the extender.
	Scheduler Scheduler `json:"scheduler"`
	// Policy is the section policy of the configuration of the programs. A field that is missing has its default.
	Policy policy.Config `json:"policy"`
	// Prices are the prices of the cloud, zero without any.
	Prices prices.Config `json:"prices,omitzero"`
}

// Scheduler says which schedulers call the extender, and for which Pods.
type Scheduler struct {
	// Name is the scheduler, or the profile, that managed Pods of the default scheduler are assigned to. If it is
	// empty, the default scheduler calls the extender.
	Name string `json:"name"`
	// OtherNames are further schedulers that call the extender.
	OtherNames []string `json:"otherNames,omitempty"`
	// MarkerResource means that they call the extender only for Pods with the marker resource.
	MarkerResource bool `json:"markerResource,omitempty"`
}

// Schedulers returns the schedulers that call the extender.
func (s Scheduler) Schedulers() schedulers.Schedulers {
	return schedulers.Schedulers{Assigned: s.Name, Others: s.OtherNames, EveryPod: !s.MarkerResource}
}

// ErrMissing is the error of Read for a cluster without the ConfigMap, or in which the user may not read it.
type ErrMissing struct{ Err error }

func (e ErrMissing) Error() string {
	return fmt.Sprintf("reading ConfigMap %s/%s, by which the chart describes its installation: %v; "+
		"install Spillway with a chart of this version, or ask an administrator for the right to read the ConfigMap",
		ConfigMapNamespace, ConfigMapName, e.Err)
}

func (e ErrMissing) Unwrap() error { return e.Err }

// Read reads the installation of a cluster. It blocks for one API call. The error is an ErrMissing if there is none, or
// if the user may not read it.
func Read(ctx context.Context, client kubernetes.Interface) (Installation, error) {
	found, err := client.CoreV1().ConfigMaps(ConfigMapNamespace).Get(ctx, ConfigMapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return Installation{}, ErrMissing{err}
	}
	if err != nil {
		return Installation{}, fmt.Errorf("reading ConfigMap %s/%s: %w", ConfigMapNamespace, ConfigMapName, err)
	}
	return parse(found)
}

func parse(configMap *corev1.ConfigMap) (Installation, error) {
	i := Installation{Policy: policy.DefaultConfig()}
	text, err := yaml.YAMLToJSON([]byte(configMap.Data[key]))
	if err == nil && len(bytes.TrimSpace([]byte(configMap.Data[key]))) == 0 {
		err = errors.New("the value is empty")
	}
	if err == nil {
		err = json.Unmarshal(text, &i)
	}
	if err != nil {
		return Installation{}, fmt.Errorf("reading %s of ConfigMap %s/%s: %w", key, ConfigMapNamespace, ConfigMapName,
			err)
	}
	return i, nil
}

// ConfigMap returns the ConfigMap that describes the installation.
func (i Installation) ConfigMap() (*corev1.ConfigMap, error) {
	text, err := yaml.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encoding the description of an installation: %w", err)
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ConfigMapNamespace, Name: ConfigMapName},
		Data:       map[string]string{key: string(text)},
	}, nil
}
