package system

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// timeout is how long a part may take to become ready on a busy machine.
const timeout = 3 * time.Minute

// pollInterval is the interval between two checks of a condition.
const pollInterval = 50 * time.Millisecond

// Endpoint returns the URL of the port that the process serves, without a path. For a vnode it is the kubelet port.
func (s *System) Endpoint(name string) string {
	switch family(name) {
	case APIServer, ControllerManager, Scheduler, Admission, vnode:
		return "https://" + s.address(name)
	case Extender:
		if s.config.Shape.Topology == TopologyService {
			return "https://" + s.address(name)
		}
	}
	return "http://" + s.address(name)
}

// ServiceEndpoint returns the URL at which clients call a program, Extender or Admission: that of the process, or of
// the forwarder in front of several.
func (s *System) ServiceEndpoint(program string) string {
	switch {
	case program == Extender && s.config.Shape.Topology == TopologyService:
		return "https://" + s.address(Forwarder)
	case program == Admission && s.config.Shape.HA:
		return "https://" + s.address(AdmissionForwarder)
	}
	return s.Endpoint(program)
}

// HealthEndpoint returns the URL of the port where the process serves /readyz and, if it has metrics, /metrics.
func (s *System) HealthEndpoint(name string) string {
	if i, ok := vnodeIndex(name); ok {
		return "http://" + address(s.vnodeHealthPort(i))
	}
	if i, ok := s.replicaIndex(name); ok {
		return "http://" + address(s.replicaHealthPort(i))
	}
	if offset, ok := map[string]int{
		Admission: admissionHealthPort, Second(Admission): secondAdmissionHealthPort, Forwarder: forwarderHealthPort,
		AdmissionForwarder: admissionForwarderHealthPort,
	}[name]; ok {
		return "http://" + address(s.state.FirstPort+offset)
	}
	return s.Endpoint(name)
}

// healthAddress returns the address of HealthEndpoint.
func (s *System) healthAddress(name string) string {
	return strings.TrimPrefix(s.HealthEndpoint(name), "http://")
}

func (s *System) address(name string) string { return address(s.port(name)) }

func (s *System) port(name string) int {
	if i, ok := vnodeIndex(name); ok {
		return s.vnodePort(i)
	}
	if i, ok := s.replicaIndex(name); ok {
		return s.state.FirstPort + firstReplicaPort + 2*i
	}
	return s.state.FirstPort + map[string]int{
		Etcd: etcdPort, APIServer: apiServerPort, ControllerManager: controllerManagerPort, Scheduler: schedulerPort,
		Second(Scheduler): secondSchedulerPort, KWOK: kwokPort, CCISim: ccisimPort, Extender: extenderPort,
		Forwarder: extenderPort, Admission: admissionPort, Second(Admission): secondAdmissionPort,
		AdmissionForwarder: admissionForwarderPort, OtherScheduler: otherSchedulerPort,
	}[name]
}

// vnodePort returns the kubelet port of the i-th vnode process. With HA it is the first of one for each virtual node.
func (s *System) vnodePort(i int) int {
	first := s.state.FirstPort + firstVNodePort
	if shape := s.config.Shape; shape.HA {
		return first + shape.vnodes() + i*shape.VirtualNodes
	}
	return first + 2*i
}

func (s *System) vnodeHealthPort(i int) int {
	if s.config.Shape.HA {
		return s.state.FirstPort + firstVNodePort + i
	}
	return s.vnodePort(i) + 1
}

func (s *System) replicaHealthPort(i int) int { return s.state.FirstPort + firstReplicaPort + 2*i + 1 }

// replicaIndex returns the index of the extender behind the Forwarder. It returns false if the process is none.
func (s *System) replicaIndex(name string) (int, bool) {
	if s.config.Shape.Topology != TopologyService {
		return 0, false
	}
	i := slices.Index(s.config.Shape.extenders(), name)
	return i, i >= 0
}

// args returns the flags of the process. It returns false if the system has no process of that name.
func (s *System) args(name string) ([]string, bool) {
	if name != Etcd && name != APIServer && !slices.Contains(s.config.processes(), name) {
		return nil, false
	}
	if i, ok := vnodeIndex(name); ok {
		return s.vnodeArgs(i), true
	}
	if _, ok := s.replicaIndex(name); ok {
		return s.replicaArgs(name), true
	}
	switch family(name) {
	case Etcd:
		return s.etcdArgs(), true
	case APIServer:
		return s.apiServerArgs(), true
	case ControllerManager:
		return s.controllerManagerArgs(), true
	case Scheduler:
		return s.schedulerArgs(name), true
	case KWOK:
		return s.kwokArgs(), true
	case CCISim:
		return s.ccisimArgs(), true
	case Extender:
		return s.extenderArgs(), true
	case Admission:
		return s.admissionArgs(name), true
	}
	if name == AdmissionForwarder {
		return s.forwarderArgs(name, Admission, Second(Admission)), true
	}
	return s.forwarderArgs(name, s.config.Shape.extenders()...), true
}

// launch starts those of the processes that are not running.
func (s *System) launch(names ...string) error {
	for _, name := range names {
		args, ok := s.args(name)
		if !ok {
			return fmt.Errorf("starting %s: this system has no such process", name)
		}
		if s.processes.find(name) != nil {
			continue
		}
		args = slices.Concat(args, s.config.Args[family(name)], s.config.Args[name])
		if err := s.processes.start(name, s.binary(family(name)), args); err != nil {
			return err
		}
	}
	return nil
}

// awaitReady returns when all the processes report that they are ready.
func (s *System) awaitReady(ctx context.Context, names ...string) error {
	for _, name := range names {
		path := "/readyz"
		_, replica := s.replicaIndex(name)
		if replica || name == ControllerManager || name == KWOK { // Only one replica is ready at a time.
			path = "/healthz"
		}
		ready := func(ctx context.Context) error { return s.probe(ctx, s.HealthEndpoint(name)+path) }
		err := s.await(ctx, name, ready)
		for try := 1; err != nil && name == KWOK && s.processes.find(KWOK) == nil && try < kwokTries; try++ {
			s.report("%s has crashed at its start and is started again", name)
			if err = s.launch(name); err == nil {
				err = s.await(ctx, name, ready)
			}
		}
		if err != nil {
			return err
		}
		s.report("%s is ready", name)
	}
	return nil
}

// kwokTries is how often KWOK is started. If version 0.8.0 finds both Nodes and Pods when it starts, two of its
// goroutines write to one map of its CEL library. Sometimes it crashes with "concurrent map writes".
const kwokTries = 5

func (s *System) probe(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s returns %s: %s", url, response.Status, body)
	}
	return nil
}

// await calls the check until it succeeds. It fails when the process, on which the check depends, ends, or after the
// timeout. The error contains the last error of the check, and the end of the log of the process.
func (s *System) await(ctx context.Context, name string, check func(context.Context) error) error {
	var wrong error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		if wrong = check(ctx); wrong == nil {
			return true, nil
		}
		if s.processes.find(name) == nil {
			return false, fmt.Errorf("the process has ended")
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; %w\nThe end of %s:\n%s",
			name, err, wrong, s.LogFile(name), s.processes.tail(name))
	}
	return nil
}
