package main

import (
	"github.com/spf13/pflag"

	admission "github.com/spillway-k8s/spillway/admission/config"
	extender "github.com/spillway-k8s/spillway/extender/config"
	proxy "github.com/spillway-k8s/spillway/proxy/config"
	"github.com/spillway-k8s/spillway/vnode/cleanup"
	vnode "github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor"
)

// program is a command whose flags are listed.
type program struct {
	name string
	// addFlags binds the flags with their defaults.
	addFlags func(*pflag.FlagSet)
	// dir is the package of the Config struct, and config its default. A command that reads another program's file has
	// none.
	dir    string
	config any
	// base is the command whose flags are not repeated.
	base string
}

// programs lists the commands in the order of the pages.
func programs() []program {
	return []program{
		{name: "extender", addFlags: extender.Default().AddFlags, dir: "extender/config", config: extender.Default()},
		{name: "admission", addFlags: admission.Default().AddFlags, dir: "admission/config", config: admission.Default()},
		{name: "vnode", addFlags: vnode.Default().AddFlags, dir: "vnode/config", config: vnode.Default()},
		{name: "vnode gc", addFlags: cleanup.AddGCFlags, base: "vnode"},
		{name: "vnode uninstall", addFlags: cleanup.AddUninstallFlags, base: "vnode"},
		{name: "vnode doctor", addFlags: doctor.AddFlags, base: "vnode"},
		{name: "proxy", addFlags: proxy.Default().AddFlags, dir: "proxy/config", config: proxy.Default()},
		{name: "proxy check", addFlags: proxy.DefaultCheck().AddFlags, base: "proxy"},
	}
}
