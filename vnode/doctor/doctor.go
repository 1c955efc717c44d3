package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// namePrefix begins the names of the namespaces that a run creates.
const namePrefix = "spillway-doctor-"

// Options say what a run does. The zero value of a field means its default.
type Options struct {
	// Create also runs the checks that create objects.
	Create bool
	// Image is the image of the Pod. It needs the programs sh, id and cat. Default DefaultImage.
	Image string
	// ServiceAddress is the ClusterIP and port of a Service that a Pod tries to reach, and ServiceName the full name of
	// one that it resolves with the cluster's DNS. Default none. The image then needs the programs nc and nslookup too.
	ServiceAddress, ServiceName string
	// VPCEndpoint is the URL of the service that knows the subnets. Default https://vpc.REGION.myhuaweicloud.com, or
	// none if the configuration has an endpoint of CCI that is not of this form.
	VPCEndpoint string
	// StepTimeout bounds a step, Timeout all of them. Defaults 2m and 15m. CleanupTimeout bounds the removal of what was
	// created. Default 2m.
	StepTimeout, Timeout, CleanupTimeout time.Duration
	// Poll is the interval between two checks of a state. Default 1s. WatchTime is how long a watch lasts. At least 1s,
	// default 10s.
	Poll, WatchTime time.Duration
	// Progress is called when a check begins, with an empty outcome, and when it ends. Default none.
	Progress func(CheckReport)
	// ID names the run. Default random.
	ID string
	// Guard lets requests pass only while it allows them. Default always.
	Guard cci.Guard
	// Logger is the log of the clients. Default none.
	Logger *slog.Logger
}

// DefaultImage has the programs that the checks run, and is small. No document of the vendor names an image in SWR that
// every account can pull (looked up 2026-11), so subnets without a way to the Internet need another one.
const DefaultImage = "docker.io/library/busybox:1.37"

