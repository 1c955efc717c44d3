package main

import (
	"errors"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/api"
)

// Config is the configuration of the program.
type Config struct {
	// Listen is the host:port of the API, and of /_sim/ unless ControlListen is set. Default 127.0.0.1:10243.
	Listen string `json:"listen"`
	// ControlListen is the host:port of /_sim/, which needs no credentials and can replace them: keep it on the loopback
	// interface. Default empty: that of Listen.
	ControlListen string `json:"controlListen"`
	// TLSCertFile and TLSPrivateKeyFile enable TLS: set both, or none for plain HTTP. Default none.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// CredentialsFile has the accepted credentials: see ccisim.LoadCredentials. Required.
	CredentialsFile string `json:"credentialsFile"`
	// Replay is a transcript of "vnode doctor". Its answers are served instead of a simulation: see package replay. It
	// needs no credentials. Default none.
	Replay string `json:"replay"`
	// PoliciesFrom is a transcript of "vnode doctor", from which the policies are taken: see package replay. It replaces
	// Policies. Default none.
	PoliciesFrom string `json:"policiesFrom"`
	// ProjectID and DomainID are those of credentials that name none. Without a ProjectID, requests with such credentials
	// may name any project.
	ProjectID string `json:"projectId"`
	DomainID  string `json:"domainId"`
	// StateFile keeps all objects over a restart. Default none.
	StateFile string `json:"stateFile"`
	// SubnetCIDR is the network of the Pods' addresses. Default 10.246.0.0/16.
	SubnetCIDR string `json:"subnetCIDR"`
	// Subnets are the subnets of the account's VPC, of which the VPC API then tells. Networks in others fail. Default
	// none: networks may be in any subnet.
	Subnets []ccisim.Subnet `json:"subnets"`
	// StartDelay passes between the scheduling of a Pod and the start of its first container. Default 200ms.
	StartDelay metav1.Duration `json:"startDelay"`
	// RunTime is how long a Pod that does not restart runs, unless its annotations say otherwise. Default 1s.
	RunTime metav1.Duration `json:"runTime"`
	// ExecIdle is how long the stream of a command may be silent before it is cut. Default 5m, as in the service.
	ExecIdle metav1.Duration `json:"execIdle"`
	// Processes runs containers with the image ccisim/process as real processes, with the rights of the simulator, or as
	// the unprivileged user 65534 if it runs as root. Every client that may create Pods can then run commands on this
	// machine. Default off.
	Processes bool `json:"processes"`
	// Networks gives each Pod whose containers are processes a network, and each of these containers a file system of its
	// own with its volumes. It needs processes, root and iproute2. Default off.
	Networks bool `json:"networks"`
	// Routes are the networks that the VPC routes to this machine, as CIDRs: those that Pods can reach in addition to
	// other Pods. Default none.
	Routes []string `json:"routes"`
	// ProcessImages are programs of this machine, by the names of images: containers of these images run them as
	// processes. A name without a tag is that of all tags. They need networks. Default none.
	ProcessImages map[string]string `json:"processImages"`
	// Exporters serves the metrics of each Pod at its address, which must be in 127.0.0.0/8. Default off.
	Exporters bool `json:"exporters"`
	// Policies choose between behaviors of CCI that are not documented.
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
		Policies:   ccisim.Policies{}.WithDefaults(),
		Logging:    logging.Default(),
	}
}

