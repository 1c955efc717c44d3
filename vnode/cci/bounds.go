package cci

import (
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// An answer of the service is as large as the service wants it to be. Everything that is read of one is bounded here: a
// service that lies must neither exhaust the memory of a program nor keep it busy forever.
const (
	// maxObject is the maximum size of one object in bytes, in a response, a list or a watch. etcd stores objects of
	// 1.5 MiB.
	maxObject = 4 << 20
	// maxPage is the maximum size of one page of a list in bytes. It is read object by object, so that only what the
	// caller keeps is in memory. 500 Pods with all the annotations that Kubernetes allows have 130 MB.
	maxPage = 256 << 20
	// maxError is the number of bytes that are read of an error.
	maxError = 64 << 10
	// maxHeader is the maximum size of the header of a response in bytes.
	maxHeader = 256 << 10
	// maxHandshake is the number of bytes of a WebSocket handshake, with that of TLS.
	maxHandshake = 512 << 10
	// maxRequest is the maximum size of a request in bytes. Source: Kubernetes v1.36, which limits the bodies of
	// requests to 3 MiB (MaxRequestBodyBytes).
	maxRequest = 3 << 20
	// maxElements is the number of elements that the lists of a request may have together, such as arguments and
	// variables. It leaves room for what the cloud adds until an answer has too many (package rawjson).
	maxElements = 20_000
	// largeObject is the size in bytes beyond which objects are decoded one at a time: they need many times their size.
	largeObject = 256 << 10
	// maxListed is the number of objects that one list may have, maxPages the number of its pages. Namespaces with
	// 10,000 Pods exist.
	maxListed = 100_000
	maxPages  = 2000
	// maxToken is the maximum length of a continue token in bytes.
	maxToken = 8 << 10
	// maxEvents is the number of Events of one Pod that are kept.
	maxEvents = 500
)

// The bounds of the status of a Pod, in bytes.
const (
	// maxName is the maximum length of a reason, an error code or an ID of a request.
	maxName = 128
	// maxID is the maximum length of an image and of the ID of a container.
	maxID = 512
	// maxTermination is the maximum length of the message of a container. Source: Kubernetes v1.36,
	// pkg/kubelet/container/runtime.go, MaxContainerTerminationMessageLength.
	maxTermination = 4096
	// maxMessages is the maximum length of all messages of the containers together, for each kind of state. Source:
	// Kubernetes v1.36, pkg/kubelet/kuberuntime (12 KiB for all containers of a Pod).
	maxMessages = 12 << 10
	// maxIDs is the maximum length of all images, of all their IDs and of all IDs of the containers.
	maxIDs = 64 << 10
	// maxContainers is the number of containers of a Pod whose status is kept.
	maxContainers = 1000
	// maxConditions is the number of conditions of a Pod that are kept. Kubernetes has about ten.
	maxConditions = 20
	// maxAddresses is the number of addresses of a Pod: Kubernetes allows one of IPv4 and one of IPv6.
	maxAddresses = 2
)

// Bound returns a status with texts and lists of limited length. It has what the cloud knows and Kubernetes does not:
// the resources, mounts and users of containers are left out. The argument is not changed. Bound(Bound(s)) is Bound(s).
func Bound(status corev1.PodStatus) corev1.PodStatus {
	bounded := corev1.PodStatus{
		Phase: corev1.PodPhase(policy.Clip(string(status.Phase), maxName)), StartTime: status.StartTime,
		Reason: policy.Clip(status.Reason, maxName), Message: policy.Clip(status.Message, policy.MaxMessage),
		PodIP: policy.Clip(status.PodIP, maxName), HostIP: policy.Clip(status.HostIP, maxName),
		InitContainerStatuses: boundContainers(status.InitContainerStatuses),
		ContainerStatuses:     boundContainers(status.ContainerStatuses),
	}
	for _, address := range status.PodIPs[:min(len(status.PodIPs), maxAddresses)] {
		bounded.PodIPs = append(bounded.PodIPs, corev1.PodIP{IP: policy.Clip(address.IP, maxName)})
	}
	for _, condition := range status.Conditions[:min(len(status.Conditions), maxConditions)] {
		condition.Type = corev1.PodConditionType(policy.Clip(string(condition.Type), maxName))
		condition.Status = corev1.ConditionStatus(policy.Clip(string(condition.Status), maxName))
		condition.Reason = policy.Clip(condition.Reason, maxName)
		condition.Message = policy.Clip(condition.Message, policy.MaxMessage)
		bounded.Conditions = append(bounded.Conditions, condition)
	}
	return bounded
}

func boundContainers(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	statuses = statuses[:min(len(statuses), maxContainers)]
	room, messages := maxIDs/max(len(statuses), 1), maxMessages/max(len(statuses), 1)
	var bounded []corev1.ContainerStatus
	for i := range statuses {
		s := &statuses[i]
		bounded = append(bounded, corev1.ContainerStatus{
			Name: policy.Clip(s.Name, maxName), Ready: s.Ready, Started: s.Started, RestartCount: s.RestartCount,
			State: boundState(s.State, room, messages), LastTerminationState: boundState(s.LastTerminationState, room,
				messages),
			Image: policy.Clip(s.Image, min(room, maxID)), ImageID: policy.Clip(s.ImageID, min(room, maxID)),
			ContainerID: policy.Clip(s.ContainerID, min(room, maxID)),
		})
	}
	return bounded
}

func boundState(state corev1.ContainerState, room, messages int) corev1.ContainerState {
	if waiting := state.Waiting; waiting != nil {
		state.Waiting = &corev1.ContainerStateWaiting{
			Reason: policy.Clip(waiting.Reason, maxName), Message: policy.Clip(waiting.Message, min(messages,
				maxTermination)),
		}
	}
	if ended := state.Terminated; ended != nil {
		bounded := *ended
		bounded.Reason = policy.Clip(ended.Reason, maxName)
		bounded.Message = policy.Clip(ended.Message, min(messages, maxTermination))
		bounded.ContainerID = policy.Clip(ended.ContainerID, min(room, maxID))
		state.Terminated = &bounded
	}
	return state
}

// tooLarge is the error of an answer that exceeds a bound. A retry may find a smaller one.
func tooLarge(format string, args ...any) *Error {
	return &Error{Kind: Transient, Message: "the answer of the cloud is too large: " + fmt.Sprintf(format, args...)}
}

// boundedReader fails when more is read than its bounds allow. Unlike io.LimitReader it does not pretend that the
// answer has ended.
type boundedReader struct {
	reader io.Reader
	// total is what may still be read, object what may still be read of the present object.
	total, object int64
}

// Read implements io.Reader.
func (r *boundedReader) Read(p []byte) (int, error) {
	switch {
	case r.object <= 0:
		return 0, tooLarge("an object has more than %d MiB", maxObject>>20)
	case r.total <= 0:
		return 0, tooLarge("a page has more than %d MiB", maxPage>>20)
	}
	n, err := r.reader.Read(p[:min(int64(len(p)), r.object, r.total)])
	r.object, r.total = r.object-int64(n), r.total-int64(n)
	return n, err
}

// next begins another object.
func (r *boundedReader) next() { r.object = maxObject }

// EachPage calls list for each page of a list. list sets what it needs from options, and returns the continue token of
// the next page and the number of objects in this one. EachPage returns an error if the list does not end: the same
// token comes twice, or there are too many pages or objects.
func EachPage(options ListOptions, list func(options ListOptions) (next string, objects int, err error)) error {
	objects := 0
	for pages := 1; ; pages++ {
		next, n, err := list(options)
		if err != nil {
			return err
		}
		objects += n
		switch {
		case next == "":
			return nil
		case next == options.Continue:
			return tooLarge("a list has the same continue token for two pages")
		case len(next) > maxToken:
			return tooLarge("a continue token has more than %d KiB", maxToken>>10)
		case pages >= maxPages:
			return tooLarge("a list has more than %d pages", maxPages)
		case objects > maxListed:
			return tooLarge("a list has more than %d objects", maxListed)
		}
		options.Continue = next
	}
}
