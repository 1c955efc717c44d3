package podlife

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// BehaviorPrefix begins the annotations of a Pod that say how the simulator's containers behave. The real service knows
// none of them. A key with ".<container>" appended applies to that container alone, and wins. A key without it applies
// to all containers but init containers. A value that cannot be read is refused with 400, because a test would then
// mean something else.
const BehaviorPrefix = "ccisim.spillway.io/"

const (
	// BehaviorRunSeconds is how long a container runs before it ends: a decimal number, or "forever". Without it a
	// container runs forever in a Pod with restartPolicy Always, and for Config.RunTime otherwise.
	BehaviorRunSeconds = BehaviorPrefix + "run-seconds"
	// BehaviorExitCode is the exit code, 0 to 255. Default 0.
	BehaviorExitCode = BehaviorPrefix + "exit-code"
	// BehaviorCrashLoop: "true" ends the container with 1 soon after each start.
	BehaviorCrashLoop = BehaviorPrefix + "crash-loop"
	// BehaviorReadySeconds passes between a container's start and its readiness: a decimal number, or "never". Default:
	// the initial delays of its startup and readiness probes.
	BehaviorReadySeconds = BehaviorPrefix + "ready-seconds"
	// BehaviorStopSeconds is how long a container takes to end after SIGTERM: a decimal number, or "never". The end of
	// the grace period ends it with exit code 137. Default Config.StopDelay.
	BehaviorStopSeconds = BehaviorPrefix + "stop-seconds"
	// BehaviorStopCode is the exit code after SIGTERM. Default 0.
	BehaviorStopCode = BehaviorPrefix + "stop-exit-code"
	// BehaviorLogLines is how many lines a container writes at its start, 0 to 10000. Default 1.
	BehaviorLogLines = BehaviorPrefix + "log-lines"
	// BehaviorImage: "missing" makes the image impossible to pull. An image with a path element, other than the first,
	// that begins with "missing" cannot be pulled either.
	BehaviorImage = BehaviorPrefix + "image"
	// BehaviorCPU and BehaviorMemory are what the Pod's exporter reports of a container: cores in use, a decimal number,
	// and bytes. Defaults 0.01 and 16 MiB.
	BehaviorCPU    = BehaviorPrefix + "cpu-cores"
	BehaviorMemory = BehaviorPrefix + "memory-bytes"
)

const (
	defaultCores  = 0.01
	defaultMemory = 16 << 20
)

// never stands for a time that does not come.
const never = time.Duration(1<<63 - 1)

// behavior is what one container does.
type behavior struct {
	// runFor is how long it runs. Never means forever.
	runFor   time.Duration
	exitCode int32
	readyIn  time.Duration
	stopIn   time.Duration
	stopCode int32
	logLines int
	noImage  bool
}

// CheckBehavior returns an error if an annotation of the Pod under BehaviorPrefix cannot be read.
func (c *Controller) CheckBehavior(pod *objects.Pod) error {
	for _, container := range objects.AllContainers(pod) {
		if _, err := c.behaviorOf(pod, container); err != nil {
			return err
		}
	}
	return nil
}

// behaviorOf returns what a container does according to the annotations of its Pod.
func (c *Controller) behaviorOf(pod *objects.Pod, container *corev1.Container) (behavior, error) {
	b := c.defaultBehavior(pod, container)
	return b, b.apply(pod.Annotations, container.Name, isInit(pod, container), c.cfg.StartDelay)
}

// effectiveBehavior is behaviorOf, or the default if an annotation cannot be read: new Pods with such an annotation are
// refused, but a later change of it is ignored.
func (c *Controller) effectiveBehavior(pod *objects.Pod, container *corev1.Container) behavior {
	b, err := c.behaviorOf(pod, container)
	if err != nil {
		return c.defaultBehavior(pod, container)
	}
	return b
}

// defaultBehavior returns what a container does without annotations.
func (c *Controller) defaultBehavior(pod *objects.Pod, container *corev1.Container) behavior {
	b := behavior{runFor: never, stopIn: c.cfg.StopDelay, logLines: 1}
	switch {
	case objects.IsSidecar(container), c.isProcess(container):
	case isInit(pod, container):
		b.runFor = c.cfg.InitRunTime
	case pod.Spec.RestartPolicy != corev1.RestartPolicyAlways:
		b.runFor = c.cfg.RunTime
	}
	for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe} {
		if probe != nil {
			b.readyIn += seconds(int64(probe.InitialDelaySeconds))
		}
	}
	return b
}

// setting returns the value of an annotation for a container. For init containers only their own annotations count.
func setting(annotations map[string]string, name, container string, init bool) string {
	if value, ok := annotations[name+"."+container]; ok {
		return value
	}
	if init {
		return ""
	}
	return annotations[name]
}

// overrideSeconds sets d to a number of seconds, or to never if the text is neverWord. An empty text changes nothing.
func overrideSeconds(d *time.Duration, text, neverWord string) error {
	if text == "" {
		return nil
	}
	if text == neverWord {
		*d = never
		return nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 || seconds > 1e9 {
		return fmt.Errorf("%q is neither a number of seconds nor %q", text, neverWord)
	}
	*d = time.Duration(seconds * float64(time.Second))
	return nil
}

// overrideNumber sets n to a number from 0 to most. An empty text changes nothing.
func overrideNumber[T int | int32](n *T, text string, most int) error {
	if text == "" {
		return nil
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < 0 || value > most {
		return fmt.Errorf("%q is not a number from 0 to %d", text, most)
	}
	*n = T(value)
	return nil
}

// apply overrides b with all annotations for one container.
func (b *behavior) apply(annotations map[string]string, container string, init bool, crashAfter time.Duration) error {
	get := func(name string) string { return setting(annotations, name, container, init) }
	if get(BehaviorCrashLoop) == "true" {
		b.runFor, b.exitCode = crashAfter, 1
	}
	b.noImage = get(BehaviorImage) == "missing"
	for _, read := range []struct {
		name string
		err  error
	}{
		{BehaviorRunSeconds, overrideSeconds(&b.runFor, get(BehaviorRunSeconds), "forever")},
		{BehaviorReadySeconds, overrideSeconds(&b.readyIn, get(BehaviorReadySeconds), "never")},
		{BehaviorStopSeconds, overrideSeconds(&b.stopIn, get(BehaviorStopSeconds), "never")},
		{BehaviorExitCode, overrideNumber(&b.exitCode, get(BehaviorExitCode), 255)},
		{BehaviorStopCode, overrideNumber(&b.stopCode, get(BehaviorStopCode), 255)},
		{BehaviorLogLines, overrideNumber(&b.logLines, get(BehaviorLogLines), maxLogLines)},
	} {
		if read.err != nil {
			return fmt.Errorf("annotation %s: %w", read.name, read.err)
		}
	}
	return nil
}

// missingImage reports whether no registry has the image: a path element, other than the first, begins with "missing".
func missingImage(image string) bool {
	for i, part := range strings.Split(image, "/") {
		if i > 0 && strings.HasPrefix(part, "missing") {
			return true
		}
	}
	return false
}
