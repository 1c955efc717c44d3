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

// Faults disturbs a trial system.
type Faults struct {
	system *system.System
	log    *record.Log
	// asExtender and asScheduler stand between those two and the API server, extender between the scheduler and the extender.
	asExtender, asScheduler *proxy.APIServer
	extender                *proxy.Extender
	// service is set where several extenders elect a leader.
	service bool
	// down has a lock for each process, held while it is down on purpose.
	down sync.Map
}

// play disturbs by a list, one after another, each for its time. Begin and end are noted; whatever happens, all is healed.
func (f *Faults) play(ctx context.Context, list []plan.Disturbance) error {
	counts := map[plan.Fault]int{}
	for _, d := range list {
		if err := pause(ctx, d.After); err != nil {
			return err
		}
		counts[d.Fault]++
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault]}})
		if err := f.disturb(ctx, d); err != nil {
			return fmt.Errorf("disturbing (%s): %w", d.Fault, err)
		}
		f.log.Add(record.Entry{Fault: &record.Fault{Kind: string(d.Fault), Number: counts[d.Fault], Ended: true}})
	}
	return nil
}

// disturb begins, waits and heals. It returns when all is well again.
func (f *Faults) disturb(ctx context.Context, d plan.Disturbance) error {
	switch d.Fault {
	case plan.SleepExtender:
		return f.signalFor(ctx, d.For, f.extenderProcess(ctx), syscall.SIGSTOP, syscall.SIGCONT)
	case plan.JumpExtender: // The extender of the proof is built so.
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
		return errors.New("there is no such fault")
	}
	heal := begin()
	defer heal()
	return pause(ctx, d.For)
}

// process is the one that a fault is about, and whether it is killed.
func process(fault plan.Fault) (name string, kills, ok bool) {
	who, what, _ := strings.Cut(string(fault), ": ")
	name, ok = map[string]string{
		"extender": system.Extender, "scheduler": system.Scheduler, "admission": system.Admission, "API server": system.APIServer,
	}[who]
	return name, what == "kill -9", ok && slices.Contains([]string{"kill -9", "graceful restart"}, what)
}

// end ends a process, and starts it again after a while where it was killed. Where it is asked to end, it starts again at once.
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

// schedulerTries is how often kube-scheduler is started. It may give up again before it is ready, and one that meets an API server that ends again and
// again tries ever more seldom to fill its caches: both are what a kubelet starts again.
const schedulerTries = 5

// start starts a process, and returns when it is ready. One that runs is ended first, gracefully.
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

// keepUp starts again what ends by itself, as a kubelet does, until ctx ends: kube-scheduler gives up where a binding that it took for failed
// lands on another node than it thinks. What ends of ours is noted too, and is for the checks to judge. It blocks.
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
		return nil // A fault is about to start it.
	}
	defer lock.Unlock()
	return f.startEnded(ctx, process)
}

// startEnded starts a process that has ended by itself, and whose lock is held.
func (f *Faults) startEnded(ctx context.Context, process string) error {
	if f.system.PID(process) != 0 {
		return nil
	}
	f.log.Add(record.Entry{Ended: &record.Ended{Process: process}})
	if err := f.start(ctx, process); err != nil {
		return fmt.Errorf("starting %s again, which has ended: %w", process, err)
	}
	return nil
}

// extenderProcess is the extender, or the one of several that leads; any of them where none does.
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

// signalFor sends a process, which is ready, a signal, and after a while another one. One that has ended meanwhile has forgotten the first.
func (f *Faults) signalFor(ctx context.Context, while time.Duration, process string, begin, end syscall.Signal) error {
	pid, err := f.signal(ctx, process, begin)
	if err != nil {
		return err
	}
	err = pause(ctx, while)
	if f.system.PID(process) != pid {
		return err
	}
	return errors.Join(err, kill(pid, end, process))
}

// signal sends a process a signal as soon as it is ready.
func (f *Faults) signal(ctx context.Context, process string, signal syscall.Signal) (pid int, err error) {
	lock := f.lock(process)
	lock.Lock()
	defer lock.Unlock()
	if err := f.startEnded(ctx, process); err != nil {
		return 0, err
	}
	if pid = f.system.PID(process); pid == 0 { // Which would signal ourselves.
		return 0, fmt.Errorf("sending %s to %s: it does not run", signal, process)
	}
	return pid, kill(pid, signal, process)
}

func kill(pid int, signal syscall.Signal, process string) error {
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %s to %s: %w", signal, process, err)
	}
	return nil
}

// begins are the faults that are about no process: each begins, and returns what heals it.
func (f *Faults) begins() map[plan.Fault]func() (heal func()) {
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