func (o Options) withDefaults(cfg *config.Config) Options {
	o.Image = cmp.Or(o.Image, DefaultImage)
	o.StepTimeout, o.Timeout = cmp.Or(o.StepTimeout, 2*time.Minute), cmp.Or(o.Timeout, 15*time.Minute)
	o.CleanupTimeout = cmp.Or(o.CleanupTimeout, 2*time.Minute)
	o.Poll, o.WatchTime = cmp.Or(o.Poll, time.Second), cmp.Or(o.WatchTime, 10*time.Second)
	if o.VPCEndpoint == "" && strings.HasSuffix(cfg.CCI.ServiceEndpoint(), ".myhuaweicloud.com") {
		o.VPCEndpoint = "https://vpc." + cfg.CCI.Region + ".myhuaweicloud.com"
	}
	if o.Progress == nil {
		o.Progress = func(CheckReport) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ID == "" {
		id := make([]byte, 4)
		_, _ = rand.Read(id) // It never returns an error.
		o.ID = hex.EncodeToString(id)
	}
	return o
}

// Doctor runs the checks of one account. It is used once.
type Doctor struct {
	config  *config.Config
	options Options
	// cloud authenticates commands with a token, signing with a signature.
	cloud, signing *cci.Client
	keys           *seenKeys
	recorder       *transcript.Recorder
	// plain sends requests without a signature.
	plain *http.Client
	// resolver looks names up.
	resolver *net.Resolver

	// checks are those that have run, by name.
	outcomes map[string]Outcome
	report   Report

	state
}

// state is what checks find out for those that follow.
type state struct {
	// offset is the difference between the clock of the service and that of this machine. clockOff: it is too large for
	// signatures.
	offset   time.Duration
	clockOff bool
	// namespaceUID is the UID of the namespace of this run, empty until it is known. namespaceSent: its creation was
	// requested, so that it may exist.
	namespaceUID  types.UID
	namespaceSent bool
	// pod is the Pod of the run, nil until it exists. runs: it has been seen running.
	pod  *cci.Pod
	sent []byte
	// listVersion is the resource version of a list before the Pod was created.
	listVersion string
	// timeReported: a finding says that no time was left.
	timeReported bool
	// quotaReported: a finding says that a quota has no room for a Pod.
	quotaReported bool
}

// New returns a Doctor for the account of a configuration, of which it uses the section cci only. It reads the keys and
// does not connect.
func New(cfg *config.Config, options Options) (*Doctor, error) {
	options = options.withDefaults(cfg)
	keys, err := cfg.CloudCredentials(options.Logger)
	if err != nil {
		return nil, err
	}
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the default transport of HTTP has been replaced")
	}
	recorder := transcript.NewRecorder(standard.Clone(), cfg.CCI.ServiceEndpoint(), cfg.CCI.TokenEndpoint())
	d := &Doctor{
		config: cfg, options: options, keys: &seenKeys{Source: keys}, recorder: recorder, outcomes: map[string]Outcome{},
		resolver: net.DefaultResolver,
		plain: &http.Client{Transport: recorder, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	if options.Guard != nil {
		d.plain.Transport = options.Guard.Wrap(recorder)
	}
	for _, client := range []struct {
		handshake cci.Handshake
		target    **cci.Client
	}{{cci.HandshakeToken, &d.cloud}, {cci.HandshakeSignature, &d.signing}} {
		with := *cfg
		with.CCI.Exec.Handshake = client.handshake
		*client.target, err = with.CloudClient(cci.Config{
			Transport: recorder, Credentials: d.keys, Guard: options.Guard, Logger: options.Logger,
		})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// namespace is the name of the namespace of this run.
func (d *Doctor) namespace() string { return namePrefix + d.options.ID }

// check is one check. Its parts: what it looks at, which checks must have passed before, and what it does. A check that
// finds errors has not passed.
type check struct {
	name  string
	needs []string
	// create: it creates objects.
	create bool
	// run returns a note for the progress, and what it has found. An error means that the check could not be completed.
	run func(ctx context.Context, d *Doctor) (note string, findings []diagnosis.Finding, err error)
}

// errExplained is the error of a check that failed for a reason that another check has reported. errSkip is that of a
// check that lacks what it would look at.
var (
	errExplained = errors.New("another finding explains it")
	errSkip      = errors.New("skipped")
)

// checks returns all checks in their order.
func checks() []check {
	return slices.Concat(reachChecks(), accessChecks(), offerChecks(), createChecks())
}

// Run runs the checks, and removes what they have created. It blocks for Options.Timeout and Options.CleanupTimeout at
// most. A check that fails does not stop those that do not need it. It returns the report also if ctx ends, together
// with an error then.
func (d *Doctor) Run(ctx context.Context) (*Report, error) {
	defer d.cloud.CloseIdleConnections()
	d.report.Created = d.options.Create
	limited, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	for _, c := range checks() {
		if c.create && !d.options.Create {
			continue
		}
		d.runCheck(limited, c)
	}
	if d.options.Create {
		// What was created is removed even after an interrupt.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.options.CleanupTimeout)
		defer cancel()
		d.runCheck(cleanup, check{name: "cleanup", needs: []string{"key"}, run: cleanUp})
	}
	d.report.Findings.Sort()
	if ctx.Err() != nil {
		return &d.report, errors.New("interrupted before all checks were done")
	}
	return &d.report, nil
}

// runCheck runs one check, or skips it.
func (d *Doctor) runCheck(ctx context.Context, c check) {
	if missing := d.missing(c); missing != "" {
		d.end(CheckReport{Check: c.name, Outcome: Skipped, Note: "needs " + missing}, nil)
		return
	}
	if err := ctx.Err(); err != nil {
		d.report.Incomplete = append(d.report.Incomplete, c.name)
		note, findings := "interrupted", []diagnosis.Finding(nil)
		if errors.Is(err, context.DeadlineExceeded) {
			note = "no time is left"
			if !d.timeReported {
				d.timeReported = true
				findings = []diagnosis.Finding{found(CodeNoTimeLeft,
					"the checks took longer than %s (--timeout), the first without time is %s", d.options.Timeout, c.name)}
				findings[0].Check = c.name
			}
		}
		d.end(CheckReport{Check: c.name, Outcome: Skipped, Note: note}, findings)
		return
	}
	d.options.Progress(CheckReport{Check: c.name})
	d.recorder.Begin(c.name)
	stepCtx, cancel := context.WithTimeout(ctx, d.options.StepTimeout)
	defer cancel()
	note, findings, err := c.run(stepCtx, d)
	outcome := worst(findings)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		outcome, note = Skipped, "interrupted"
		d.report.Incomplete = append(d.report.Incomplete, c.name)
	case errors.Is(err, errSkip):
		outcome = Skipped
	case errors.Is(err, errExplained):
		outcome, note = Failed, cmp.Or(note, err.Error())
	case err != nil:
		outcome = Failed
		refused := refusal(err)
		if refused == nil {
			refused = d.incomplete(c.name, err)
		}
		findings = append(findings, *refused)
		if worst(findings) == Outcome(diagnosis.Error) {
			outcome = Outcome(diagnosis.Error)
		}
	}
	for i := range findings {
		findings[i].Check, findings[i].Message = c.name, policy.Clip(findings[i].Message, policy.MaxMessage)
	}
	note = policy.Clip(note, policy.MaxMessage)
	if note == "" && len(findings) > 0 {
		note = string(findings[0].Code) + " " + findings[0].Title
	}
	d.end(CheckReport{Check: c.name, Outcome: outcome, Note: note}, findings)
}

// incomplete returns the finding for a check that an error has ended.
func (d *Doctor) incomplete(check string, err error) *diagnosis.Finding {
	d.report.Incomplete = append(d.report.Incomplete, check)
	f := found(CodeStepFailed, "%s: %v", check, err)
	if errors.Is(err, context.DeadlineExceeded) {
		f = found(CodeStepTooSlow, "%s: %v (at most %s for a request, %s for a step)", check, err,
			d.config.CCI.RequestTimeout.Duration, d.options.StepTimeout)
	}
	return &f
}

func (d *Doctor) end(report CheckReport, findings []diagnosis.Finding) {
	d.outcomes[report.Check] = report.Outcome
	d.report.Checks = append(d.report.Checks, report)
	d.report.Findings = append(d.report.Findings, findings...)
	d.options.Progress(report)
}

// missing returns the first check that has not passed and that c needs, empty if there is none.
func (d *Doctor) missing(c check) string {
	for _, name := range c.needs {
		if outcome := d.outcomes[name]; outcome != Passed && outcome != Outcome(diagnosis.Warning) {
			return name
		}
	}
	return ""
}

// errorCodes are findings by the error code of the service. Source: CCI manual, "Error codes".
func errorCodes() map[string]diagnosis.Code {
	return map[string]diagnosis.Code{
		"CCI.01.401102": CodeNotAuthorized, "CCI.01.404101": CodeNotAuthorized, "CCI.01.403122": CodeNotAuthorized,
		"CCI.01.403009": CodeAccountBlocked, "CCI.01.403010": CodeAccountBlocked, "CCI.01.400104": CodeAgencyQuota,
		"CCI.02.400102": CodeTenantNotListed, "CCI.02.400106": CodeNamespaceQuota,
	}
}

// refusal returns the finding for an error of the service that concerns the key or the account, nil for other errors.
func refusal(err error) *diagnosis.Finding {
	answered, ok := errors.AsType[*cci.Error](err)
	if !ok || answered.Status == 0 {
		return nil
	}
	code := errorCodes()[answered.Code]
	switch {
	case code != "":
	case answered.Status == http.StatusUnauthorized:
		code = CodeKeyRefused
	case answered.IsPermission():
		code = CodePermissionMissing
	case answered.Kind == cci.Denied:
		code = CodeAccessRefused
	default:
		return nil
	}
	f := found(code, "%s", said(answered))
	return &f
}

// said quotes the service.
func said(e *cci.Error) string {
	return fmt.Sprintf("the service answers %s: %s", strings.TrimSpace(fmt.Sprint(e.Status, " ", e.Code)), e.Message)
}

// quote quotes the service if it has answered, or else returns the error.
func quote(err error) string {
	if answered, ok := errors.AsType[*cci.Error](err); ok && answered.Status != 0 {
		return said(answered)
	}
	return err.Error()
}

// await calls ready until it returns true or an error, or ctx ends. In the second case it returns the error of ctx.
func (d *Doctor) await(ctx context.Context, ready func() (bool, error)) error {
	for {
		done, err := ready()
		if err != nil && isEnding(ctx) && statusOf(err) == 0 {
			return cmp.Or(ctx.Err(), context.DeadlineExceeded)
		}
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d.options.Poll):
		}
	}
}

// isEnding reports whether ctx has ended, or ends so soon that a request no longer begins.
func isEnding(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < time.Second
}

// Exchanges returns what was sent and received.
func (d *Doctor) Exchanges() []transcript.Exchange { return d.recorder.Exchanges() }

// Names returns the tokens that IAM has issued, and the names and IDs of the account in its answers.
func (d *Doctor) Names() []string { return d.recorder.Names() }

// labels are on every object that the run creates.
func (d *Doctor) labels() map[string]string {
	return map[string]string{policy.DoctorLabel: d.options.ID}
}

// annotations are on every object that the run creates. The service's clock decides when the run is over.
func (d *Doctor) annotations() map[string]string {
	until := time.Now().Add(d.offset + d.options.Timeout + d.options.CleanupTimeout)
	return map[string]string{policy.DoctorUntilAnnotation: until.UTC().Format(time.RFC3339)}
}
