package ccisim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Annotations by which a Pod tells the simulator how its containers behave. The real service knows none of them. A key with
// ".<container>" behind it is for that container alone and wins; a key without it is for all containers but init containers.
const (
	behaviourPrefix = "ccisim.spillway.io/"

	// behaviourRunSeconds is how long a container runs before it ends by itself: a decimal number. Without it a container runs for ever
	// in a Pod with restartPolicy Always, and for Config.RunTime otherwise. "forever" is for ever.
	behaviourRunSeconds = behaviourPrefix + "run-seconds"
	// behaviourExitCode is what it ends with, 0 to 255. Default 0.
	behaviourExitCode = behaviourPrefix + "exit-code"
	// behaviourCrashLoop: "true" ends the container with 1 soon after each start.
	behaviourCrashLoop = behaviourPrefix + "crash-loop"
	// behaviourReadySeconds passes between a container's start and its readiness. Default: what its probes' initial delays make. "never"
	// is never.
	behaviourReadySeconds = behaviourPrefix + "ready-seconds"
	// behaviourStopSeconds is how long a container takes to end after SIGTERM; the grace period cuts it short with exit code 137.
	behaviourStopSeconds = behaviourPrefix + "stop-seconds"
	// behaviourStopCode is what it ends with after SIGTERM. Default 0.
	behaviourStopCode = behaviourPrefix + "stop-exit-code"
	// behaviourLogLines is how many lines a container writes as it starts. Default 1.
	behaviourLogLines = behaviourPrefix + "log-lines"
	// behaviourImage: "missing" makes images impossible to pull, as an image with a path element "missing..." is in any case.
	behaviourImage = behaviourPrefix + "image"
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

// override reads seconds, or the word for never, into d when the annotation is set.
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
	if get(behaviourCrashLoop) == "true" {
		b.runFor, b.exitCode = crashAfter, 1
	}
	b.noImage = get(behaviourImage) == "missing"
	for _, read := range []struct {
		name string
		err  error
	}{
		{behaviourRunSeconds, overrideSeconds(&b.runFor, get(behaviourRunSeconds), "forever")},
		{behaviourReadySeconds, overrideSeconds(&b.readyIn, get(behaviourReadySeconds), "never")},
		{behaviourStopSeconds, overrideSeconds(&b.stopIn, get(behaviourStopSeconds), "never")},
		{behaviourExitCode, overrideNumber(&b.exitCode, get(behaviourExitCode), 255)},
		{behaviourStopCode, overrideNumber(&b.stopCode, get(behaviourStopCode), 255)},
		{behaviourLogLines, overrideNumber(&b.logLines, get(behaviourLogLines), maxLogLines)},
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
