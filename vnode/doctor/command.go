package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// The values of commandConfig.Output.
const (
	outputText = "text"
	outputJSON = "json"
)

// commandConfig is the configuration of "vnode doctor": the file of a virtual node, of which it uses the access to the
// cloud, and flags of its own.
type commandConfig struct {
	config.Config
	// Create also creates objects. Default false.
	Create bool `json:"-"`
	// Image is that of the Pods. Default DefaultImage.
	Image string `json:"-"`
	// ServiceAddress and ServiceName are those of Services that a Pod tries to reach. Default none.
	ServiceAddress string `json:"-"`
	ServiceName    string `json:"-"`
	// VPCEndpoint is the URL of the service that knows the subnets. Default that of the region.
	VPCEndpoint string `json:"-"`
	// Output is text or json. Default text.
	Output string `json:"-"`
	// Record is the file of the transcript. Default none.
	Record string `json:"-"`
	// StepTimeout bounds a step, Timeout all of them. At least 1s. Defaults 2m and 15m.
	StepTimeout time.Duration `json:"-"`
	Timeout     time.Duration `json:"-"`
}

func defaultCommand() *commandConfig {
	return &commandConfig{
		Config: *config.Default(), Image: DefaultImage, Output: outputText,
		StepTimeout: 2 * time.Minute, Timeout: 15 * time.Minute,
	}
}

// AddFlags binds the flags of "vnode doctor" with their defaults, for the reference pages.
func AddFlags(flags *pflag.FlagSet) { defaultCommand().AddFlags(flags) }

// AddFlags binds the fields that have flags.
func (c *commandConfig) AddFlags(flags *pflag.FlagSet) {
	c.AddCloudFlags(flags)
	flags.BoolVar(&c.Create, "create", c.Create,
		"also create a namespace with a network and Pods in the cloud, and remove them")
	flags.StringVar(&c.Image, "image", c.Image, "`image` of the Pods, with the programs sh, id and cat")
	flags.StringVar(&c.ServiceAddress, "service-address", c.ServiceAddress,
		"ClusterIP and port (`host:port`) of a Service that a Pod tries to reach, such as 10.96.0.1:443; needs --create, "+
			"and nc in the image")
	flags.StringVar(&c.ServiceName, "service-name", c.ServiceName,
		"full `name` of a Service that a Pod resolves, such as kubernetes.default.svc.cluster.local; needs --create, "+
			"--cluster-dns, and nslookup in the image")
	flags.StringSliceVar(&c.Pods.ClusterDNS, "cluster-dns", c.Pods.ClusterDNS,
		"`address` of the cluster's DNS, which a Pod asks for --service-name")
	flags.StringVar(&c.VPCEndpoint, "vpc-endpoint", c.VPCEndpoint,
		"`URL` of the service that knows the subnets; by default that of the region")
	flags.StringVarP(&c.Output, "output", "o", c.Output, "`form` of the result: text or json")
	flags.StringVar(&c.Record, "record", c.Record,
		"`file` for a transcript of all requests and answers, without keys, IDs, addresses and names")
	flags.DurationVar(&c.StepTimeout, "step-timeout", c.StepTimeout, "maximum `time` of one step")
	flags.DurationVar(&c.Timeout, "timeout", c.Timeout, "maximum `time` of all steps together")
}

// Validate returns every error at once.
func (c *commandConfig) Validate() error {
	errs := c.ValidateAccess()
	if c.Policy.CCIVersion != policy.CCI2 && c.Policy.CCIVersion != "" {
		errs = append(errs, field.Invalid(field.NewPath("policy", "cciVersion"), c.Policy.CCIVersion,
			"vnode doctor checks CCI 2.0 only: of CCI 1.0, the conditions and Events of the Node say what is wrong"))
	}
	if c.Create && len(c.CCI.SubnetIDs) == 0 {
		errs = append(errs, field.Required(field.NewPath("cci", "subnetIDs"), "--create creates a network in them"))
	}
	if c.Create && len(c.CCI.SecurityGroupIDs) == 0 {
		errs = append(errs, field.Required(field.NewPath("cci", "securityGroupIDs"), "--create creates a network with them"))
	}
	errs = append(errs, c.validateService()...)
	if c.Output != outputText && c.Output != outputJSON {
		errs = append(errs, field.NotSupported(field.NewPath("output"), c.Output, []string{outputText, outputJSON}))
	}
	if c.VPCEndpoint != "" {
		errs = append(errs, cci.ValidateEndpoint(field.NewPath("vpc-endpoint"), c.VPCEndpoint, c.CCI.AllowHTTP)...)
	}
	for name, timeout := range map[string]time.Duration{"step-timeout": c.StepTimeout, "timeout": c.Timeout} {
		if timeout < time.Second {
			errs = append(errs, field.Invalid(field.NewPath(name), timeout.String(), "must be 1s or more"))
		}
	}
	return errs.ToAggregate()
}

