package ccisim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// BehaviourPrefix begins the annotations by which a Pod tells the simulator how its containers behave. The real service knows none of
// them. A key with ".<container>" behind it is for that container alone and wins; a key without it is for all containers but init
// containers. A value that cannot be read is answered with 400, since it would make a test mean something else.
const BehaviourPrefix = "ccisim.spillway.io/"

const (
	// BehaviourRunSeconds is how long a container runs before it ends by itself: a decimal number, or "forever". Without it a container runs
	// for ever in a Pod with restartPolicy Always, and for Config.RunTime otherwise.
	BehaviourRunSeconds = BehaviourPrefix + "run-seconds"
	// BehaviourExitCode is what it ends with, 0 to 255. Default 0.
	BehaviourExitCode = BehaviourPrefix + "exit-code"
	// BehaviourCrashLoop: "true" ends the container with 1 soon after each start.
	BehaviourCrashLoop = BehaviourPrefix + "crash-loop"
	// BehaviourReadySeconds passes between a container's start and its readiness: a decimal number, or "never". Default: the initial delays
	// of its startup and readiness probes.
	BehaviourReadySeconds = BehaviourPrefix + "ready-seconds"
	// BehaviourStopSeconds is how long a container takes to end after SIGTERM: a decimal number, or "never". The grace period cuts it short
	// with exit code 137. Default Config.StopDelay.
	BehaviourStopSeconds = BehaviourPrefix + "stop-seconds"
	// BehaviourStopCode is what it ends with after SIGTERM. Default 0.
	BehaviourStopCode = BehaviourPrefix + "stop-exit-code"
	// BehaviourLogLines is how many lines a container writes as it starts, 0 to 10000. Default 1.
	BehaviourLogLines = BehaviourPrefix + "log-lines"
	// BehaviourImage: "missing" makes the image impossible to pull. So is, in any case, one of which a path element behind the first begins
	// with "missing".
	BehaviourImage = BehaviourPrefix + "image"
	// BehaviourCPU and BehaviourMemory are what a container's exporter tells: cores in use, a decimal number, and bytes. Defaults 0.01 and 16 MiB.
	BehaviourCPU    = BehaviourPrefix + "cpu-cores"
	BehaviourMemory = BehaviourPrefix + "memory-bytes"
)

const (
	defaultCores  = 0.01
	defaultMemory = 16 << 20
)

// never stands for a time that does not come.
const never = time.Duration(1<<63 - 1)

// behaviour is what one container does.
type behaviour struct {
	// runFor is how long it runs; never for ever.
	runFor   time.Duration
	exitCode int32
	readyIn  time.Duration
	stopIn   time.Duration
	stopCode int32
	logLines int
	noImage  bool
}

// setting reads an annotation for a container; init containers see only their own.
func setting(annotations map[string]string, name, container string, init bool) string {
	if value, ok := annotations[name+"."+container]; ok {
		return value
	}
	if init {
		return ""
	}
	return annotations[name]
}

// overrideSeconds reads seconds, or the word for never, into d when the annotation is set.
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

// overrideNumber reads a number from 0 to most into n when the annotation is set.
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

// apply reads all annotations over what b holds, for one container.
func (b *behaviour) apply(annotations map[string]string, container string, init bool, crashAfter time.Duration) error {
	get := func(name string) string { return setting(annotations, name, container, init) }
	if get(BehaviourCrashLoop) == "true" {
		b.runFor, b.exitCode = crashAfter, 1
	}
	b.noImage = get(BehaviourImage) == "missing"
	for _, read := range []struct {
		name string
		err  error
	}{
		{BehaviourRunSeconds, overrideSeconds(&b.runFor, get(BehaviourRunSeconds), "forever")},
		{BehaviourReadySeconds, overrideSeconds(&b.readyIn, get(BehaviourReadySeconds), "never")},
		{BehaviourStopSeconds, overrideSeconds(&b.stopIn, get(BehaviourStopSeconds), "never")},
		{BehaviourExitCode, overrideNumber(&b.exitCode, get(BehaviourExitCode), 255)},
		{BehaviourStopCode, overrideNumber(&b.stopCode, get(BehaviourStopCode), 255)},
		{BehaviourLogLines, overrideNumber(&b.logLines, get(BehaviourLogLines), maxLogLines)},
	} {
		if read.err != nil {
			return fmt.Errorf("annotation %s: %w", read.name, read.err)
		}
	}
	return nil
}

// missingImage tells images that no registry has: those with a path element that begins with "missing".
func missingImage(image string) bool {
	for i, part := range strings.Split(image, "/") {
		if i > 0 && strings.HasPrefix(part, "missing") {
			return true
		}
	}
	return false
}
