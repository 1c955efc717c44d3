package logging

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// Key is a key of log lines.
type Key struct {
	Name string
	// Text says what its value is.
	Text string
}

// Keys returns all keys that the programs log, so that a query works for the lines of all of them. A test compares them
// with each call of a logger. Lines of libraries may have others.
func Keys() []Key {
	return []Key{
		{"namespace", "the namespace of the object that the line is about"},
		{"pod", "the name of a Pod"},
		{"uid", "the UID of a Pod"},
		{"node", "the name of a virtual node"},
		{"reason", "a [reason](reference/reasons.md), a constant word"},
		{"err", "an error"},
		{"cause", "why something happened, as text"},
		{"service", "the name of a Service"},
		{"secret", "the name of a Secret"},
		{"configmap", "the name of a ConfigMap"},
		{"lease", "the name of a Lease"},
		{"kind", "the kind of an object"},
		{"name", "the name of an object of that kind"},
		{"generateName", "the beginning of the name of a Pod that has none yet"},
		{"container", "the name of a container"},
		{"image", "the image of a container"},
		{"resource", "a kind of objects with its group, such as rollouts.argoproj.io"},
		{"version", "the version of an API"},
		{"annotation", "the key of an annotation"},
		{"field", "a field of the configuration"},
		{"value", "the value of that annotation or field"},
		{"renamedTo", "what that field is called now"},
		{"decision", "where a Pod may run, the reason and its sentence"},
		{"managed", "whether Spillway manages a Pod"},
		{"changed", "whether an object was changed"},
		{"kept", "whether a local quota is kept"},
		{"dryRun", "whether nothing is reserved and written"},
		{"switch", "the global switch"},
		{"pods", "a number of Pods"},
		{"nodes", "a number of nodes"},
		{"connections", "a number of connections"},
		{"failures", "how often in a row something has failed"},
		{"try", "the number of an attempt"},
		{"limit", "what is reached"},
		{"retryAfter", "when it is tried again"},
		{"interval", "how often something is checked"},
		{"timeout", "how long something may take"},
		{"until", "when something ends"},
		{"controller", "a controller of admission"},
		{"webhook", "a webhook of admission"},
		{"identity", "a process in an election"},
		{"resourceVersion", "the version of a list"},
		{"client", "the names in the certificate of a client"},
		{"address", "the address of a client, a server or an endpoint"},
		{"path", "the path of a request"},
		{"verb", "what the scheduler or a user asks the extender"},
		{"question", "the name that a DNS query asks for"},
		{"port", "a port of a Service"},
		{"dnsNames", "the names in a certificate"},
		{"signer", "the signer of a certificate"},
		{"cloud", "the name of a cloud Pod, or of a copy in the cloud"},
		{"cloudNamespace", "the namespace in the cloud"},
		{"network", "the name of a network in the cloud"},
		{"subnets", "subnets in the cloud"},
		{"owner", "the virtual node that something in the cloud belongs to"},
		{"mirror", "what a copy in the cloud is copied from"},
		{"snapshot", "the name of an image snapshot"},
		{"phase", "the phase of that snapshot"},
		{"credentials", "the access key of the credentials, without the secret"},
		{"operation", "an operation of the API of the cloud"},
		{"status", "the HTTP status of its answer"},
		{"code", "the code of an error of the cloud, or of a finding"},
		{"message", "the text of that error or finding"},
		{"request", "the id of a request to the cloud"},
		{"severity", "the severity of a finding"},
		{"title", "what a finding is about"},
		{"remedy", "what to do"},
	}
}

// Pod returns the keys of a Pod. Without a UID it leaves that key out.
func Pod(namespace, name string, uid types.UID) slog.Attr {
	if uid == "" {
		return Object("pod", namespace, name)
	}
	return slog.Group("", "namespace", namespace, "pod", name, "uid", string(uid))
}

// Object returns the keys of an object in a namespace: its name has the key.
func Object(key, namespace, name string) slog.Attr {
	return slog.Group("", "namespace", namespace, key, name)
}

// fromKlog gives the objects that libraries log with klog the keys of objects here.
func fromKlog(attr slog.Attr) slog.Attr {
	object, ok := attr.Value.Any().(klog.ObjectRef)
	switch {
	case !ok:
		return attr
	case object.Namespace == "":
		return slog.String(attr.Key, object.Name)
	default:
		return Object(attr.Key, object.Namespace, object.Name)
	}
}

// readable writes durations as text in both formats: JSON would have nanoseconds.
func readable(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().Round(time.Microsecond).String())
	}
	return attr
}
