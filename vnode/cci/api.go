package cci

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// API is the part of CCI that a virtual node uses.
//
// Each call may block for the request timeout times the number of attempts, plus the delay of the rate limit. It
// returns immediately when ctx ends, with the error of ctx. The caller owns the results. Arguments are neither kept nor
// changed. All methods are safe for concurrent use. Reads and deletions are retried after transient errors. In addition
// to the errors named below, each call can return Throttled, Denied, NotOffered, Permanent and Transient, and each
// creation QuotaExceeded: see Kind for how to handle them. A 404 that does not say what was not found costs one more
// request, a list. While the service does not answer at all, calls return Transient immediately, without sending a
// request. Source: CCI API, the pages of the resources.
type API interface {
	// GetNamespace returns NotFound if the namespace does not exist, or was created in the other generation of CCI.
	GetNamespace(ctx context.Context, name string) (*Namespace, error)
	// CreateNamespace is not retried. It returns AlreadyExists if the name is taken. The namespace becomes Active some
	// time after the call returns.
	CreateNamespace(ctx context.Context, namespace *Namespace) (*Namespace, error)
	// DeleteNamespace starts the deletion of a namespace and of all its contents, and returns before it is complete. It
	// returns NotFound if the namespace does not exist, and Conflict if its UID differs from options.
	DeleteNamespace(ctx context.Context, name string, options DeleteOptions) error
	// NamespaceContents lists the objects that users and programs have created in a namespace. Networks
	// and objects that the service itself keeps there are left out. It returns NotFound if the namespace does not
	// exist, Transient if an object costs too much to decode, and NotOffered if the service answers 404 for a resource
	// without saying that the region lacks it: there may be such objects.
	NamespaceContents(ctx context.Context, namespace string) ([]NamespaceObject, error)

	// NamespaceQuotas lists the quotas of a namespace. It returns NotOffered with CCI 2.0 and in a region without them,
	// and NotFound if the namespace does not exist. That the key may not read them is no fault: see QuotasOperation.
	NamespaceQuotas(ctx context.Context, namespace string) ([]corev1.ResourceQuota, error)

	// ListNetworks lists the networks of a namespace. It returns NotFound if the namespace does not exist.
	ListNetworks(ctx context.Context, namespace string) ([]Network, error)
	// GetNetwork returns NotFound if the network does not exist.
	GetNetwork(ctx context.Context, namespace, name string) (*Network, error)
	// CreateNetwork is not retried. It returns AlreadyExists if the name is taken. The network becomes Ready some time
	// after the call returns.
	CreateNetwork(ctx context.Context, namespace string, network *Network) (*Network, error)
	// UpdateNetwork changes a network, and keeps everything else as it is. Pods keep their addresses. It is not retried.
	// It returns NotFound if the network does not exist, Conflict if it is changed at the same time, and Permanent with
	// CCI 1.0, whose networks do not change.
	UpdateNetwork(ctx context.Context, namespace, name string, change NetworkChange) error

	// CreatePod is not retried: after Transient or Throttled the Pod may still exist. It returns AlreadyExists or
	// Conflict if the name is taken, QuotaExceeded if a quota has no room for it, and Permanent if the service will
	// never accept this Pod. The Pod is Pending when the call returns.
	CreatePod(ctx context.Context, namespace string, pod *Pod) (*Pod, error)
	// GetPod returns NotFound if the Pod does not exist. This and NotFound of DeletePod are the only proofs that a Pod is
	// gone.
	GetPod(ctx context.Context, namespace, name string) (*Pod, error)
	// ListPods returns one page. It returns Expired if Continue is too old: list again from the start. The service may
	// ignore Limit.
	ListPods(ctx context.Context, namespace string, options ListOptions) (*PodList, error)
	// WatchPods streams changes since ResourceVersion until the caller closes the stream, ctx ends or the service ends
	// the stream. It returns Expired if ResourceVersion is too old: list again.
	WatchPods(ctx context.Context, namespace string, options WatchOptions) (PodWatch, error)
	// DeletePod starts the deletion of a Pod and returns before it is complete. It returns NotFound if the Pod does not
	// exist, and Conflict if its UID differs from options. It may be called again with a shorter grace period.
	DeletePod(ctx context.Context, namespace, name string, options DeleteOptions) error
	// PodEvents lists the Events of one Pod, in no particular order. It returns NotOffered if the region has no Events.
	PodEvents(ctx context.Context, namespace, name string, uid types.UID) ([]corev1.Event, error)
	// PodLog streams the log of one container. The caller closes the stream. It returns Permanent (HTTP 400) if the
	// container has not started.
	PodLog(ctx context.Context, namespace, name string, options LogOptions) (io.ReadCloser, error)
	// PodExec runs a command in a container. It blocks until the command ends, the stream breaks or ctx ends; the
	// request timeout does not apply. It returns nil if the command exits with 0, and an unwrapped
	// k8s.io/utils/exec.ExitError if it exits with another code. It returns Permanent if the command cannot run, and
	// Transient if the stream broke: the command may still be running. It is not retried. The caller closes the
	// streams. A read of Stdin may still block when PodExec returns.
	PodExec(ctx context.Context, namespace, name string, options ExecOptions, streams ExecStreams) error

	// CreateData is not retried. It returns AlreadyExists if the name is taken.
	CreateData(ctx context.Context, namespace string, data *Data) (*Data, error)
	// GetData returns NotFound if the object does not exist.
	GetData(ctx context.Context, namespace string, kind DataKind, name string) (*Data, error)
	// ListData returns one page, including the contents of the objects. It returns Expired if Continue is too old: list
	// again from the start.
	ListData(ctx context.Context, namespace string, kind DataKind, options ListOptions) (*DataList, error)
	// UpdateData replaces the whole object. It returns Conflict if the resourceVersion or the UID differs. It is not
	// retried. Running Pods see the change in their volumes some time later, and in their environment when a container
	// starts next.
	UpdateData(ctx context.Context, namespace string, data *Data) (*Data, error)
	// DeleteData returns NotFound if the object does not exist, and Conflict if its UID differs from options.
	DeleteData(ctx context.Context, namespace string, kind DataKind, name string, options DeleteOptions) error

	// CreateVolume is not retried. It returns AlreadyExists if the name is taken. All calls about volumes and claims
	// return NotOffered in a region without them.
	CreateVolume(ctx context.Context, volume *PersistentVolume) (*PersistentVolume, error)
	// GetVolume returns NotFound if the volume does not exist.
	GetVolume(ctx context.Context, name string) (*PersistentVolume, error)
	// ListVolumes returns all pages.
	ListVolumes(ctx context.Context, options ListOptions) ([]PersistentVolume, error)
	// DeleteVolume returns NotFound if the volume does not exist, and Conflict if its UID differs from options. Its
	// reclaim policy determines what happens to the data.
	DeleteVolume(ctx context.Context, name string, options DeleteOptions) error
	// CreateClaim is not retried. It returns AlreadyExists if the name is taken. The claim becomes Bound some time
	// after the call returns.
	CreateClaim(
		ctx context.Context, namespace string, claim *PersistentVolumeClaim,
	) (*PersistentVolumeClaim, error)
	// GetClaim returns NotFound if the claim does not exist.
	GetClaim(ctx context.Context, namespace, name string) (*PersistentVolumeClaim, error)
	// ListClaims returns all pages.
	ListClaims(ctx context.Context, namespace string, options ListOptions) ([]PersistentVolumeClaim, error)
	// DeleteClaim returns NotFound if the claim does not exist, and Conflict if its UID differs from options. A claim
	// that a Pod uses is deleted after the Pod.
	DeleteClaim(ctx context.Context, namespace, name string, options DeleteOptions) error

	// CreateSnapshot is not retried. It returns AlreadyExists if the name is taken. The snapshot becomes Available some
	// time after the call returns. All calls about snapshots return NotOffered in a region without them.
	CreateSnapshot(ctx context.Context, snapshot *ImageSnapshot) (*ImageSnapshot, error)
	// GetSnapshot returns NotFound if the snapshot does not exist.
	GetSnapshot(ctx context.Context, name string) (*ImageSnapshot, error)
	// ListSnapshots returns all pages.
	ListSnapshots(ctx context.Context, options ListOptions) ([]ImageSnapshot, error)
	// DeleteSnapshot starts the deletion of a snapshot, and of the Pod that makes it, and returns before it is complete.
	// It returns NotFound if the snapshot does not exist, and Conflict if its UID differs from options. Pods that have
	// started from the snapshot go on.
	DeleteSnapshot(ctx context.Context, name string, options DeleteOptions) error
}