// validateService validates what a Pod tries to reach.
func (c *commandConfig) validateService() field.ErrorList {
	var errs field.ErrorList
	for _, flag := range []struct{ name, value string }{
		{"service-address", c.ServiceAddress}, {"service-name", c.ServiceName},
	} {
		if flag.value != "" && !c.Create {
			errs = append(errs, field.Forbidden(field.NewPath(flag.name), "needs --create: a Pod tries it"))
		}
	}
	if c.ServiceAddress != "" {
		if at, err := netip.ParseAddrPort(c.ServiceAddress); err != nil || at.Port() == 0 {
			errs = append(errs, field.Invalid(field.NewPath("service-address"), c.ServiceAddress,
				"must be a ClusterIP and a port, such as 10.96.0.1:443"))
		}
	}
	if c.ServiceName != "" && len(validation.IsDNS1123Subdomain(c.ServiceName)) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("service-name"), c.ServiceName,
			"must be the full name of a Service, such as kubernetes.default.svc.cluster.local"))
	}
	if c.ServiceName != "" && len(c.Pods.ClusterDNS) == 0 {
		errs = append(errs, field.Required(field.NewPath("cluster-dns"), "--service-name is resolved with it"))
	}
	for i, server := range c.Pods.ClusterDNS {
		if net.ParseIP(server) == nil {
			errs = append(errs, field.Invalid(field.NewPath("cluster-dns").Index(i), server, "must be an IP address"))
		}
	}
	return errs
}

// Command is "vnode doctor". It prints the findings to out, and the progress there too, or to progress if out has JSON.
// It returns an error if there are findings of severity error, or if not all checks could be completed. It removes what
// it has created also if ctx ends, the terminal is closed, or out is a pipe whose reader has ended.
func Command(
	ctx context.Context, args []string, out, progress io.Writer, setUp func(logging.Config) (*slog.Logger, error),
) error {
	cfg := defaultCommand()
	if err := loader.Load("vnode doctor", args, cfg); err != nil {
		return err
	}
	logger, err := setUp(cfg.Logging)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // Writing to a closed pipe is an error then, and not the end.
	printed := &printer{out: out}
	if cfg.Output == outputText {
		progress = printed
	}
	return cfg.run(ctx, printed, Options{
		Create: cfg.Create, Image: cfg.Image, ServiceAddress: cfg.ServiceAddress, ServiceName: cfg.ServiceName,
		VPCEndpoint: cfg.VPCEndpoint, StepTimeout: cfg.StepTimeout,
		Timeout: cfg.Timeout, Progress: Progress(progress), Logger: logger,
	})
}

// printer keeps the first error of writing.
type printer struct {
	out io.Writer
	err error
}

// Write implements io.Writer.
func (p *printer) Write(text []byte) (int, error) {
	if p.err == nil {
		if _, err := p.out.Write(text); err != nil {
			p.err = fmt.Errorf("printing the findings: %w", err)
		}
	}
	return len(text), nil
}

func (c *commandConfig) run(ctx context.Context, out *printer, options Options) error {
	d, err := New(&c.Config, options)
	if err != nil {
		return fmt.Errorf("%w: %w", run.ErrUsage, err)
	}
	var record *recordFile
	if c.Record != "" { // A file that cannot be written must not be found out at the end.
		if record, err = createRecord(c.Record); err != nil {
			return fmt.Errorf("%w: %w", run.ErrUsage, err)
		}
		defer record.discard()
	}
	report, runErr := d.Run(ctx)
	if c.Output == outputJSON {
		err = report.PrintJSON(out)
	} else {
		report.PrintText(out)
	}
	if record != nil {
		recordErr := d.record(record)
		if recordErr == nil && c.Output == outputText {
			fmt.Fprintf(out, "The transcript is in %s.\n", c.Record)
		}
		err = errors.Join(err, recordErr)
	}
	return errors.Join(runErr, err, out.err, report.err())
}

// record writes the transcript to a file.
func (d *Doctor) record(file *recordFile) error {
	var text bytes.Buffer
	if err := d.Redactor().Write(&text, d.Exchanges()); err != nil {
		return err
	}
	return file.save(text.Bytes())
}
