package api

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateContainers checks a list of containers. It adds their names to seen, and refuses a name that is there
// already.
func validateContainers(
	list []corev1.Container, path *field.Path, seen, volumes map[string]bool, init bool,
) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		c, at := &list[i], path.Index(i)
		errs = append(errs, invalidName(at.Child("name"), c.Name, validation.IsDNS1123Label)...)
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen[c.Name] = true
		errs = append(errs, validateRestart(c, at, init)...)
		errs = append(errs, validateEnv(c, at)...)
		errs = append(errs, validatePorts(c, at.Child("ports"))...)
		errs = append(errs, validateMounts(c, at.Child("volumeMounts"), volumes)...)
		errs = append(errs, validateResources(c, at.Child("resources"))...)
		for name, probe := range map[string]*corev1.Probe{
			"livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe, "startupProbe": c.StartupProbe,
		} {
			errs = append(errs, validateProbe(probe, at.Child(name))...)
		}
		if c.ImagePullPolicy != "" {
			errs = append(errs, oneOf(at.Child("imagePullPolicy"), string(c.ImagePullPolicy),
				"Always", "IfNotPresent", "Never")...)
		}
		errs = append(errs, oneOf(at.Child("terminationMessagePolicy"), string(c.TerminationMessagePolicy),
			"File", "FallbackToLogsOnError")...)
	}
	return errs
}

func validateRestart(c *corev1.Container, at *field.Path, init bool) field.ErrorList {
	switch {
	case c.RestartPolicy == nil:
		return nil
	case !init:
		return field.ErrorList{field.Forbidden(at.Child("restartPolicy"), "may not be set for non-init containers")}
	default:
		return oneOf(at.Child("restartPolicy"), string(*c.RestartPolicy), "Always")
	}
}

func validateEnv(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, env := range c.Env {
		path := at.Child("env").Index(i)
		errs = append(errs, invalidName(path.Child("name"), env.Name, validation.IsRelaxedEnvVarName)...)
		from := env.ValueFrom
		if from == nil {
			continue
		}
		if env.Value != "" {
			errs = append(errs, field.Invalid(path.Child("valueFrom"), "", "may not be specified when `value` is not empty"))
		}
		n := countSet(from.ConfigMapKeyRef != nil, from.SecretKeyRef != nil, from.FieldRef != nil,
			from.ResourceFieldRef != nil)
		if n != 1 {
			errs = append(errs, field.Invalid(path.Child("valueFrom"), n,
				"must specify exactly one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"))
		}
		if from.FieldRef != nil && !isEnvPath(from.FieldRef.FieldPath) {
			errs = append(errs, field.NotSupported(path.Child("valueFrom", "fieldRef", "fieldPath"),
				from.FieldRef.FieldPath, slices.Concat(metadataPaths, statusPaths)))
		}
	}
	for i, from := range c.EnvFrom {
		if n := countSet(from.ConfigMapRef != nil, from.SecretRef != nil); n != 1 {
			errs = append(errs, field.Invalid(at.Child("envFrom").Index(i), n,
				"must specify one of: `configMapRef` or `secretRef`"))
		}
	}
	return errs
}

func isEnvPath(path string) bool {
	if slices.Contains(statusPaths, path) {
		return true
	}
	// A variable cannot have a whole map as its value.
	return isMetadataPath(path) && path != "metadata.annotations" && path != "metadata.labels"
}

func countSet(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

func validatePorts(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, port := range c.Ports {
		for _, message := range validation.IsValidPortNum(int(port.ContainerPort)) {
			errs = append(errs, field.Invalid(path.Index(i).Child("containerPort"), port.ContainerPort, message))
		}
		errs = append(errs, oneOf(path.Index(i).Child("protocol"), string(port.Protocol), "TCP", "UDP", "SCTP")...)
		if port.Name == "" {
			continue
		}
		errs = append(errs, invalidName(path.Index(i).Child("name"), port.Name, validation.IsValidPortName)...)
		if names[port.Name] {
			errs = append(errs, field.Duplicate(path.Index(i).Child("name"), port.Name))
		}
		names[port.Name] = true
	}
	return errs
}

func validateMounts(c *corev1.Container, path *field.Path, volumes map[string]bool) field.ErrorList {
	var errs field.ErrorList
	paths := map[string]bool{}
	for i, mount := range c.VolumeMounts {
		at := path.Index(i)
		if !volumes[mount.Name] {
			errs = append(errs, field.NotFound(at.Child("name"), mount.Name))
		}
		if mount.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if paths[mount.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), mount.MountPath, "must be unique"))
		}
		paths[mount.MountPath] = true
		if mount.SubPath != "" && mount.SubPathExpr != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), mount.SubPathExpr,
				"subPathExpr and subPath are mutually exclusive"))
		}
	}
	return errs
}

func validateResources(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, limit := range c.Resources.Limits {
		if limit.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), limit.String(),
				"must be greater than or equal to 0"))
		}
	}
	for name, request := range c.Resources.Requests {
		if request.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				"must be greater than or equal to 0"))
		}
		if limit, ok := c.Resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

func validateProbe(probe *corev1.Probe, path *field.Path) field.ErrorList {
	if probe == nil {
		return nil
	}
	var errs field.ErrorList
	if n := countSet(probe.Exec != nil, probe.HTTPGet != nil, probe.TCPSocket != nil); n != 1 {
		errs = append(errs, field.Invalid(path, n, "must specify exactly one of: `exec`, `httpGet` or `tcpSocket`"))
	}
	if probe.HTTPGet != nil {
		errs = append(errs, validatePort(probe.HTTPGet.Port, path.Child("httpGet", "port"))...)
	}
	if probe.TCPSocket != nil {
		errs = append(errs, validatePort(probe.TCPSocket.Port, path.Child("tcpSocket", "port"))...)
	}
	for name, value := range map[string]int32{
		"initialDelaySeconds": probe.InitialDelaySeconds, "timeoutSeconds": probe.TimeoutSeconds,
		"periodSeconds": probe.PeriodSeconds, "successThreshold": probe.SuccessThreshold,
		"failureThreshold": probe.FailureThreshold,
	} {
		if value < 0 {
			errs = append(errs, field.Invalid(path.Child(name), value, "must be greater than or equal to 0"))
		}
	}
	return errs
}

func validatePort(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return invalidName(path, port.StrVal, validation.IsValidPortName)
	}
	var errs field.ErrorList
	for _, message := range validation.IsValidPortNum(port.IntValue()) {
		errs = append(errs, field.Invalid(path, port.IntValue(), message))
	}
	return errs
}