// PodWatch is a stream of changes. Only Close is safe for concurrent use.
type PodWatch interface {
	// Next blocks until the next change. It returns io.EOF when the service has ended the stream regularly, Expired if
	// the resourceVersion is too old, and Transient if the stream broke.
	Next() (PodEvent, error)
	// Close ends the stream, after which Next returns. It may be called more than once.
	Close()
}

// PodEvent is one change. The Pod of a Bookmark has only a resourceVersion.
type PodEvent struct {
	Type watch.EventType
	Pod  *Pod
}

// ListOptions select objects.
type ListOptions struct {
	// LabelSelector has the syntax of Kubernetes. Empty selects all objects.
	LabelSelector string
	// Limit is the maximum number of objects in one page, 0 for no limit.
	Limit int64
	// Continue is the continue token of the previous page, empty for the first page.
	Continue string
	// Keep is called with each Pod of ListPods when it is read, and reports whether the page contains it. It may remove
	// what the caller does not need, so that no page is in memory as a whole. A retry may call it again for the same
	// Pod. Nil keeps all Pods as they are.
	Keep func(*Pod) bool
}

// WatchOptions select changes.
type WatchOptions struct {
	// LabelSelector is that of ListOptions.
	LabelSelector string
	// ResourceVersion is that of the list or of the last event.
	ResourceVersion string
	// Timeout is the time after which the service ends the stream. It bounds how long a broken connection goes
	// unnoticed.
	Timeout time.Duration
}

