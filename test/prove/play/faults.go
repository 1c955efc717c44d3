package play

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/proxy"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// Faults applies faults to a trial system.
type Faults struct {
	system *system.System
	log    *record.Log
	// asExtender and asScheduler are proxies between these clients and the API server. extender is the proxy between the
	// scheduler and the extender.
	asExtender, asScheduler *proxy.APIServer
	extender                *proxy.Extender
	// service is set if several extenders elect a leader.
	service bool
	// down has a lock for each process, which is held while a fault has ended the process.
	down sync.Map
}

// play applies faults one after another. It records the beginning and the end of each. Every fault ends, even after an
// error.
func (f *Faults) play(ctx context.Context, list []plan.Disturbance) error {
	counts := map[plan.Fault]int{}
	for _, d := range list {
		if err := pause(ctx, d.After); err != nil {
			return err
		}
		counts[d.Fault]++
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault]}})
		if err := f.disturb(ctx, d); err != nil {
			return fmt.Errorf("applying the fault %q: %w", d.Fault, err)
		}
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault], Ended: true}})
	}
	return nil
}

// disturb starts a fault, waits and ends it. When it returns, the system has recovered.
func (f *Faults) disturb(ctx context.Context, d plan.Disturbance) error {
	switch d.Fault {
	case plan.SuspendExtender:
		return f.signalFor(ctx, d.For, f.extenderProcess(ctx), syscall.SIGSTOP, syscall.SIGCONT)
	case plan.JumpExtender: // The extender of the proof is built with this feature.
		return f.signalFor(ctx, d.For, f.extenderProcess(ctx), syscall.SIGUSR1, syscall.SIGUSR2)
	}
	if process, kills, ok := process(d.Fault); ok {
		if process == system.Extender {
			process = f.extenderProcess(ctx)
		}
		return f.end(ctx, process, kills, d)
	}
	begin, ok := f.begins()[d.Fault]
	if !ok {
		return fmt.Errorf("unknown fault %q", d.Fault)
	}
	undo := begin()
	defer undo()
	return pause(ctx, d.For)
}

// process returns the process that a fault ends, and whether it is killed.
func process(fault plan.Fault) (name string, kills, ok bool) {
	who, what, _ := strings.Cut(string(fault), ": ")
	name, ok = map[string]string{
		"extender": system.Extender, "scheduler": system.Scheduler, "admission": system.Admission,
		"API server": system.APIServer,
	}[who]
	return name, what == "kill -9", ok && slices.Contains([]string{"kill -9", "graceful restart"}, what)
}

// end ends a process and starts it again. A killed process is down for a while, a graceful restart has no pause.
func (f *Faults) end(ctx context.Context, process string, kills bool, d plan.Disturbance) error {
	lock := f.lock(process)
	lock.Lock()
	defer lock.Unlock()
	if kills && f.system.PID(process) != 0 {
		if err := f.system.Kill(process); err != nil {
			return err
		}
		if err := pause(ctx, d.For); err != nil {
			return err
		}
	}
	return f.start(ctx, process)
}

// schedulerTries is how often kube-scheduler is started. It can exit before it is ready. If the API server ends
// repeatedly, the scheduler retries to fill its caches ever more rarely. A kubelet would restart it in both cases.
const schedulerTries = 5

// start starts a process and returns when it is ready. A running process is ended gracefully first.
func (f *Faults) start(ctx context.Context, process string) error {
	for try := 1; ; try++ {
		err := f.system.Restart(ctx, process)
		if err == nil || process != system.Scheduler || ctx.Err() != nil || try == schedulerTries {
			return err
		}
		if f.system.PID(process) == 0 {
			f.log.Add(record.Entry{Ended: &record.Ended{Process: process}})
		}
	}
}

