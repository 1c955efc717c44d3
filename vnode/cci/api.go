package cci

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// API is what a virtual node needs of the service.
//
// Every call may block for the client's request time-out times its tries, and for as long as the client holds itself back;
// it ends at once when ctx does, with the error of ctx. Answers belong to the caller. Arguments are not kept or changed.
// All methods may be called by many goroutines at once. Reads and deletions are repeated on errors that may pass. Beside the
// errors named below every call may return Throttled, Denied, Permanent and Transient; see Kind for what to do then. While the service
// answers nobody, calls end with Transient at once, without having been sent.
type API interface {
	// GetNamespace returns NotFound where there is none. One that was made in the other generation is not found either.
	GetNamespace(ctx context.Context, name string) (*Namespace, error)
	// CreateNamespace is not repeated; AlreadyExists where the name is taken. The namespace is Active some time later.
	CreateNamespace(ctx context.Context, namespace *Namespace) (*Namespace, error)
	// DeleteNamespace asks for the end of a namespace and of all that is in it, and returns before it has come. NotFound where there is none,
	// Conflict where that of the name has another UID than options say.
	DeleteNamespace(ctx context.Context, name string, options DeleteOptions) error
	// NamespaceContents lists what people or programs have put into a namespace, whoever they are; networks and what the service itself keeps there
	// are left out. NotFound where the namespace is missing.
	NamespaceContents(ctx context.Context, namespace string) ([]NamespaceObject, error)

	// ListNetworks lists the networks of a namespace; NotFound where the namespace is missing.
	ListNetworks(ctx context.Context, namespace string) ([]Network, error)
	// GetNetwork returns NotFound where there is none.
	GetNetwork(ctx context.Context, namespace, name string) (*Network, error)
	// CreateNetwork is not repeated; AlreadyExists where the name is taken. The network is Ready some time later.
	CreateNetwork(ctx context.Context, namespace string, network *Network) (*Network, error)

	// CreatePod is not repeated: after Transient or Throttled the Pod may exist nevertheless. AlreadyExists (or Conflict) where the
	// name is taken; Permanent where the service will never take this Pod. The Pod is Pending when the call returns.
	CreatePod(ctx context.Context, namespace string, pod *Pod) (*Pod, error)
	// GetPod returns NotFound where there is none: the only proof that a Pod is gone.
	GetPod(ctx context.Context, namespace, name string) (*Pod, error)
	// ListPods returns one page. Expired where Continue is too old: start again. The service may ignore Limit.
	ListPods(ctx context.Context, namespace string, options ListOptions) (*PodList, error)
	// WatchPods streams changes from ResourceVersion on until the caller closes the stream, ctx ends or the service ends it.
	// Expired where ResourceVersion is too old: list again.
	WatchPods(ctx context.Context, namespace string, options WatchOptions) (PodWatch, error)
	// DeletePod asks for the end of a Pod and returns before it has come. NotFound where there is none; Conflict where the Pod
	// of that name has another UID than options say. May be called again with a shorter grace.
	DeletePod(ctx context.Context, namespace, name string, options DeleteOptions) error
	// PodEvents lists what the service has noted of one Pod, in no order. NotFound where the region has no events.
	PodEvents(ctx context.Context, namespace, name string, uid types.UID) ([]corev1.Event, error)
	// PodLog streams the log of one container. The caller closes it. Permanent (400) where the container has not started.
	PodLog(ctx context.Context, namespace, name string, options LogOptions) (io.ReadCloser, error)
	// PodExec runs a command in a container and blocks until it has ended, the stream is cut or ctx ends; the service's time-outs do not
	// bound it. nil where the command ended with 0; an error that is k8s.io/utils/exec.ExitError, unwrapped, where it ended otherwise.
	// Permanent where it cannot be run; Transient where the stream was cut: the command may run on. Not repeated. The streams are the
	// caller's to close; a read of Stdin may still be under way when the call returns.
	PodExec(ctx context.Context, namespace, name string, options ExecOptions, streams ExecStreams) error

	// CreateData is not repeated; AlreadyExists where the name is taken.
	CreateData(ctx context.Context, namespace string, data *Data) (*Data, error)
	// GetData returns NotFound where there is none.
	GetData(ctx context.Context, namespace string, kind DataKind, name string) (*Data, error)
	// ListData returns one page, with what the objects hold. Expired where Continue is too old: start again.
	ListData(ctx context.Context, namespace string, kind DataKind, options ListOptions) (*DataList, error)
	// UpdateData replaces the object whole; Conflict where its resourceVersion is not the one given, or its UID is another. It is not
	// repeated. Running Pods see it in their volumes some time later, and in their environment when a container starts next.
	UpdateData(ctx context.Context, namespace string, data *Data) (*Data, error)
	// DeleteData returns NotFound where there is none, Conflict where that of the name has another UID than options say.
	DeleteData(ctx context.Context, namespace string, kind DataKind, name string, options DeleteOptions) error

	// CreateVolume is not repeated; AlreadyExists where the name is taken. Not all regions have volumes: those answer 404 without a reason,
	// which is Transient.
	CreateVolume(ctx context.Context, volume *PersistentVolume) (*PersistentVolume, error)
	// GetVolume returns NotFound where there is none.
	GetVolume(ctx context.Context, name string) (*PersistentVolume, error)
	// ListVolumes returns all pages.
	ListVolumes(ctx context.Context, options ListOptions) ([]PersistentVolume, error)
	// DeleteVolume returns NotFound where there is none, Conflict where that of the name has another UID than options say. What becomes of
	// the data its reclaim policy says.
	DeleteVolume(ctx context.Context, name string, options DeleteOptions) error
	// CreateClaim is not repeated; AlreadyExists where the name is taken. The claim is Bound some time later.
	CreateClaim(ctx context.Context, namespace string, claim *PersistentVolumeClaim) (*PersistentVolumeClaim, error)
	// GetClaim returns NotFound where there is none.
	GetClaim(ctx context.Context, namespace, name string) (*PersistentVolumeClaim, error)
	// ListClaims returns all pages.
	ListClaims(ctx context.Context, namespace string, options ListOptions) ([]PersistentVolumeClaim, error)
	// DeleteClaim is DeleteData for claims. One that a Pod uses is gone after the Pod is.
	DeleteClaim(ctx context.Context, namespace, name string, options DeleteOptions) error
}