// EndedGraceSeconds is the grace period of a cloud Pod whose Pod the cluster no longer has, or has ended: the default
// of Kubernetes. The one in the spec does not count: a user may choose years and delete the Pod by force, and nothing
// in the cluster would show what the cloud bills.
const EndedGraceSeconds int64 = 30

// DeleteOptions describe a deletion.
type DeleteOptions struct {
	// UID is the UID in the cloud of the object to delete. If it is empty, the object of that name is deleted whatever
	// its UID.
	UID types.UID
	// GraceSeconds is the time in seconds for a graceful termination of a Pod, nil for the Pod's own grace period.
	GraceSeconds *int64
}

// LogOptions are the options of kubectl logs.
type LogOptions struct {
	Container string
	// Follow streams the log until the container ends.
	Follow bool
	// Previous selects the previous instance of the container.
	Previous bool
	// Timestamps adds a timestamp to each line.
	Timestamps bool
	// SinceSeconds, TailLines and LimitBytes limit the log, nil for no limit. TailLines 0 selects no existing line.
	SinceSeconds, TailLines, LimitBytes *int64
}

// ExecOptions describe a command.
type ExecOptions struct {
	Container string
	// Command is the program and its arguments. No shell interprets them.
	Command []string
	// TTY gives the command a terminal. Its standard output and standard error are then one stream.
	TTY bool
}

// ExecStreams are the streams of a command, nil for those that the caller does not use.
type ExecStreams struct {
	// Stdin is read to its end. The command does not see that end: the protocol of the service cannot express it.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resize delivers the sizes of the terminal.
	Resize <-chan TerminalSize
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct{ Width, Height uint16 }
