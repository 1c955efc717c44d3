package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/test/ccisim"
)

// Config is the configuration of the program.
type Config struct {
	// Listen is the host:port of the API and of /_sim/, which asks for no credentials: keep it on the loopback interface.
	// Default 127.0.0.1:10243.
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile turn on TLS: both, or none for plain HTTP. Default none.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// CredentialsFile holds who may call: see ccisim.LoadCredentials. Required.
	CredentialsFile string `json:"credentialsFile"`
	// ProjectID and DomainID are those of credentials that name none. Without a ProjectID such credentials may name any
	// project.
	ProjectID string `json:"projectId"`
	DomainID  string `json:"domainId"`
	// StateFile keeps all objects over a restart. Default none.
	StateFile string `json:"stateFile"`
	// SubnetCIDR is where Pod addresses come from. Default 10.246.0.0/16.
	SubnetCIDR string `json:"subnetCIDR"`
	// StartDelay passes between a Pod's having a node and its first container's start. Default 200ms.
	StartDelay metav1.Duration `json:"startDelay"`
	// RunTime is how long a Pod that does not restart runs, unless its annotations say otherwise. Default 1s.
	RunTime metav1.Duration `json:"runTime"`
	// ExecIdle is after how long a silent stream of a command is cut. Default 5m, as the service's.
	ExecIdle metav1.Duration `json:"execIdle"`
	// Processes makes real processes of containers whose image is ccisim/process: whoever may create Pods then runs
	// commands on this machine, with the rights of the simulator, or as nobody where it runs as root. Default off.
	Processes bool `json:"processes"`
	// Exporters has each Pod tell what it uses, at its own address, which must be in 127.0.0.0/8. Default off.
	Exporters bool `json:"exporters"`
	// Policies are the answers to what nobody documents about CCI.
	Policies ccisim.Policies `json:"policies"`
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
}

func defaultConfig() *Config {
	return &Config{
		Listen:     "127.0.0.1:10243",
		DomainID:   "sim-domain",
		SubnetCIDR: "10.246.0.0/16",
		StartDelay: metav1.Duration{Duration: 200 * time.Millisecond},
		RunTime:    metav1.Duration{Duration: time.Second},
		ExecIdle:   metav1.Duration{Duration: 5 * time.Minute},
		Policies:   ccisim.Policies{Fields: ccisim.DropFields, Events: ccisim.EventsListed},
		Logging:    logging.Default(),
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the API and of /_sim/, which asks for no credentials")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "`file` with the certificate; empty for plain HTTP")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile, "`file` with the certificate's key")
	flags.StringVar(&c.CredentialsFile, "credentials-file", c.CredentialsFile, "YAML `file` with one credential or a list: accessKey, secretKey, projectId, domainId, securityToken, authToken")
	flags.StringVar(&c.ProjectID, "project-id", c.ProjectID, "project of credentials that name none; empty lets them name any")
	flags.StringVar(&c.DomainID, "domain-id", c.DomainID, "domain of credentials that name none")
	flags.StringVar(&c.StateFile, "state-file", c.StateFile, "`file` that keeps all objects over a restart; empty keeps nothing")
	flags.StringVar(&c.SubnetCIDR, "subnet-cidr", c.SubnetCIDR, "IPv4 network of the Pods' addresses")
	flags.DurationVar(&c.StartDelay.Duration, "start-delay", c.StartDelay.Duration, "time between a Pod's having a node and its start")
	flags.DurationVar(&c.RunTime.Duration, "run-time", c.RunTime.Duration, "how long a Pod that does not restart runs")
	flags.DurationVar(&c.ExecIdle.Duration, "exec-idle", c.ExecIdle.Duration, "time after which a silent stream of a command is cut")
	flags.BoolVar(&c.Processes, "processes", c.Processes, "make real processes of containers whose image is "+ccisim.ProcessImage)
	flags.BoolVar(&c.Exporters, "exporters", c.Exporters, "have each Pod tell what it uses, at its own address, which must be in 127.0.0.0/8")
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error; debug has a line for each request")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
}

// Validate reports every fault at once, but for what ccisim.New finds in the files.
func (c *Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: invalid value %q: must be host:port: %w", c.Listen, err))
	}
	if (c.TLSCertFile == "") != (c.TLSPrivateKeyFile == "") {
		errs = append(errs, fmt.Errorf("tlsCertFile: invalid value %q with tlsPrivateKeyFile %q: must both be files, or both be empty", c.TLSCertFile, c.TLSPrivateKeyFile))
	}
	if c.CredentialsFile == "" {
		errs = append(errs, errors.New("credentialsFile: must not be empty: a file with one credential or a list of them"))
	}
	for name, d := range map[string]time.Duration{"startDelay": c.StartDelay.Duration, "runTime": c.RunTime.Duration, "execIdle": c.ExecIdle.Duration} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: invalid value %s: must be above zero", name, d))
		}
	}
	return errors.Join(append(errs, c.Logging.Validate(field.NewPath("logging")).ToAggregate())...)
}
