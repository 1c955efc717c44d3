package ccisim

import (
	"github.com/spillway-k8s/spillway/test/ccisim/api"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// The types and constants that users of the simulator need, so that they import this package only.
type (
	Credential   = api.Credential
	Subnet       = api.Subnet
	RequestCount = api.RequestCount
	DroppedField = api.DroppedField
	PodRecord    = store.PodRecord

	Fault       = faults.Fault
	FaultKind   = faults.Kind
	Policies    = faults.Policies
	FieldPolicy = faults.FieldPolicy
	EventAccess = faults.EventAccess
	LimitPolicy = faults.LimitPolicy

	Namespace             = objects.Namespace
	Network               = objects.Network
	Network1              = objects.Network1
	Pod                   = objects.Pod
	ConfigMap             = objects.ConfigMap
	Secret                = objects.Secret
	Event                 = objects.Event
	PersistentVolume      = objects.PersistentVolume
	PersistentVolumeClaim = objects.PersistentVolumeClaim
	ImageSnapshot         = objects.ImageSnapshot
)

// The kinds of faults and the values of policies.
const (
	Throttle        = faults.Throttle
	ServerError     = faults.ServerError
	Arrears         = faults.Arrears
	NoAgency        = faults.NoAgency
	AgencyQuota     = faults.AgencyQuota
	NotListed       = faults.NotListed
	Latency         = faults.Latency
	LoseAnswer      = faults.LoseAnswer
	HalfBody        = faults.HalfBody
	DuplicateEvents = faults.DuplicateEvents

	SoldOut        = faults.SoldOut
	IPInsufficient = faults.IPInsufficient
	NetworkFailed  = faults.NetworkFailed
	ImagePull      = faults.ImagePull
	HoldFinalizer  = faults.HoldFinalizer

	DropFields       = faults.DropFields
	RefuseFields     = faults.RefuseFields
	KubernetesLimits = faults.KubernetesLimits
	DocumentedLimits = faults.DocumentedLimits
	EventsListed     = faults.EventsListed
	EventsWatched    = faults.EventsWatched
	EventsAbsent     = faults.EventsAbsent
)

// The names with which Pods configure the simulator: see packages objects and podlife.
const (
	ProcessImage       = objects.ProcessImage
	BehaviorPrefix     = podlife.BehaviorPrefix
	BehaviorRunSeconds = podlife.BehaviorRunSeconds
)

// LoadCredentials reads a YAML file with one credential or a list: see package api.
func LoadCredentials(file string) ([]Credential, error) { return api.LoadCredentials(file) }
