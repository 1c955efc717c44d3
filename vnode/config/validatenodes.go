package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/node"
)

// validate validates what all nodes have in common. listed says that Nodes has their names.
func (c NodeConfig) validate(path *field.Path, listed bool) field.ErrorList {
	var errs field.ErrorList
	switch {
	case !listed:
		errs = append(errs, validateNodeName(path.Child("name"), c.Name)...)
	case c.Name != "":
		errs = append(errs, field.Invalid(path.Child("name"), c.Name,
			"must be empty if nodes is set: nodes has the names"))
	}
	if net.ParseIP(c.IP) == nil {
		errs = append(errs, field.Invalid(path.Child("ip"), c.IP, "must be an IP address"))
	}
	errs = append(errs, validateCapacity(path, map[string]*resource.Quantity{
		"cpu": &c.CPU, "memory": &c.Memory, "ephemeralStorage": &c.EphemeralStorage,
	}, &c.Pods)...)
	return append(errs, validateMarks(path, c.Zone, c.Labels, c.Taints)...)
}

func validateNodeName(path *field.Path, name string) field.ErrorList {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return field.ErrorList{field.Invalid(path, name, "must be a valid name of a Node, such as virtual-node-cci-0")}
	}
	return nil
}

// validateCapacity validates the quantities and the number of Pods that are set.
func validateCapacity(path *field.Path, quantities map[string]*resource.Quantity, pods *int64) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(quantities)) {
		if value := quantities[name]; value != nil && value.Sign() <= 0 {
			errs = append(errs, field.Invalid(path.Child(name), value.String(), "must be above zero"))
		}
	}
	if pods != nil && *pods <= 0 {
		errs = append(errs, field.Invalid(path.Child("pods"), *pods, "must be above zero"))
	}
	return errs
}

// validateMarks validates what the Node shows to the scheduler.
func validateMarks(path *field.Path, zone string, labels map[string]string, taints []corev1.Taint) field.ErrorList {
	var errs field.ErrorList
	if problems := validation.IsValidLabelValue(zone); len(problems) > 0 {
		errs = append(errs, field.Invalid(path.Child("zone"), zone, "must be a zone such as cn-north-4a"))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		at := path.Child("labels").Key(key)
		switch problems := validation.IsQualifiedName(key); {
		case len(problems) > 0:
			errs = append(errs, field.Invalid(at, key, "must be the key of a label, such as example.com/team"))
		case key == corev1.LabelTopologyZone:
			errs = append(errs, field.Forbidden(at, "is set by zone"))
		case node.IsReservedLabel(key):
			errs = append(errs, field.Forbidden(at, "is a label that every virtual node has: choose another key"))
		}
		if len(validation.IsValidLabelValue(labels[key])) > 0 {
			errs = append(errs, field.Invalid(at, labels[key],
				"must have at most 63 letters, digits, dashes, dots or underscores, "+
					"and begin and end with a letter or a digit"))
		}
	}
	return append(errs, validateTaints(path.Child("taints"), taints)...)
}

func validateTaints(path *field.Path, taints []corev1.Taint) field.ErrorList {
	var errs field.ErrorList
	effects := []corev1.TaintEffect{
		corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute,
	}
	seen := map[corev1.Taint]bool{}
	for i, taint := range taints {
		at := path.Index(i)
		switch {
		case len(validation.IsQualifiedName(taint.Key)) > 0:
			errs = append(errs, field.Invalid(at.Child("key"), taint.Key,
				"must be the key of a taint, such as example.com/team"))
		case taint.Key == policy.ProviderTaintKey:
			errs = append(errs, field.Forbidden(at.Child("key"), "is the taint that every virtual node has"))
		case strings.HasPrefix(taint.Key, "node.kubernetes.io/") || strings.HasPrefix(taint.Key, "node.cloudprovider."):
			errs = append(errs, field.Invalid(at.Child("key"), taint.Key,
				"must not be a key that controllers of the cluster set and remove"))
		}
		if len(validation.IsValidLabelValue(taint.Value)) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), taint.Value, "must be a valid value of a taint"))
		}
		if !slices.Contains(effects, taint.Effect) {
			errs = append(errs, field.NotSupported(at.Child("effect"), taint.Effect, effects))
		}
		if taint.TimeAdded != nil {
			errs = append(errs, field.Forbidden(at.Child("timeAdded"), "is set by the cluster"))
		}
		key := corev1.Taint{Key: taint.Key, Effect: taint.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(at, taint.Key+":"+string(taint.Effect)))
		}
		seen[key] = true
	}
	return errs
}

// validateNodes validates the list of nodes. What is not set there is validated with the common sections.
func (c *Config) validateNodes(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	// subnets has the subnets of each cloud namespace, and where they are configured.
	type network struct{ subnets, at string }
	networks := map[string]network{}
	for i, n := range c.Nodes {
		at := path.Index(i)
		errs = append(errs, validateNodeName(at.Child("name"), n.Name)...)
		if names[n.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), n.Name))
		}
		names[n.Name] = true
		errs = append(errs, validateMarks(at, n.Zone, n.Labels, n.Taints)...)
		errs = append(errs, validateCapacity(at, map[string]*resource.Quantity{
			"cpu": n.CPU, "memory": n.Memory, "ephemeralStorage": n.EphemeralStorage,
		}, n.Pods)...)
		if c.Policy.CCIVersion == policy.CCI1 && len(n.SubnetIDs) > 1 {
			errs = append(errs, field.Invalid(at.Child("subnetIDs"), strings.Join(n.SubnetIDs, ","),
				"must have one ID: CCI 1.0 takes one subnet"))
		}
		namespace := c.cloudNamespaceOf(n)
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			errs = append(errs, field.Invalid(at.Child("cloudNamespace"), namespace,
				"must be a valid name of a namespace of at most 63 characters, such as bursting-prod-a"))
			continue
		}
		ids := n.SubnetIDs
		if len(ids) == 0 {
			ids = c.CCI.SubnetIDs
		}
		mine := network{strings.Join(ids, ","), at.String()}
		if other, ok := networks[namespace]; ok && other.subnets != mine.subnets {
			errs = append(errs, field.Invalid(at.Child("subnetIDs"), mine.subnets, fmt.Sprintf(
				"must be %s as those of %s, because a cloud namespace has one network, "+
					"or set another cloudNamespace than %s",
				other.subnets, other.at, namespace)))
		}
		networks[namespace] = mine
	}
	return errs
}