// keepUp restarts processes that exit on their own, as a kubelet does, until ctx ends. kube-scheduler exits if a
// binding that it considers failed lands on another node than it assumes. An exit of Spillway's programs is recorded
// too, for the checks. It blocks.
func (f *Faults) keepUp(ctx context.Context) error {
	for pause(ctx, retry) == nil {
		for _, process := range f.supervised() {
			if err := f.restartEnded(ctx, process); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

func (f *Faults) lock(process string) *sync.Mutex {
	lock, _ := f.down.LoadOrStore(process, &sync.Mutex{})
	return lock.(*sync.Mutex)
}

func (f *Faults) supervised() []string {
	if f.service {
		return []string{system.Scheduler, system.Admission, system.ExtenderReplica(0), system.ExtenderReplica(1)}
	}
	return []string{system.Scheduler, system.Admission, system.Extender}
}

func (f *Faults) restartEnded(ctx context.Context, process string) error {
	lock := f.lock(process)
	if !lock.TryLock() {
		return nil // A fault has ended it and is about to start it.
	}
	defer lock.Unlock()
	return f.startEnded(ctx, process)
}

// startEnded starts a process that has exited on its own. The caller holds its lock.
func (f *Faults) startEnded(ctx context.Context, process string) error {
	if f.system.PID(process) != 0 {
		return nil
	}
	f.log.Add(record.Entry{Ended: &record.Ended{Process: process}})
	if err := f.start(ctx, process); err != nil {
		return fmt.Errorf("restarting %s, which has exited: %w", process, err)
	}
	return nil
}

// extenderProcess returns the extender. Of several it returns the leader, or any of them if there is none.
func (f *Faults) extenderProcess(ctx context.Context) string {
	if !f.service {
		return system.Extender
	}
	for i := range 2 {
		if name := system.ExtenderReplica(i); f.isReady(ctx, name) {
			return name
		}
	}
	return system.ExtenderReplica(0)
}

func (f *Faults) isReady(ctx context.Context, process string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.system.HealthEndpoint(process)+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := f.system.HTTPClient().Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// signalFor sends a signal to a process, which is ready, and another signal after a while. If the process has ended
// meanwhile, the second signal is not necessary.
func (f *Faults) signalFor(
	ctx context.Context, duration time.Duration, process string, begin, end syscall.Signal,
) error {
	pid, err := f.signal(ctx, process, begin)
	if err != nil {
		return err
	}
	err = pause(ctx, duration)
	if f.system.PID(process) != pid {
		return err
	}
	return errors.Join(err, kill(pid, end, process))
}

// signal sends a signal to a process as soon as it is ready.
func (f *Faults) signal(ctx context.Context, process string, signal syscall.Signal) (pid int, err error) {
	lock := f.lock(process)
	lock.Lock()
	defer lock.Unlock()
	if err := f.startEnded(ctx, process); err != nil {
		return 0, err
	}
	if pid = f.system.PID(process); pid == 0 { // A signal to process ID 0 would reach the harness.
		return 0, fmt.Errorf("sending %s to %s: it is not running", signal, process)
	}
	return pid, kill(pid, signal, process)
}

func kill(pid int, signal syscall.Signal, process string) error {
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %s to %s: %w", signal, process, err)
	}
	return nil
}

// begins contains the faults that do not end a process. Each function starts a fault and returns the function that ends
// it.
func (f *Faults) begins() map[plan.Fault]func() (undo func()) {
	binds := func(how proxy.BindFault) func() func() {
		return func() func() { return f.asScheduler.DisturbBinds(how) }
	}
	answers := func(how proxy.AnswerFault) func() func() {
		return func() func() {
			f.extender.Disturb(how)
			return func() { f.extender.Disturb("") }
		}
	}
	cut := func(p *proxy.APIServer) func() func() {
		return func() func() {
			p.CutWatches()
			return func() {}
		}
	}
	return map[plan.Fault]func() func(){
		plan.StallExtender:  f.asExtender.StallWatches,
		plan.LateExtender:   f.asExtender.DelayWatches,
		plan.StallScheduler: f.asScheduler.StallWatches,
		plan.CutExtender:    cut(f.asExtender),
		plan.CutScheduler:   cut(f.asScheduler),
		plan.ExpireExtender: f.asExtender.ExpireWatches,
		plan.BindFails:      binds(proxy.BindFails),
		plan.BindUnanswered: binds(proxy.BindLandsUnanswered),
		plan.BindHangs:      binds(proxy.BindHangs),
		plan.BindLate:       binds(proxy.BindLandsLate),
		plan.AnswersSlow:    answers(proxy.AnswersSlow),
		plan.AnswersLost:    answers(proxy.AnswersLost),
		plan.AnswersFail:    answers(proxy.AnswersFail),
	}
}
