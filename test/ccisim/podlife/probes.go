package podlife

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// probe runs the probes of a process until it ends: first the startup probe, then the others. Without a probe, a
// process has started and is ready at once.
func (c *Controller) probe(pod *objects.Pod, p *process) {
	spec := p.spec
	p.started, p.ready = spec.StartupProbe == nil, spec.ReadinessProbe == nil
	if spec.StartupProbe == nil && spec.ReadinessProbe == nil && spec.LivenessProbe == nil {
		return
	}
	go func() {
		started := spec.StartupProbe == nil
		if !started {
			c.follow(pod, p, spec.StartupProbe, func(ok bool) (more bool) {
				started = ok
				c.found(p, func() { p.started, p.failed = ok, !ok })
				return false
			})
		}
		if !started {
			return
		}
		if spec.LivenessProbe != nil {
			go c.follow(pod, p, spec.LivenessProbe, func(ok bool) (more bool) {
				if !ok {
					c.found(p, func() { p.failed = true })
				}
				return ok
			})
		}
		if spec.ReadinessProbe != nil {
			c.follow(pod, p, spec.ReadinessProbe, func(ok bool) (more bool) {
				c.found(p, func() { p.ready = ok })
				return true
			})
		}
	}()
}

// found records what a probe has found, and shows it in the Pod.
func (c *Controller) found(p *process, record func()) {
	c.store.Update(func(tx store.Tx) {
		record()
		c.Enqueue(tx, objects.Pods, p.pod)
	})
}

// showProbes shows in the status of a container what its probes have found. A container whose startup or liveness probe
// has failed ends.
func (r *podReconciler) showProbes(status *corev1.ContainerStatus, p *process) {
	if p.failed {
		p.terminate(r.now)
		r.stopProcess(p, p.terminated.Add(gracePeriod(r.pod)))
	}
	started, ready := p.started, p.started && p.ready
	if status.Started == nil || *status.Started != started || status.Ready != ready {
		status.Started, status.Ready = &started, ready
		r.changed = true
	}
}

// follow runs a probe until the process ends, and reports each result that its thresholds confirm until report returns
// false. Missing values are those of Kubernetes.
func (c *Controller) follow(pod *objects.Pod, p *process, probe *corev1.Probe, report func(ok bool) (more bool)) {
	period := seconds(int64(cmp.Or(probe.PeriodSeconds, 10)))
	successes, failures := 0, 0
	for wait := seconds(int64(probe.InitialDelaySeconds)); ; wait = period {
		select {
		case <-p.ended:
			return
		case <-c.cfg.Clock.After(wait):
		}
		if err := c.try(pod, p, probe); err == nil {
			successes, failures = successes+1, 0
		} else {
			successes, failures = 0, failures+1
		}
		isSuccess := successes == int(cmp.Or(probe.SuccessThreshold, 1))
		isFailure := failures == int(cmp.Or(probe.FailureThreshold, 3))
		if (isSuccess || isFailure) && !report(isSuccess) {
			return
		}
	}
}

// try runs a probe once.
func (c *Controller) try(pod *objects.Pod, p *process, probe *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(context.Background(), seconds(int64(cmp.Or(probe.TimeoutSeconds, 1))))
	defer cancel()
	switch {
	case probe.Exec != nil && len(probe.Exec.Command) > 0:
		run, err := c.commandIn(ctx, pod, p, probe.Exec.Command)
		if err != nil {
			return err
		}
		return c.runOnPipes(run, nil, nil, nil)
	case probe.HTTPGet != nil:
		return tryHTTP(ctx, pod, p.spec, probe.HTTPGet)
	case probe.TCPSocket != nil:
		address, err := probeAddress(pod, p.spec, probe.TCPSocket.Host, probe.TCPSocket.Port)
		if err != nil {
			return err
		}
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	return errors.New("the simulated cloud runs probes of the kinds exec, httpGet and tcpSocket")
}

// tryHTTP succeeds with a response from 200 to 399.
func tryHTTP(ctx context.Context, pod *objects.Pod, spec *corev1.Container, get *corev1.HTTPGetAction) error {
	address, err := probeAddress(pod, spec, get.Host, get.Port)
	if err != nil {
		return err
	}
	target, err := url.Parse(get.Path)
	if err != nil {
		return err
	}
	target.Scheme, target.Host = "http", address
	if get.Scheme == corev1.URISchemeHTTPS {
		target.Scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	for _, header := range get.HTTPHeaders {
		request.Header.Add(header.Name, header.Value)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // As in the kubelet.
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

// probeAddress returns the host:port of a probe. The host is the Pod, and the port may have the name of one of the
// container.
func probeAddress(pod *objects.Pod, spec *corev1.Container, host string, port intstr.IntOrString) (string, error) {
	number := port.IntValue()
	for _, named := range spec.Ports {
		if port.Type == intstr.String && named.Name == port.StrVal {
			number = int(named.ContainerPort)
		}
	}
	if number <= 0 {
		return "", fmt.Errorf("container %s has no port %s", spec.Name, port.String())
	}
	return net.JoinHostPort(cmp.Or(host, pod.Status.PodIP), strconv.Itoa(number)), nil
}