// PodWatch is a stream of changes. Not for several goroutines at once, except Close.
type PodWatch interface {
	// Next blocks until the next change. io.EOF when the service has ended the stream properly, Expired when the version
	// is too old, Transient when the stream was cut.
	Next() (PodEvent, error)
	// Close ends the stream; Next then returns. May be called twice.
	Close()
}

// PodEvent is one change. A Bookmark's Pod has nothing but a resourceVersion.
type PodEvent struct {
	Type watch.EventType
	Pod  *Pod
}

// ListOptions choose Pods.
type ListOptions struct {
	// LabelSelector in the form of Kubernetes; empty for all.
	LabelSelector string
	// Limit is the most Pods in one page; 0 for no limit.
	Limit int64
	// Continue is PodList.Continue of the page before.
	Continue string
}

// WatchOptions choose changes.
type WatchOptions struct {
	// LabelSelector as in ListOptions.
	LabelSelector string
	// ResourceVersion is that of the list or of the last event.
	ResourceVersion string
	// Timeout is after how long the service ends the stream. A dead connection is noticed by then at the latest.
	Timeout time.Duration
}

// DeleteOptions say how a Pod ends.
type DeleteOptions struct {
	// UID is the cloud's UID of the Pod that is meant; empty for whichever has the name.
	UID types.UID
	// GraceSeconds is the time for a graceful end; nil for the Pod's own.
	GraceSeconds *int64
}

// LogOptions are those of kubectl logs.
type LogOptions struct {
	Container string
	// Follow goes on until the container ends.
	Follow bool
	// Previous is the container's run before the present one.
	Previous bool
	// Timestamps puts the time before each line.
	Timestamps bool
	// SinceSeconds, TailLines and LimitBytes cut the log; nil for no cut. TailLines 0 is "nothing of the past".
	SinceSeconds, TailLines, LimitBytes *int64
}

// ExecOptions say what to run and where.
type ExecOptions struct {
	Container string
	// Command is the program and its arguments, as they are: no shell comes between.
	Command []string
	// TTY gives the command a terminal; its output and errors are one stream then.
	TTY bool
}

// ExecStreams are the ends of a command; nil for those that the caller does not want.
type ExecStreams struct {
	// Stdin is read until it ends. Its end does not reach the command: the service's protocol has no word for it.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resize brings the terminal's sizes.
	Resize <-chan TerminalSize
}

// TerminalSize is in characters.
type TerminalSize struct{ Width, Height uint16 }