// AddFlags adds the flags of the fields that have one.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the API, and of /_sim/ unless it has its own")
	flags.StringVar(&c.ControlListen, "control-listen", c.ControlListen,
		"`host:port` of /_sim/, which needs no credentials; empty for that of the API")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "`file` with the certificate; empty for plain HTTP")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile,
		"`file` with the key of the certificate")
	flags.StringVar(&c.CredentialsFile, "credentials-file", c.CredentialsFile,
		"YAML `file` with one credential or a list: "+
			"accessKey, secretKey, projectId, domainId, securityToken, authToken")
	flags.StringVar(&c.Replay, "replay", c.Replay,
		"`file` with a transcript of vnode doctor, whose answers are served instead of a simulation")
	flags.StringVar(&c.PoliciesFrom, "policies-from", c.PoliciesFrom,
		"`file` with a transcript of vnode doctor, whose cloud is simulated in what it shows")
	flags.StringVar(&c.ProjectID, "project-id", c.ProjectID,
		"project of credentials that name none; if it is empty, requests with such credentials may name any project")
	flags.StringVar(&c.DomainID, "domain-id", c.DomainID, "domain of credentials that name none")
	flags.StringVar(&c.StateFile, "state-file", c.StateFile,
		"`file` that keeps all objects over a restart; empty keeps nothing")
	flags.StringVar(&c.SubnetCIDR, "subnet-cidr", c.SubnetCIDR, "IPv4 network of the Pods' addresses")
	flags.Var(&subnetFlag{list: &c.Subnets}, "subnet",
		"`VPC-ID,NEUTRON-ID[,CIDR]` of a subnet of the account's VPC; may be repeated; without it, networks may be in any "+
			"subnet, and the VPC API knows none")
	flags.DurationVar(&c.StartDelay.Duration, "start-delay", c.StartDelay.Duration,
		"time between the scheduling of a Pod and the start of its first container")
	flags.DurationVar(&c.RunTime.Duration, "run-time", c.RunTime.Duration, "how long a Pod that does not restart runs")
	flags.DurationVar(&c.ExecIdle.Duration, "exec-idle", c.ExecIdle.Duration,
		"how long the stream of a command may be silent before it is cut")
	flags.BoolVar(&c.Processes, "processes", c.Processes,
		"run containers with the image "+ccisim.ProcessImage+" as real processes")
	flags.BoolVar(&c.Networks, "networks", c.Networks,
		"give Pods with processes networks, and their containers file systems; needs root and iproute2")
	flags.StringSliceVar(&c.Routes, "routes", c.Routes, "`networks` that the VPC routes to this machine")
	flags.StringToStringVar(&c.ProcessImages, "process-image", c.ProcessImages,
		"`image=program` that containers of the image run as processes; needs networks")
	flags.BoolVar(&c.Exporters, "exporters", c.Exporters,
		"serve the metrics of each Pod at its address, which must be in 127.0.0.0/8")
	c.Logging.AddFlags(flags)
}

// Validate returns all errors at once, except for those of files, which ccisim.New finds.
func (c *Config) Validate() error {
	var errs field.ErrorList
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("listen"), c.Listen, "must be host:port: "+err.Error()))
	}
	if c.ControlListen != "" {
		if _, _, err := net.SplitHostPort(c.ControlListen); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("controlListen"), c.ControlListen,
				"must be host:port, or empty: "+err.Error()))
		}
	}
	if (c.TLSCertFile == "") != (c.TLSPrivateKeyFile == "") {
		errs = append(errs, field.Invalid(field.NewPath("tlsCertFile"), c.TLSCertFile,
			"must be set if and only if tlsPrivateKeyFile is set"))
	}
	if c.CredentialsFile == "" && c.Replay == "" {
		errs = append(errs, field.Required(field.NewPath("credentialsFile"), "a file with one credential or a list"))
	}
	for name, d := range map[string]time.Duration{
		"startDelay": c.StartDelay.Duration, "runTime": c.RunTime.Duration, "execIdle": c.ExecIdle.Duration,
	} {
		if d <= 0 {
			errs = append(errs, field.Invalid(field.NewPath(name), d.String(), "must be above zero"))
		}
	}
	errs = append(errs, api.ValidateSubnets(c.Subnets, field.NewPath("subnets"))...)
	return append(errs, c.Logging.Validate(field.NewPath("logging"))...).ToAggregate()
}

// subnetFlag is a flag that can be repeated. The first one replaces the subnets of the configuration file.
type subnetFlag struct {
	list *[]ccisim.Subnet
	set  bool
}

// String implements pflag.Value. The default is no subnet.
func (f *subnetFlag) String() string { return "" }

// Type implements pflag.Value.
func (f *subnetFlag) Type() string { return "subnet" }

// Set implements pflag.Value.
func (f *subnetFlag) Set(text string) error {
	parts := strings.Split(text, ",")
	if len(parts) < 2 || len(parts) > 3 {
		return errors.New("must be VPC-ID,NEUTRON-ID or VPC-ID,NEUTRON-ID,CIDR: the two IDs that a subnet has in the console")
	}
	if !f.set {
		f.set, *f.list = true, nil
	}
	subnet := ccisim.Subnet{VPCID: parts[0], NeutronID: parts[1]}
	if len(parts) == 3 {
		subnet.CIDR = parts[2]
	}
	*f.list = append(*f.list, subnet)
	return nil
}
